"""Sub-commands for corpora: VoxCeleb, MUSAN and RIRS_NOISES, OpenSLR, VoxBlink2."""

import argparse
import os
import textwrap
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from common.constants import COMPRESSED_SUFFIXES
from common.errors import InputError
from prep.commands.options import (
    CORPUS_TRIALS,
    PROCESSES,
    SAVE_PATH,
    Arguments,
    Subcommand,
    download_options,
    number_option,
    one_of,
    path_option,
    switch_option,
)
from prep.commands.spoofing import SPOOFING_COMMANDS
from prep.constants import CODECS, STEPS, WIDTH

if TYPE_CHECKING:
    from prep.download import Access
    from prep.obtain import Request


def request_of(args: argparse.Namespace, folder: Path, access: "Access") -> "Request":
    """The options of a download as a Request."""
    # Imported here, because --help does not need it.
    from prep.obtain import Request

    return Request(folder, args.file_list, access, args.connections, args.remove_archives)


def public_request(args: argparse.Namespace, folder: Path) -> "Request":
    """The options of a download from a host that needs no password, as a Request."""
    # Imported here, because --help does not need it.
    from prep.download import Access

    return request_of(args, folder, Access(args.base_url))


# ---------------------------------------------------------------------- VoxCeleb
def secret_of(args: argparse.Namespace, name: str) -> str | None:
    """The value of --user, --password or --key.

    A secret may be in the environment instead, where other users cannot see it.
    """
    return getattr(args, name) or os.environ.get(f"VOXCELEB_{name.upper()}")


def run_steps(steps: Collection[str], args: argparse.Namespace) -> None:
    """Runs some steps of VoxCeleb."""
    # Imported here, because --help does not need these modules.
    from prep import voxceleb
    from prep.download import Access

    user = secret_of(args, "user")
    password = secret_of(args, "password")
    key = secret_of(args, "key")
    if bool(user) != bool(password):
        raise InputError(
            "expected --user and --password (or VOXCELEB_USER and VOXCELEB_PASSWORD), found only "
            "one of them. Give both."
        )
    request = request_of(args, args.save_path, Access(args.base_url, user, password, key))
    voxceleb.prepare(steps, request, args.format, args.processes)


def run_convert(args: argparse.Namespace) -> None:
    """Converts the compressed files of a folder, or the files of VoxCeleb2."""
    # Imported here, because --help does not need it.
    from prep import conversion

    if args.convert:
        output = args.output or args.convert
        conversion.convert(args.convert, output, args.format, args.processes)
    elif args.output:
        raise InputError(
            f"--output {args.output}: expected the folder to convert too, found none. Write "
            f"convert DIR --output {args.output}."
        )
    else:
        run_steps(["convert"], args)


def run_voxceleb(args: argparse.Namespace) -> None:
    """Runs the steps of VoxCeleb that --steps names."""
    run_steps(args.steps, args)


VOXCELEB_OPTIONS: dict[str, Arguments] = {
    "--save_path": SAVE_PATH,
    "--user": {
        "metavar": "NAME",
        "help": "user name for the host of VoxCeleb (default: the environment variable "
        "VOXCELEB_USER, or ~/.netrc)",
    },
    "--password": {
        "metavar": "WORD",
        "help": "password of this user (default: VOXCELEB_PASSWORD, or ~/.netrc)",
    },
    "--key": {
        "metavar": "KEY",
        "help": "access key of the newer host, which replaces user name and password (default: "
        "VOXCELEB_KEY)",
    },
    **download_options("voxceleb.yaml"),
    "--format": {
        "metavar": "|".join(CODECS),
        "type": one_of(CODECS),
        "default": "wav",
        "help": "format of the converted files; FLAC needs about half the disk space, but more "
        "time to read (default: %(default)s)",
    },
    "--processes": PROCESSES,
}
OUTPUT_OPTION = path_option(
    "DIR",
    "folder for the converted files of DIR, with the same subfolders (default: next to each "
    "original)",
)
STEPS_OPTION = {
    "metavar": "STEP",
    "nargs": "+",
    "type": one_of(STEPS),
    "default": list(STEPS),
    "help": f"steps to run: {', '.join(STEPS)}, always in this order (default: all)",
}


