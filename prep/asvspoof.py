"""Prepares ASVspoof 2019 LA (arXiv:1911.01601).

LA.zip is extracted and compared with its protocols. Links to the protocols are made where the
configs expect them.

python dataprep.py asvspoof2019 LA.zip --save_path data
"""

import logging
from pathlib import Path

from common.errors import InputError
from common.writing import write_atomically
from corpus.enrolment import ENROLMENT_FORMATS
from corpus.missing import first_names
from corpus.roots import matching
from corpus.rows import read_rows
from prep.archives import extract
from prep.output import require_folder
from prep.sources import Source
from prep.spoofing import compare_counts, place_link, tally_of_files, tally_of_trials
from prep.spoofing_corpora import COUNTS_2019

log = logging.getLogger(__name__)
# Folders of the protocols for countermeasures and for speaker verification.
CM = "ASVspoof2019_LA_cm_protocols"
ASV = "ASVspoof2019_LA_asv_protocols"
PROTOCOLS = {
    "train": "ASVspoof2019.LA.cm.train.trn.txt",
    "dev": "ASVspoof2019.LA.cm.dev.trl.txt",
    "eval": "ASVspoof2019.LA.cm.eval.trl.txt",
}
# The protocol of stage 3 of the SASV 2022 baseline, which trains on both sets.
TRAIN_DEV = "ASVspoof2019.LA.cm.train_dev.trn.txt"
EVAL_TRIALS = "ASVspoof2019.LA.asv.eval.gi.trl.txt"


def protocol_lines(path: Path) -> list[str]:
    """Reads the lines of a protocol. Raises InputError if it does not exist."""
    if not path.is_file():
        raise InputError(
            f"{path}: the archive does not contain this protocol. Download LA.zip of ASVspoof 2019 "
            "again."
        )
    return path.read_text().splitlines()


def enrolment_files(la: Path, part: str) -> set[str]:
    """Returns the names of the files in the enrolment lists of a part."""
    found = set()
    for name in matching(la / ASV, f"*.asv.{part}.*.trn.txt"):
        _, _, rows = read_rows(la / ASV / name, ENROLMENT_FORMATS)
        for _, names in rows:
            found.update(names.split(","))
    return found


def check_part(la: Path, part: str) -> None:
    """Compares the files of a part with its protocol and its enrolment lists.

    Raises InputError if files are missing.
    """
    folder = la / f"ASVspoof2019_LA_{part}" / "flac"
    files = {path.stem for path in folder.glob("*.flac")}
    lines = protocol_lines(la / CM / PROTOCOLS[part])
    listed = {line.split()[1] for line in lines if line.strip()}
    enrolment = enrolment_files(la, part)
    missing = sorted((listed | enrolment) - files)
    if missing:
        remedy = "Download LA.zip again."
        require_folder(folder, remedy)
        raise InputError(
            f"{folder}: cannot find {len(missing):,} of {len(listed | enrolment):,} files in the "
            f"protocols of {part}: {first_names(missing)}. {remedy}"
        )
    log.info(
        "%s: found %s files of the protocol, %s more files for enrolment, and %s other files.",
        folder,
        f"{len(listed):,}",
        f"{len(enrolment - listed):,}",
        f"{len(files - listed - enrolment):,}",
    )


def check_counts_of_lists(la: Path, force: bool) -> None:
    """Compares the numbers of speakers, files and trials with the published ones.

    Raises InputError if they differ; force: warns instead.
    """
    for name, expected in COUNTS_2019.items():
        path = la / (CM if ".cm." in name else ASV) / name
        if path.is_file():
            tally = tally_of_files(path) if ".cm." in name else tally_of_trials(path)
            compare_counts(path, expected, tally.counts, force)


def link_protocols(la: Path, folder: Path) -> None:
    """Makes links to all protocols in `folder`, and writes the protocol TRAIN_DEV there."""
    folder.mkdir(parents=True, exist_ok=True)
    for place in sorted((la / CM, la / ASV)):
        for name in matching(place, "*.txt"):
            place_link(place / name, folder / name)
    if not (folder / TRAIN_DEV).exists():
        lines = []
        for part in ("train", "dev"):
            lines += protocol_lines(la / CM / PROTOCOLS[part])
        write_atomically(folder / TRAIN_DEV, "".join(f"{line}\n" for line in lines).encode())


def prepare_asvspoof(archive: Path, folder: Path, force: bool = False) -> None:
    """Extracts LA.zip to folder/LA, and makes the links in folder/protocols.

    force: counts that differ from the published ones are warnings. Raises InputError if the archive
    is missing or damaged, if files are missing in it, or if its counts are wrong.
    """
    if not archive.is_file():
        raise InputError(
            f"{archive}: this file does not exist. Download LA.zip from "
            "https://datashare.ed.ac.uk/handle/10283/3336."
        )
    la = folder / "LA"
    extract(Source(archive.name, into=str(la.absolute()), after="LA"), archive.parent)
    for part in PROTOCOLS:
        check_part(la, part)
    check_counts_of_lists(la, force)
    protocols = folder / "protocols"
    link_protocols(la, protocols)
    log.info("Links to all protocols are in %s.", protocols)
    log.info(
        "Options of trainSpeakerNet.py: --train_list %s --train_path %s --test_list %s "
        "--test_path %s",
        protocols / PROTOCOLS["train"],
        la,
        protocols / EVAL_TRIALS,
        la / "ASVspoof2019_LA_eval" / "flac",
    )
