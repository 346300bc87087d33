"""The lists of each corpus with spoofed speech, and their published numbers.

ASVspoof 2019 LA (arXiv:1911.01601) was counted in its public lists. The numbers of ASVspoof 2021
(arXiv:2210.02437), ASVspoof 5 (arXiv:2408.08739) and SpoofCeleb (arXiv:2409.17285) are quoted, and
were not compared with real lists. Numbers that are not certain are left out.
"""

from collections.abc import Sequence
from pathlib import Path

from prep.spoofing import (
    ATTACKS,
    BONA_FIDE_FILES,
    COUNT_OF_KIND,
    FILES,
    SPEAKERS,
    SPOOFED_FILES,
    Corpus,
    CorpusList,
    Counts,
)

# Extensions of lists of trials.
LIST_SUFFIXES = (".csv", ".txt", ".tsv")


def numbered_attacks(first: int, last: int) -> list[str]:
    """Returns the names of attacks, such as A07."""
    return [f"A{number:02}" for number in range(first, last + 1)]


def files_of(speakers: int, bona_fide: int, attacks: list[str], each: int) -> Counts:
    """Returns the counts of a list of single files with equally many files of each attack."""
    return {
        SPEAKERS: speakers,
        BONA_FIDE_FILES: bona_fide,
        SPOOFED_FILES: each * len(attacks),
        ATTACKS: len(attacks),
        **{f"{SPOOFED_FILES} of {attack}": each for attack in attacks},
    }


def counts_of_trials(
    speakers: int, target: int, nontarget: int, attacks: list[str], each: int
) -> Counts:
    """Returns the counts of a list of trials with equally many trials of each attack."""
    spoofed = COUNT_OF_KIND["spoof"]
    return {
        SPEAKERS: speakers,
        COUNT_OF_KIND["target"]: target,
        COUNT_OF_KIND["nontarget"]: nontarget,
        spoofed: each * len(attacks),
        **{f"{spoofed} of {attack}": each for attack in attacks},
    }


# ---------------------------------------------------------------------- ASVspoof 2019 LA
# List -> its counts.
COUNTS_2019 = {
    "ASVspoof2019.LA.cm.train.trn.txt": files_of(20, 2580, numbered_attacks(1, 6), 3800),
    "ASVspoof2019.LA.cm.dev.trl.txt": files_of(20, 2548, numbered_attacks(1, 6), 3716),
    "ASVspoof2019.LA.cm.eval.trl.txt": files_of(67, 7355, numbered_attacks(7, 19), 4914),
    "ASVspoof2019.LA.asv.dev.gi.trl.txt": counts_of_trials(
        10, 1484, 5768, numbered_attacks(1, 6), 3716
    ),
    "ASVspoof2019.LA.asv.eval.gi.trl.txt": counts_of_trials(
        48, 5370, 33327, numbered_attacks(7, 19), 4914
    ),
}

# ---------------------------------------------------------------------- ASVspoof 2021
KEYS = ("trial_metadata.txt", "*.trial_metadata.txt")
ASVSPOOF_2021 = Corpus(
    "ASVspoof2021",
    (
        CorpusList(
            KEYS,
            {FILES: 181566, BONA_FIDE_FILES: 14816, SPOOFED_FILES: 133360},
            link="ASVspoof2021.LA.trial_metadata.txt",
            starts="LA_E_",
        ),
        CorpusList(
            KEYS,
            {FILES: 611829, BONA_FIDE_FILES: 14869, SPOOFED_FILES: 519059},
            link="ASVspoof2021.DF.trial_metadata.txt",
            starts="DF_E_",
        ),
    ),
    "Download ASVspoof2021_LA_eval.tar.gz, ASVspoof2021_DF_eval_part00.tar.gz to "
    "ASVspoof2021_DF_eval_part03.tar.gz, LA-keys-full.tar.gz and DF-keys-full.tar.gz from "
    "https://www.asvspoof.org.",
)

# ---------------------------------------------------------------------- ASVspoof 5
ASVSPOOF_5 = Corpus(
    "ASVspoof5",
    (
        CorpusList(
            ("ASVspoof5.train.tsv", "ASVspoof5.train.metadata.txt"),
            {SPEAKERS: 400, BONA_FIDE_FILES: 18797, SPOOFED_FILES: 163560, ATTACKS: 8},
            use="--train_list",
        ),
        CorpusList(
            ("ASVspoof5.dev.track_1.tsv", "ASVspoof5.dev.metadata.txt"),
            {BONA_FIDE_FILES: 31334, SPOOFED_FILES: 109616, ATTACKS: 8},
        ),
        CorpusList(
            ("ASVspoof5.eval.track_1.tsv", "ASVspoof5.eval.metadata.txt"),
            {BONA_FIDE_FILES: 138688, SPOOFED_FILES: 542086, ATTACKS: 16},
        ),
        CorpusList(("ASVspoof5.dev.track_2.trial.tsv", "ASVspoof5.dev.trial.txt"), trials=True),
        CorpusList(("ASVspoof5.eval.track_2.trial.tsv", "ASVspoof5.eval.trial.txt"), trials=True),
    ),
    "Download ASVspoof5_protocols.tar.gz and the archives flac_T_*.tar, flac_D_*.tar and "
    "flac_E_*.tar from https://www.asvspoof.org.",
    enrolment=("ASVspoof5.*enroll*",),
)

# ---------------------------------------------------------------------- SpoofCeleb, WildSpoof
SPOOFCELEB_LISTS = (
    CorpusList(("train.csv",), link="SpoofCeleb.train.csv", use="--train_list"),
    CorpusList(("development.csv",), link="SpoofCeleb.cm.development.trl.txt", convert=True),
    CorpusList(("evaluation.csv",), link="SpoofCeleb.cm.evaluation.trl.txt", convert=True),
)
SPOOFCELEB_SOURCE = (
    "Give the folder that contains the folders flac, metadata and protocol of SpoofCeleb."
)
SPOOFCELEB = Corpus(
    "SpoofCeleb",
    (
        *SPOOFCELEB_LISTS,
        CorpusList(("sasv_development_evaluation_protocol.csv",), trials=True),
        CorpusList(("sasv_evaluation_evaluation_protocol.csv",), trials=True),
    ),
    SPOOFCELEB_SOURCE,
    whole={SPEAKERS: 1251, ATTACKS: 23},
)


def wildspoof(sources: Sequence[Path]) -> Corpus:
    """Returns the SASV track of WildSpoof. Its trials are the lists among the sources."""
    trials = [
        CorpusList((path.name,), trials=True) for path in sources if path.suffix in LIST_SUFFIXES
    ]
    return Corpus("WildSpoof", (*SPOOFCELEB_LISTS, *trials), SPOOFCELEB_SOURCE)
