"""Sub-commands for files of features and of embeddings."""

import argparse
from pathlib import Path

from prep.commands.options import (
    PROCESSES,
    Subcommand,
    number_option,
    one_of,
    path_option,
    text_table,
)
from prep.constants import FEATURE_TYPES, ListSizes

SIZES = ListSizes()


def run_features(args: argparse.Namespace) -> None:
    """Writes log-mel features of the files of a list."""
    # Imported here, because --help does not need it.
    from prep import extraction

    options = extraction.FeatureOptions(
        args.input, args.path, args.output, args.feature_type, args.n_mels
    )
    extraction.make_features(options, args.processes)


def run_combine_embeddings(args: argparse.Namespace) -> None:
    """Computes the targets of embedding enhancement."""
    # Imported here, because --help does not need it.
    from prep import embedding_lists

    embedding_lists.combine_embeddings(args.combine_embeddings, args.processes)


def run_embedding_lists(args: argparse.Namespace) -> None:
    """Makes the lists of embedding enhancement."""
    # Imported here, because --help does not need it.
    from prep import embedding_lists

    sizes = ListSizes(args.same, args.different, args.others, args.pairs)
    embedding_lists.make_lists(args.embedding_lists, args.name, sizes, args.seed)


FEATURE_OPTIONS = {
    "-i/--input": path_option(
        "LIST",
        "list of audio files: one path per line, with or without its extension, or a train list",
        required=True,
    ),
    "--path": path_option(
        "DIR", "folder of the files of LIST (default: the current folder)", default=Path()
    ),
    "--output": path_option(
        "DIR",
        "folder for the features, with the same subfolders as --path (default: next to each audio "
        "file)",
    ),
    "--feature_type": {
        "metavar": "NAME",
        "type": one_of(FEATURE_TYPES),
        "default": "mfsc",
        "help": "type of the features, see below (default: %(default)s)",
    },
    "--n_mels": number_option(1, "number of mel bands (default: %(default)s)", default=80),
    "--processes": PROCESSES,
}
EMBEDDING_LIST_OPTIONS = {
    "--name": {
        "metavar": "NAME",
        "required": True,
        "help": "beginning of the names of the lists",
    },
    "--same": number_option(
        0, "largest number of target trials per file (default: %(default)s)", default=SIZES.same
    ),
    "--different": number_option(
        0,
        "largest number of non-target trials per file (default: %(default)s)",
        default=SIZES.different,
    ),
    "--others": number_option(
        0, "largest number of triplets per file (default: %(default)s)", default=SIZES.others
    ),
    "--pairs": number_option(
        0,
        "largest number of pairs per speaker within one session, and also across two sessions "
        "(default: %(default)s)",
        default=SIZES.pairs,
    ),
    "--seed": number_option(
        0,
        "seed of the random draw of trials, triplets and pairs (default: %(default)s)",
        default=0,
    ),
}
EMBEDDING_LISTS = {
    "NAME_normal_list.txt": "training files, lines '<speaker> <file>'",
    "NAME_test_list.txt": "trials, lines '1|0 <file> <file>'",
    "NAME_triplet_list.txt": "triplets, lines '<speaker> <file> <other speaker>'",
    "NAME_distribution_list.txt": "pairs, lines '<speaker> <file> <file> 1|0' (1: same session)",
}
FEATURE_COMMANDS = {
    "features": Subcommand(
        run_features,
        "write log-mel features of audio files",
        "Writes log-mel features of audio files, one .npy file with float32 [frames, bands] for "
        "each file. Training normalises them over time later.",
        FEATURE_OPTIONS,
        (
            "features -i data/files.lst --path data/voxceleb2",
            "features -i data/train_list.txt --path data/voxceleb2 --output data/features "
            "--feature_type logmel",
        ),
        notes=text_table(
            "Types of features", {name: kind.text for name, kind in FEATURE_TYPES.items()}
        ),
    ),
    "combine-embeddings": Subcommand(
        run_combine_embeddings,
        "compute the targets of embedding enhancement",
        "Computes two targets for each speaker from the embeddings "
        "DIR/speaker/session/utterance.npy. Existing targets are replaced.",
        {"--processes": PROCESSES},
        ("combine-embeddings data/embeddings/train",),
        value=path_option("DIR", "folder of the embeddings"),
        notes=text_table(
            "Targets",
            {
                "DIR/SPEAKER.npy": "mean of the unit-length embeddings of the utterances (B)",
                "DIR/SPEAKER_type2.npy": "mean of the embeddings, scaled to unit length (C)",
            },
        ),
    ),
    "embedding-lists": Subcommand(
        run_embedding_lists,
        "make the lists of embedding enhancement",
        "Makes lists of the embeddings DIR/speaker/session/utterance.npy, for training and "
        "testing embedding enhancement. Existing lists are replaced.",
        EMBEDDING_LIST_OPTIONS,
        (
            "embedding-lists data/embeddings/train --name train",
            "embedding-lists data/embeddings/test --name valid --same 8 --different 8",
        ),
        value=path_option("DIR", "folder of the embeddings"),
        notes=text_table("Lists in DIR", EMBEDDING_LISTS),
    ),
}