def voxceleb_options(*shown: str) -> dict[str, Arguments]:
    """The options of VoxCeleb, of which the help shows some.

    Every step accepts all options, because published commands repeat them for every step.
    """
    options = {}
    for flag, arguments in VOXCELEB_OPTIONS.items():
        hidden = {} if flag in shown else {"help": argparse.SUPPRESS}
        options[flag] = {**arguments, **hidden}
    return options


VOXCELEB_COMMANDS = {
    "download": Subcommand(
        partial(run_steps, ["download"]),
        "download VoxCeleb 1 and 2 with their lists",
        "Downloads the archives of VoxCeleb 1 and 2 and their lists. Existing files are verified "
        "and not downloaded again.",
        voxceleb_options(
            "--save_path",
            "--user",
            "--password",
            "--key",
            "--file_list",
            "--base_url",
            "--connections",
        ),
        (
            "download --save_path data --user USERNAME --password PASSWORD",
            "download --save_path data --key KEY",
        ),
    ),
    "concatenate": Subcommand(
        partial(run_steps, ["concatenate"]),
        "join the parts of the VoxCeleb archives",
        "Joins the downloaded parts of the VoxCeleb archives, and verifies the archives.",
        voxceleb_options("--save_path", "--file_list", "--remove_archives"),
        ("concatenate --save_path data",),
    ),
    "extract": Subcommand(
        partial(run_steps, ["extract"]),
        "extract the VoxCeleb archives",
        "Extracts the VoxCeleb archives to voxceleb1 and voxceleb2 in the folder of --save_path. "
        "The development and test parts share these folders. Parts that are not joined yet are "
        "joined first.",
        voxceleb_options("--save_path", "--file_list", "--remove_archives"),
        ("extract --save_path data", "extract --save_path data --remove_archives"),
    ),
    "convert": Subcommand(
        run_convert,
        "convert VoxCeleb2 or the files of DIR to 16 kHz mono WAV or FLAC",
        "Converts compressed audio files to 16 kHz mono audio with 16 bits, with ffmpeg. Converted "
        "files that exist are kept.",
        {
            "--output": OUTPUT_OPTION,
            **voxceleb_options("--save_path", "--file_list", "--format", "--processes"),
        },
        ("convert --save_path data", "convert data/voxceleb2 --output data/flac --format flac"),
        value=path_option(
            "DIR",
            "convert the compressed files in this folder and its subfolders (default: voxceleb2 "
            "in the folder of --save_path)",
            nargs="?",
        ),
        notes=textwrap.fill(
            f"Extensions of compressed files: {', '.join(COMPRESSED_SUFFIXES)}.",
            WIDTH,
        ),
    ),
    "voxceleb": Subcommand(
        run_voxceleb,
        "run the four steps above, one after the other",
        "Downloads, joins, extracts and converts VoxCeleb 1 and 2.",
        {"--steps": STEPS_OPTION, **voxceleb_options(*VOXCELEB_OPTIONS)},
        (
            "voxceleb --save_path data --user USERNAME --password PASSWORD",
            "voxceleb --save_path data --key KEY --remove_archives",
        ),
    ),
}


# ---------------------------------------------------------------------- other corpora
def run_augment(args: argparse.Namespace) -> None:
    """Downloads MUSAN and RIRS_NOISES, and cuts MUSAN into pieces."""
    # Imported here, because --help does not need it.
    from prep import noise

    noise.make_noise(public_request(args, args.save_path), args.processes)


def run_mini_librispeech(args: argparse.Namespace) -> None:
    """Downloads Mini LibriSpeech and makes its lists."""
    # Imported here, because --help does not need it.
    from prep import openslr

    openslr.make_mini_librispeech(
        public_request(args, args.mini_librispeech), args.trials, args.seed
    )


def run_speechocean(args: argparse.Namespace) -> None:
    """Downloads speechocean762 and makes its lists."""
    # Imported here, because --help does not need it.
    from prep import openslr

    openslr.make_speechocean(public_request(args, args.speechocean762), args.trials, args.seed)


