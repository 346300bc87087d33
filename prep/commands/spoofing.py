"""Sub-commands for corpora with spoofed speech: ASVspoof, SpoofCeleb and WildSpoof."""

import argparse

from prep.commands.options import SAVE_PATH, Arguments, Subcommand, path_option, switch_option

FORCE = switch_option("counts that differ from the published ones are warnings, not errors")
OPTIONS: dict[str, Arguments] = {"--save_path": SAVE_PATH, "--force": FORCE}
SOURCES = path_option(
    "SOURCE",
    "archives, which are extracted below --save_path, and folders that contain extracted ones "
    "(default: what an earlier command extracted)",
    nargs="*",
)
CHECKS = (
    "Checks the numbers of files, speakers and attacks against the published ones, checks that all "
    "files exist, and makes links to the lists in the folder protocols of --save_path."
)


def run_asvspoof(args: argparse.Namespace) -> None:
    """Extracts and checks ASVspoof 2019 LA."""
    # Imported here, because --help does not need it.
    from prep import asvspoof

    asvspoof.prepare_asvspoof(args.asvspoof2019, args.save_path, args.force)


def run_asvspoof2021(args: argparse.Namespace) -> None:
    """Extracts and checks ASVspoof 2021 LA and DF."""
    # Imported here, because --help does not need it.
    from prep import spoofing, spoofing_corpora

    corpus = spoofing_corpora.ASVSPOOF_2021
    spoofing.prepare_corpus(corpus, args.asvspoof2021, args.save_path, args.force)


def run_asvspoof5(args: argparse.Namespace) -> None:
    """Extracts and checks ASVspoof 5."""
    # Imported here, because --help does not need it.
    from prep import spoofing, spoofing_corpora

    corpus = spoofing_corpora.ASVSPOOF_5
    spoofing.prepare_corpus(corpus, args.asvspoof5, args.save_path, args.force)


def run_spoofceleb(args: argparse.Namespace) -> None:
    """Checks SpoofCeleb and makes its lists."""
    # Imported here, because --help does not need it.
    from prep import spoofing, spoofing_corpora

    corpus = spoofing_corpora.SPOOFCELEB
    spoofing.prepare_corpus(corpus, args.spoofceleb, args.save_path, args.force)


def run_wildspoof(args: argparse.Namespace) -> None:
    """Checks SpoofCeleb and the trials of WildSpoof."""
    # Imported here, because --help does not need it.
    from prep import spoofing, spoofing_corpora

    corpus = spoofing_corpora.wildspoof(args.wildspoof)
    spoofing.prepare_corpus(corpus, args.wildspoof, args.save_path)


SPOOFING_COMMANDS = {
    "asvspoof2019": Subcommand(
        run_asvspoof,
        "extract ASVspoof 2019 LA",
        "Extracts ASVspoof 2019 LA to LA in the folder of --save_path, checks that all files of "
        "its protocols exist and that their numbers are the published ones, and makes links to the "
        "protocols in the folder protocols.",
        OPTIONS,
        ("asvspoof2019 LA.zip --save_path data",),
        value=path_option(
            "ZIP", "archive LA.zip, from https://datashare.ed.ac.uk/handle/10283/3336"
        ),
    ),
    "asvspoof2021": Subcommand(
        run_asvspoof2021,
        "extract ASVspoof 2021 LA and DF and check their keys",
        f"Extracts ASVspoof 2021 LA, DF or both to ASVspoof2021. {CHECKS}",
        OPTIONS,
        ("asvspoof2021 ASVspoof2021_LA_eval.tar.gz LA-keys-full.tar.gz --save_path data",),
        value=SOURCES,
    ),
    "asvspoof5": Subcommand(
        run_asvspoof5,
        "extract ASVspoof 5 and check its lists",
        f"Extracts ASVspoof 5, or some of its parts, to ASVspoof5. {CHECKS}",
        OPTIONS,
        (
            "asvspoof5 ASVspoof5_protocols.tar.gz flac_T_aa.tar flac_D_aa.tar --save_path data",
            "asvspoof5 /corpora/asvspoof5 --save_path data",
        ),
        value=SOURCES,
    ),
    "spoofceleb": Subcommand(
        run_spoofceleb,
        "check SpoofCeleb and make its lists",
        f"Extracts SpoofCeleb to SpoofCeleb, or takes the extracted folder. {CHECKS} The lists of "
        "development and evaluation are also written as protocols for countermeasures.",
        OPTIONS,
        ("spoofceleb /corpora/spoofceleb --save_path data",),
        value=SOURCES,
    ),
    "wildspoof": Subcommand(
        run_wildspoof,
        "check SpoofCeleb and the trials of WildSpoof",
        "Checks that all files of the lists exist, and makes links to the lists in the folder "
        "protocols of --save_path. The SASV track of WildSpoof trains on SpoofCeleb.",
        {"--save_path": SAVE_PATH},
        ("wildspoof /corpora/spoofceleb trials.csv --save_path data",),
        value=path_option(
            "SOURCE",
            "folder of SpoofCeleb, archives or folders with more audio, and lists of trials (.csv, "
            ".txt or .tsv) in the format of SpoofCeleb",
            nargs="+",
        ),
    ),
}
