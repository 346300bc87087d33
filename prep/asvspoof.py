"""ASVspoof 2019 LA (arXiv:1911.01601): LA.zip extracted and checked against its protocols, which are linked to where the configs look for them.

python dataprep.py --asvspoof2019 LA.zip --save_path data
"""

import logging
import os

from common.errors import InputError
from common.writing import write_atomically
from corpus.enrolment import ENROLMENT_FORMATS
from corpus.rows import read_rows
from prep.archives import extract
from prep.sources import Source

log = logging.getLogger(__name__)
CM, ASV = "ASVspoof2019_LA_cm_protocols", "ASVspoof2019_LA_asv_protocols"
PROTOCOLS = {
    "train": "ASVspoof2019.LA.cm.train.trn.txt",
    "dev": "ASVspoof2019.LA.cm.dev.trl.txt",
    "eval": "ASVspoof2019.LA.cm.eval.trl.txt",
}
# what stage 3 of the SASV 2022 baseline trains on
BOTH = "ASVspoof2019.LA.cm.train_dev.trn.txt"


def lines_of(path):
    if not path.is_file():
        raise InputError(
            f"{path}: want this protocol in the archive, got none; download LA.zip of ASVspoof 2019 again"
        )
    return path.read_text().splitlines()


def check_part(la, part):
    """InputError unless the files of a part are those of its protocol and its enrolment lists."""
    files = {path.stem for path in (la / f"ASVspoof2019_LA_{part}" / "flac").glob("*.flac")}
    listed = {line.split()[1] for line in lines_of(la / CM / PROTOCOLS[part]) if line.strip()}
    enrolment = {
        name
        for path in (la / ASV).glob(f"*.asv.{part}.*.trn.txt")
        for _, names in read_rows(path, ENROLMENT_FORMATS)[2]
        for name in names.split(",")
    }
    if missing := sorted((listed | enrolment) - files):
        raise InputError(
            f"{la}: want the {len(listed | enrolment):,} files of the protocols of {part}, got {len(files):,}, without {len(missing):,} of them: "
            f"{', '.join(missing[:10])}; download LA.zip again"
        )
    log.info(
        "%s: %s: %s files of the protocol, %s more for enrolment, %s others",
        la,
        part,
        f"{len(listed):,}",
        f"{len(enrolment - listed):,}",
        f"{len(files - listed - enrolment):,}",
    )


def link_protocols(la, folder):
    """folder/NAME of all protocols, and BOTH."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted([*(la / CM).glob("*.txt"), *(la / ASV).glob("*.txt")]):
        link = folder / path.name
        # LA was moved
        if link.is_symlink() and not link.exists():
            link.unlink()
        if not link.exists():
            link.symlink_to(os.path.relpath(path, folder))
    if not (folder / BOTH).exists():
        lines = [line for part in ("train", "dev") for line in lines_of(la / CM / PROTOCOLS[part])]
        write_atomically(folder / BOTH, "".join(f"{line}\n" for line in lines).encode())


def prepare_asvspoof(archive, folder):
    """folder/LA, as it is in the archive, and folder/protocols."""
    if not archive.is_file():
        raise InputError(
            f"{archive}: want LA.zip (https://datashare.ed.ac.uk/handle/10283/3336), got no file; download it"
        )
    la = folder / "LA"
    extract(Source(archive.name, into=str(la.absolute()), after="LA"), archive.parent)
    for part in PROTOCOLS:
        check_part(la, part)
    link_protocols(la, folder / "protocols")
    log.info(
        "%s: train with --train_list %s --train_path %s --test_list %s --test_path %s",
        folder,
        folder / "protocols" / PROTOCOLS["train"],
        la,
        folder / "protocols" / "ASVspoof2019.LA.asv.eval.gi.trl.txt",
        la / "ASVspoof2019_LA_eval" / "flac",
    )
