"""Modes that make speech: the synthetic corpus, and vocoded copies of bona fide speech."""

import argparse

from prep.commands.options import PROCESSES, Mode, number_option, path_option, switch_option
from prep.constants import COPY_ORIGINALS, COPY_PROTOCOL
from synthesis.names import VOCODERS


def run_synthetic(args: argparse.Namespace) -> None:
    """Makes the synthetic corpus."""
    # Imported here, because it loads scipy, which --help does not need.
    from prep import synthetic

    options = synthetic.SyntheticOptions(
        args.speakers, args.files, args.test_speakers, args.trials, args.seed, args.spoof
    )
    synthetic.make_synthetic(args.synthetic, options, args.processes)


def run_copy_synthesis(args: argparse.Namespace) -> None:
    """Makes vocoded copies of the files of a list."""
    # Imported here, because it loads scipy, which --help does not need.
    from prep import copy_synthesis

    options = copy_synthesis.CopyOptions(
        args.copy_synthesis,
        args.path,
        args.output,
        tuple(dict.fromkeys(args.vocoders)),
        args.seed,
        args.limit_per_speaker,
    )
    copy_synthesis.make_copies(options, args.processes)


def vocoder_texts() -> str:
    """All vocoders with their attacks, as --help describes them."""
    return "; ".join(f"{name} = {attack}, {text}" for name, (attack, text) in VOCODERS.items())


SYNTHETIC_OPTIONS = {
    "--synthetic": path_option("DIR", "makes synthetic speech in DIR/wav, lists in DIR"),
    "--speakers": number_option(1, "training speakers (%(default)s)", default=40),
    "--files": number_option(
        2, "files of each speaker, 2 to 4 s, about four a recording (%(default)s)", default=20
    ),
    "--test_speakers": number_option(
        3, "speakers of the trials, other than the training ones (%(default)s)", default=10
    ),
    "--trials": number_option(
        2,
        "trials, half target, across recordings, half non-target, same sex; fewer where there "
        "are not as many (%(default)s)",
        default=2000,
    ),
    "--seed": number_option(0, "another seed, other speech (%(default)s)", default=0),
    "--spoof": switch_option(
        "adds a spoofed copy of each file (A01 monotone vocoder, A02 Griffin-Lim) and ASVspoof "
        "protocols"
    ),
    "--processes": PROCESSES,
}
COPY_SYNTHESIS_OPTIONS = {
    "--copy_synthesis": path_option(
        "LIST",
        "makes vocoded copies of the bona fide speech of LIST, lines '<speaker> <file>' or a cm "
        "protocol",
    ),
    "--path": path_option(
        "DIR", "folder that the files of LIST are relative to; only read", required=True
    ),
    "--output": path_option(
        "DIR",
        f"gets {COPY_PROTOCOL}, the copies (DIR/W01/..., the names below as in --path) and a link "
        f"DIR/{COPY_ORIGINALS} to --path: train with --train_list DIR/{COPY_PROTOCOL} "
        "--train_path DIR",
        required=True,
    ),
    "--vocoders": {
        "nargs": "+",
        "choices": list(VOCODERS),
        "default": list(VOCODERS),
        "metavar": "NAME",
        "help": f"which copies each file gets (all): {vocoder_texts()}. More of them may be added "
        "later",
    },
    "--limit_per_speaker": number_option(
        1,
        "copy only N files of each speaker, drawn by the seed; all files stay bona fide lines "
        "(all). May be raised later",
    ),
    "--seed": number_option(
        0, "another seed, other phases and another choice of files (%(default)s)", default=0
    ),
    "--processes": PROCESSES,
}
SPEECH_MODES = {
    "--synthetic": Mode(run_synthetic, SYNTHETIC_OPTIONS),
    "--copy_synthesis": Mode(run_copy_synthesis, COPY_SYNTHESIS_OPTIONS),
}
