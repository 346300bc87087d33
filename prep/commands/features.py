"""Modes for files of features and of embeddings."""

import argparse
from pathlib import Path

from prep.commands.options import PROCESSES, Mode, number_option, path_option, switch_option
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
    """Makes the targets of enhancement."""
    # Imported here, because --help does not need it.
    from prep import embedding_lists

    embedding_lists.combine_embeddings(args.combine_embeddings, args.processes)


def run_embedding_lists(args: argparse.Namespace) -> None:
    """Makes the lists of embeddings to train on."""
    # Imported here, because --help does not need it.
    from prep import embedding_lists

    sizes = ListSizes(args.same, args.different, args.others, args.pairs)
    embedding_lists.make_lists(args.embedding_lists, args.name, sizes, args.seed)


def feature_texts() -> str:
    """All types of features, as --help describes them."""
    return "; ".join(f"{name} = {kind.text}" for name, kind in FEATURE_TYPES.items())


FEATURE_OPTIONS = {
    "--features": switch_option(
        "extracts log-mel features, before their normalisation over time: float32 [frames, "
        "bands], .npy"
    ),
    "-i": path_option(
        "LIST",
        "a file a line, without its extension (.flac or .wav is found) or with it; or a train list",
        dest="input",
        required=True,
    ),
    "--path": path_option(
        "DIR",
        "folder that the files of LIST are relative to (the current one)",
        default=Path(),
    ),
    "--output": path_option(
        "DIR", "gets the features, in folders like those of --path (each beside its audio)"
    ),
    "--feature_type": {
        "choices": list(FEATURE_TYPES),
        "default": "mfsc",
        "help": f"{feature_texts()} (%(default)s)",
    },
    "--n_mels": number_option(1, "mel bands (%(default)s)", default=80),
    "--processes": PROCESSES,
}
COMBINE_OPTIONS = {
    "--combine_embeddings": path_option(
        "DIR",
        "of the embeddings DIR/speaker/session/utterance.npy makes the targets of each speaker "
        "anew: DIR/SPEAKER.npy, the mean over utterances of unit vectors (B), and "
        "DIR/SPEAKER_type2.npy, of the mean as it is, made a unit vector (C)",
    ),
    "--processes": PROCESSES,
}
EMBEDDING_LIST_OPTIONS = {
    "--embedding_lists": path_option(
        "DIR",
        "makes lists of the embeddings DIR/speaker/session/utterance.npy: "
        "DIR/NAME_normal_list.txt, lines 'speaker file'; NAME_test_list.txt, trials; "
        "NAME_triplet_list.txt, 'speaker file other-speaker'; NAME_distribution_list.txt, "
        "'speaker file file 1|0', 1 = of one session",
    ),
    "--name": {
        "metavar": "NAME",
        "required": True,
        "help": "beginning of the names of the lists",
    },
    "--same": number_option(
        0,
        "target trials of each file, fewer where there are not as many (%(default)s)",
        default=SIZES.same,
    ),
    "--different": number_option(
        0, "non-target trials of each file (%(default)s)", default=SIZES.different
    ),
    "--others": number_option(0, "triplets of each file (%(default)s)", default=SIZES.others),
    "--pairs": number_option(
        0,
        "pairs of one session of each speaker, and as many of two; fewer where there are not as "
        "many (%(default)s)",
        default=SIZES.pairs,
    ),
    "--seed": number_option(
        0, "another seed, other trials, triplets and pairs (%(default)s)", default=0
    ),
}
FEATURE_MODES = {
    "--features": Mode(run_features, FEATURE_OPTIONS),
    "--combine_embeddings": Mode(run_combine_embeddings, COMBINE_OPTIONS),
    "--embedding_lists": Mode(run_embedding_lists, EMBEDDING_LIST_OPTIONS),
}
