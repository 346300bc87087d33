"""Sub-commands that make speech: a synthetic corpus, and spoofed copies of bona fide speech."""

import argparse

from prep.commands.options import (
    PROCESSES,
    Subcommand,
    number_option,
    one_of,
    path_option,
    switch_option,
    text_table,
)
from prep.constants import (
    COPY_ORIGINALS,
    COPY_PROTOCOL,
    DEV_ENROLMENTS,
    DEV_FILES,
    DEV_TRIALS,
    REST_LIST,
)
from synthesis.names import DEFAULT_VOCODERS, VOCODERS


def run_synthetic(args: argparse.Namespace) -> None:
    """Makes the synthetic corpus."""
    # Imported here, because it loads scipy, which --help does not need.
    from prep import synthetic

    options = synthetic.SyntheticOptions(
        args.speakers, args.files, args.test_speakers, args.trials, args.seed, args.spoof
    )
    synthetic.make_synthetic(args.synthetic, options, args.processes)


def run_copy_synthesis(args: argparse.Namespace) -> None:
    """Makes spoofed copies of the files of a list."""
    # Imported here, because it loads scipy, which --help does not need.
    from prep import copy_synthesis

    options = copy_synthesis.CopyOptions(
        args.copy_synthesis,
        args.path,
        args.output,
        tuple(dict.fromkeys(args.vocoders)),
        args.seed,
        args.limit_per_speaker,
        args.keep_spoofed,
    )
    copy_synthesis.make_copies(options, args.processes)


def run_hold_out(args: argparse.Namespace) -> None:
    """Holds out speakers of a list for development."""
    # Imported here, because --help does not need it.
    from prep import development

    development.hold_out(args.hold_out, args.speakers, args.output)


SYNTHETIC_OPTIONS = {
    "--speakers": number_option(
        1, "number of training speakers (default: %(default)s)", default=40
    ),
    "--files": number_option(
        2, "number of files per speaker, of 2 to 4 s each (default: %(default)s)", default=20
    ),
    "--test_speakers": number_option(
        3,
        "number of test speakers, in addition to the training speakers (default: %(default)s)",
        default=10,
    ),
    "--trials": number_option(
        2,
        "largest number of trials, half of them target trials (default: %(default)s)",
        default=2000,
    ),
    "--seed": number_option(
        0, "seed; each seed gives other speech (default: %(default)s)", default=0
    ),
    "--spoof": switch_option(
        "add a spoofed copy of each file, and protocols in the format of ASVspoof 2019"
    ),
    "--processes": PROCESSES,
}
SYNTHETIC_NOTES = """A recording gives about four files. The files of a target trial come from
different recordings, and the speakers of a non-target trial have the same sex.

Spoofed copies are made by A01, a monotone vocoder, and A02, Griffin-Lim."""
COPY_SYNTHESIS_OPTIONS = {
    "--path": path_option("DIR", "folder of the files of LIST, only read", required=True),
    "--output": path_option("DIR", "folder of the copies and their protocol", required=True),
    "--vocoders": {
        "nargs": "+",
        "type": one_of(VOCODERS),
        "default": list(DEFAULT_VOCODERS),
        "metavar": "NAME",
        "help": f"vocoders that copy each file, see below (default: {' '.join(DEFAULT_VOCODERS)})",
    },
    "--limit_per_speaker": number_option(
        1, "number of files per speaker that are copied, drawn at random (default: all)"
    ),
    "--keep_spoofed": switch_option("also list the spoofed files of LIST, with their attacks"),
    "--seed": number_option(
        0, "seed of everything drawn: files, phases and voices (default: %(default)s)", default=0
    ),
    "--processes": PROCESSES,
}
COPY_SYNTHESIS_NOTES = f"""Files in the folder of --output:
  {COPY_PROTOCOL:18}  protocol of the original files and the copies
  {COPY_ORIGINALS:18}  link to the folder of --path
  W01, G01, ...       copies, with the same names as in --path

With --output data/copies, train with --train_list data/copies/{COPY_PROTOCOL} and
--train_path data/copies. The protocol lists all original files as bona fide, also with
--limit_per_speaker. The same command with more vocoders or a higher limit adds copies."""
HOLD_OUT_OPTIONS = {
    "--speakers": number_option(
        1, "number of speakers that are held out, the last ones by name", required=True
    ),
    "--output": path_option("DIR", "folder of the lists", required=True),
}
HOLD_OUT_NOTES = f"""Files in the folder of --output, with the paths of LIST:
  {REST_LIST:12}  train list of the other speakers
  {DEV_FILES:12}  protocol of the files of the speakers that are held out
  {DEV_TRIALS:12}  spoofing-aware trials of the same files
  {DEV_ENROLMENTS:12}  enrolments of the trials: every bona fide file enrols one claimed speaker"""
SPEECH_COMMANDS = {
    "synthetic": Subcommand(
        run_synthetic,
        "make a small corpus of synthetic speakers",
        "Makes synthetic speech in DIR/wav, and a train list and trials in DIR.",
        SYNTHETIC_OPTIONS,
        ("synthetic data/synthetic", "synthetic data/sasv --speakers 20 --spoof"),
        value=path_option("DIR", "folder of the corpus"),
        notes=SYNTHETIC_NOTES,
    ),
    "copy-synthesis": Subcommand(
        run_copy_synthesis,
        "make spoofed copies of bona fide speech with vocoders",
        "Makes spoofed copies of the bona fide speech of a list. Vocoders analyse and synthesise "
        "each file again.",
        COPY_SYNTHESIS_OPTIONS,
        (
            "copy-synthesis data/train_list.txt --path data/voxceleb2 --output data/copies",
            "copy-synthesis data/train_list.txt --path data/voxceleb2 --output data/copies "
            "--vocoders griffin_lim griffin_lim_mel --limit_per_speaker 20",
        ),
        value=path_option(
            "LIST", "train list with lines '<speaker> <file>', or a protocol of countermeasures"
        ),
        notes="\n\n".join(
            [
                text_table(
                    "Vocoders",
                    {name: f"{attack}, {text}" for name, (attack, text) in VOCODERS.items()},
                ),
                COPY_SYNTHESIS_NOTES,
            ]
        ),
    ),
    "hold-out": Subcommand(
        run_hold_out,
        "hold out speakers of a list with spoofed speech for development",
        "Splits a train list with spoofed speech. A fusion of a speaker network with a "
        "countermeasure learns from the trials of the speakers that are held out.",
        HOLD_OUT_OPTIONS,
        ("hold-out data/copies/cm.train.trn.txt --speakers 10 --output data/split",),
        value=path_option("LIST", "protocol of countermeasures"),
        notes=HOLD_OUT_NOTES,
    ),
}