def run_cnceleb(args: argparse.Namespace) -> None:
    """Downloads CN-Celeb 1 and 2 and makes their lists."""
    # Imported here, because --help does not need it.
    from prep import cnceleb

    request = public_request(args, args.cnceleb)
    cnceleb.make_cnceleb(request, args.join_seconds, args.lists_only, args.processes)


CNCELEB_OPTIONS = {
    "--join_seconds": number_option(
        0,
        "also join utterances below this length, of one speaker and one genre, to longer FLAC "
        "files, and make DIR/train_list_Ns.txt with them; 0 joins none (default: %(default)s)",
        default=0,
    ),
    "--lists_only": switch_option(
        "download nothing, and use DIR/CN-Celeb_flac and DIR/CN-Celeb2_flac"
    ),
    **download_options("cnceleb.yaml"),
    "--processes": PROCESSES,
}


def run_voxblink2(args: argparse.Namespace) -> None:
    """Makes a train list of VoxBlink2."""
    # Imported here, because --help does not need it.
    from prep import voxblink2

    voxblink2.make_voxblink2_list(args.voxblink2, args.output, args.min_files)


CORPUS_COMMANDS = {
    **VOXCELEB_COMMANDS,
    "augment": Subcommand(
        run_augment,
        "download MUSAN and RIRS_NOISES for augmentation",
        "Downloads and extracts MUSAN and RIRS_NOISES, and cuts MUSAN into pieces of 5 seconds, "
        "one every 3 seconds.",
        {
            "--save_path": SAVE_PATH,
            **download_options("augment.yaml"),
            "--processes": PROCESSES,
        },
        ("augment --save_path data",),
        notes="With --save_path data, train with --augment --musan_path data/musan_split\n"
        "--rir_path data/RIRS_NOISES/simulated_rirs.",
    ),
    **SPOOFING_COMMANDS,
    "cnceleb": Subcommand(
        run_cnceleb,
        "download CN-Celeb 1 and 2 and make their lists",
        "Downloads CN-Celeb 1 and 2 (OpenSLR 82). Makes DIR/train_list.txt from the training "
        "speakers of both, and the trials of CN-Celeb1. In DIR/trials.txt each speaker is enrolled "
        "by one joined file, and in DIR/trials_separate.txt by several files.",
        CNCELEB_OPTIONS,
        ("cnceleb data/cnceleb", "cnceleb data/cnceleb --lists_only --join_seconds 5"),
        value=path_option("DIR", "folder of the corpora"),
    ),
    "voxblink2": Subcommand(
        run_voxblink2,
        "make a train list of VoxBlink2",
        "Makes a train list of the files DIR/ID/VIDEO/UTTERANCE.wav of VoxBlink2, which you have "
        "obtained by its lists of videos. The speakers become voxblink2-ID, because VoxCeleb has "
        "other speakers with the same names. The memory holds the files of one speaker only.",
        {
            "--output": path_option("LIST", "train list to write", required=True),
            "--min_files": number_option(
                1,
                "smallest number of files of a speaker; other speakers are left out and counted "
                "(default: %(default)s)",
                default=1,
            ),
        },
        ("voxblink2 data/voxblink2 --output data/voxblink2_list.txt",),
        value=path_option("DIR", "folder of the speakers"),
    ),
    "mini-librispeech": Subcommand(
        run_mini_librispeech,
        "download Mini LibriSpeech and make its lists",
        "Downloads Mini LibriSpeech (OpenSLR 31). Makes DIR/train_list.txt from train-clean-5 and "
        "DIR/trials.txt from dev-clean-2, with non-target trials of the same gender.",
        {**CORPUS_TRIALS, **download_options("mini_librispeech.yaml")},
        ("mini-librispeech data/mini_librispeech",),
        value=path_option("DIR", "folder of the corpus"),
    ),
    "speechocean762": Subcommand(
        run_speechocean,
        "download speechocean762 and make its lists",
        "Downloads speechocean762 (OpenSLR 101). Makes DIR/train_list.txt from its training "
        "speakers and DIR/trials.txt from its test speakers, with non-target trials of the same "
        "gender.",
        {**CORPUS_TRIALS, **download_options("speechocean762.yaml")},
        ("speechocean762 data/speechocean762",),
        value=path_option("DIR", "folder of the corpus"),
    ),
}
