"""Sub-commands that make and check packs."""

import argparse

from prep.commands.options import THREADS, Subcommand, integer, path_option


def run_pack(args: argparse.Namespace) -> None:
    """Puts the recordings of lists into a new or an existing pack."""
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
    from prep import pack_check

    pack_check.check_pack(args.check_pack, args.threads)


PACK_OPTIONS = {
    "--path": path_option("DIR", "folder of the files of the lists, only read", required=True),
    "--output": path_option(
        "DIR", "folder of the pack; missing recordings are added to an existing pack", required=True
    ),
    "--shard_size": {
        "metavar": "MB",
        "type": integer(1),
        "default": 2000,
        "help": "size of each large file in MB (default: %(default)s)",
    },
    "--enroll_list": path_option(
        "LIST",
        "lists of the enrolment files of spoofing-aware trials, as for trainSpeakerNet.py",
        nargs="+",
    ),
    "--spk_meta_eval": path_option(
        "FILE", "pickled table of the enrolment files, instead of --enroll_list"
    ),
    "--threads": THREADS,
}
PACK_COMMANDS = {
    "pack": Subcommand(
        run_pack,
        "put recordings into few large files, for network disks",
        "Puts recordings into a pack, which consists of few large files that network disks read "
        "fast.",
        PACK_OPTIONS,
        (
            "pack data/train_list.txt --path data/voxceleb2 --output data/pack",
            "pack data/synthetic/train_list.txt data/synthetic/trials.txt "
            "--path data/synthetic/wav --output data/pack",
        ),
        value=path_option(
            "LIST",
            "train list, trial list or list of files (default: all audio in --path)",
            nargs="*",
        ),
        notes="The pack replaces the folder in --train_path, --test_path, --musan_path or "
        "--rir_path of\ntrainSpeakerNet.py. Training and evaluation give exactly the same results "
        "as with single files.",
    ),
    "check-pack": Subcommand(
        run_check_pack,
        "compare the checksums of a pack",
        "Reads a complete pack, and compares its checksums, and its index with the shards.",
        {"--threads": THREADS},
        ("check-pack data/pack",),
        value=path_option("DIR", "folder of the pack"),
    ),
}
