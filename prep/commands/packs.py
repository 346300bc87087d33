"""Modes that make and check packs."""

import argparse

from prep.commands.options import THREADS, Mode, integer, path_option


def run_pack(args: argparse.Namespace) -> None:
    """Makes a pack of the recordings of lists, or adds them to a pack."""
    # Imported here, because --help does not need it.
    from prep import pack

    options = pack.PackOptions(
        args.pack,
        args.path,
        args.output,
        args.shard_size * pack.MB,
        args.threads,
        args.enroll_list,
        args.spk_meta_eval,
    )
    pack.make_pack(options)


def run_check_pack(args: argparse.Namespace) -> None:
    """Compares the checksums of a pack."""
    # Imported here, because --help does not need it.
    from prep import pack

    pack.check_pack(args.check_pack, args.threads)


PACK_OPTIONS = {
    "--pack": path_option(
        "LIST",
        "puts the recordings of the lists (train lists, trials, a file a line; without LIST all "
        "audio below --path) into few large files, which train and evaluate as the loose ones do, "
        "to the bit, and fast from network disks",
        nargs="*",
    ),
    "--path": path_option(
        "DIR", "folder that the files of the lists are relative to; only read", required=True
    ),
    "--output": path_option(
        "DIR",
        "the pack, for --train_path, --test_path, --musan_path or --rir_path; what it lacks of "
        "the lists is added to one that is there",
        required=True,
    ),
    "--shard_size": {
        "metavar": "MB",
        "type": integer(1),
        "default": 2000,
        "help": "size of the large files (%(default)s)",
    },
    "--enroll_list": path_option(
        "LIST",
        "as for trainSpeakerNet.py: who enrols the speakers of spoofing-aware trials",
        nargs="+",
    ),
    "--spk_meta_eval": path_option("FILE", "the same as a pickled table"),
    "--threads": THREADS,
}
CHECK_PACK_OPTIONS = {
    "--check_pack": path_option("DIR", "reads a whole pack and compares its checksums"),
    "--threads": THREADS,
}
PACK_MODES = {
    "--pack": Mode(run_pack, PACK_OPTIONS),
    "--check_pack": Mode(run_check_pack, CHECK_PACK_OPTIONS),
}
