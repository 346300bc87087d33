"""Modes that obtain corpora: VoxCeleb, MUSAN and RIRS_NOISES, ASVspoof 2019 and OpenSLR."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import InputError
from prep.commands.options import (
    CORPUS_TRIALS,
    PROCESSES,
    SAVE_PATH,
    Mode,
    download_options,
    path_option,
    switch_option,
)
from prep.constants import CODECS, COMPRESSED_SUFFIXES

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


def run_voxceleb(args: argparse.Namespace) -> None:
    """Runs the chosen steps of VoxCeleb, or converts any folder with --convert TREE."""
    # Imported here, because --help does not need these modules.
    from prep import conversion, voxceleb
    from prep.download import Access

    user = secret_of(args, "user")
    password = secret_of(args, "password")
    key = secret_of(args, "key")
    if bool(user) != bool(password):
        raise InputError(
            "want --user and --password (or VOXCELEB_USER and VOXCELEB_PASSWORD), got only one of "
            "them; give both"
        )
    steps = [step for step in voxceleb.STEPS if args.all or getattr(args, step)]
    if isinstance(args.convert, Path):
        if len(steps) > 1:
            raise InputError(
                f"--convert {args.convert}: names a folder, and VoxCeleb2's is known; give "
                "--convert alone"
            )
        output = args.output or args.convert
        conversion.convert(args.convert, output, args.format, args.processes)
        return
    if args.output:
        raise InputError(
            f"--output {args.output}: is for --convert TREE; VoxCeleb goes to --save_path"
        )
    request = request_of(args, args.save_path, Access(args.base_url, user, password, key))
    voxceleb.prepare(steps, request, args.format, args.processes)


VOXCELEB = Mode(
    run_voxceleb,
    {
        "--download": switch_option(
            "VoxCeleb 1 and 2, and their lists; what is there already is verified"
        ),
        "--concatenate": switch_option("joins the parts of archives"),
        "--extract": switch_option(
            "extracts DIR/voxceleb1 and DIR/voxceleb2, dev and test together; joins first where "
            "that was not done"
        ),
        "--convert": path_option(
            "TREE",
            "converts DIR/voxceleb2, or the compressed files below any TREE "
            f"({', '.join(COMPRESSED_SUFFIXES)}), to 16 kHz mono audio of 16 bits, by ffmpeg",
            nargs="?",
            const=True,
        ),
        "--all": switch_option("all of these, one after the other; so do several of them together"),
        "--save_path": SAVE_PATH,
        "--user": {
            "metavar": "NAME",
            "help": "for the host of VoxCeleb (environment VOXCELEB_USER, or ~/.netrc)",
        },
        "--password": {"metavar": "WORD", "help": "(VOXCELEB_PASSWORD, or ~/.netrc)"},
        "--key": {
            "metavar": "KEY",
            "help": "access key of the newer host, in the place of user and password "
            "(VOXCELEB_KEY)",
        },
        **download_options("voxceleb.yaml"),
        "--output": path_option(
            "DIR",
            "of --convert TREE: gets the files, in folders like those of TREE (each beside its "
            "original)",
        ),
        "--format": {
            "choices": list(CODECS),
            "default": "wav",
            "help": "of what is converted; flac takes about half the room, but longer to read "
            "(%(default)s)",
        },
        "--processes": PROCESSES,
    },
)


# ---------------------------------------------------------------------- other corpora
def run_augment(args: argparse.Namespace) -> None:
    """Downloads MUSAN and RIRS_NOISES, and cuts MUSAN into pieces."""
    # Imported here, because --help does not need it.
    from prep import noise

    noise.make_noise(public_request(args, args.save_path), args.processes)


def run_asvspoof(args: argparse.Namespace) -> None:
    """Extracts and checks ASVspoof 2019 LA."""
    # Imported here, because --help does not need it.
    from prep import asvspoof

    asvspoof.prepare_asvspoof(args.asvspoof2019, args.save_path)


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


CORPUS_MODES = {
    # All steps of VoxCeleb share one table of options.
    **dict.fromkeys(("--download", "--concatenate", "--extract", "--convert", "--all"), VOXCELEB),
    "--augment": Mode(
        run_augment,
        {
            "--augment": switch_option(
                "downloads and extracts MUSAN and RIRS_NOISES, and cuts MUSAN into pieces of 5 s "
                "every 3 s: DIR/musan_split, DIR/RIRS_NOISES/simulated_rirs"
            ),
            "--save_path": SAVE_PATH,
            **download_options("augment.yaml"),
            "--processes": PROCESSES,
        },
    ),
    "--asvspoof2019": Mode(
        run_asvspoof,
        {
            "--asvspoof2019": path_option(
                "LA.zip",
                "extracts it to DIR/LA, checks that all files of its protocols are there, and "
                "links the protocols to DIR/protocols",
            ),
            "--save_path": SAVE_PATH,
        },
    ),
    "--mini_librispeech": Mode(
        run_mini_librispeech,
        {
            "--mini_librispeech": path_option(
                "DIR",
                "downloads Mini LibriSpeech (OpenSLR 31) and makes DIR/train_list.txt of "
                "train-clean-5 and DIR/trials.txt of dev-clean-2",
            ),
            **CORPUS_TRIALS,
            **download_options("mini_librispeech.yaml"),
        },
    ),
    "--speechocean762": Mode(
        run_speechocean,
        {
            "--speechocean762": path_option(
                "DIR",
                "downloads speechocean762 (OpenSLR 101) and makes DIR/train_list.txt and "
                "DIR/trials.txt of its train and test speakers",
            ),
            **CORPUS_TRIALS,
            **download_options("speechocean762.yaml"),
        },
    ),
}
