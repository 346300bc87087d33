"""Modes that check, make, merge and translate lists."""

import argparse
from pathlib import Path

from prep.commands.options import (
    PROCESSES,
    Mode,
    number_option,
    number_or_share,
    one_group,
    path_option,
)
from prep.constants import CHECK_REPORT, PROBLEM_KINDS, TEST_LIST, TRAIN_LIST, TRIALS


def run_check_lists(args: argparse.Namespace) -> bool:
    """Checks lists and their files. Returns whether there is any finding."""
    # Imported here, because --help does not need it.
    from prep import check

    options = check.CheckOptions(
        args.check, args.path, args.output, args.max_frames, args.nPerSpeaker
    )
    return check.check_lists(options, args.processes)


def run_make_list(args: argparse.Namespace) -> None:
    """Makes lists of the audio files below a folder."""
    # Imported here, because --help does not need it.
    from prep import trees

    options = trees.TreeOptions(
        args.make_list,
        args.output,
        args.speaker_level,
        args.speaker_regex,
        args.min_files,
        args.test_speakers,
        args.trials,
        args.speaker_table,
        args.seed,
    )
    trees.make_list(options)


def run_merge(args: argparse.Namespace) -> None:
    """Makes one train list of several."""
    # Imported here, because --help does not need it.
    from prep import merging

    merging.merge([merging.parse_part(text) for text in args.merge], args.output)


def run_from_kaldi(args: argparse.Namespace) -> None:
    """Makes a train list of a Kaldi data folder."""
    # Imported here, because --help does not need it.
    from prep import kaldi

    kaldi.from_kaldi(args.from_kaldi, args.output, args.path, args.trials)


def run_to_kaldi(args: argparse.Namespace) -> None:
    """Makes a Kaldi data folder of a train list."""
    # Imported here, because --help does not need it.
    from prep import kaldi

    kaldi.to_kaldi(args.to_kaldi, args.path, args.output, args.trials)


CHECK_OPTIONS = {
    "--check": {
        "metavar": "LIST",
        "nargs": "+",
        "help": "opens every file of train and trial lists, compares the lists, and ends with 1 "
        f"if it finds any of: {', '.join(PROBLEM_KINDS)}. Writes {CHECK_REPORT}, and of each "
        "LIST.txt the sound lines as LIST.clean.txt",
    },
    "--path": {
        "metavar": "DIR",
        "nargs": "+",
        "required": True,
        "help": "folder that the files are relative to; one, or one for each list",
    },
    "--output": path_option(
        "DIR",
        "gets the report and the cleaned lists (the folder of each list, the report that of the "
        "first)",
    ),
    "--max_frames": number_option(
        0,
        "files must be as long as a crop of N frames; 0: any is (%(default)s)",
        default=200,
    ),
    "--nPerSpeaker": number_option(
        0, "training speakers must have so many sound utterances (%(default)s)", default=2
    ),
    "--processes": PROCESSES,
}
MAKE_LIST_OPTIONS = {
    "--make_list": path_option(
        "DIR",
        f"makes {TRAIN_LIST} of the audio files in DIR and the folders in it, and with "
        f"--test_speakers {TEST_LIST} and {TRIALS}",
    ),
    "--output": path_option(
        "DIR", "gets the lists, with paths relative to the DIR of --make_list", required=True
    ),
    "--speaker_level": number_option(
        1, "the speaker is the N-th folder below DIR (%(default)s)", default=1
    ),
    "--speaker_regex": {
        "metavar": "RE",
        "type": one_group,
        "help": "instead: the group in this regular expression, searched in the path below DIR, "
        "as '^([0-9]+)-' or '/(p[0-9]+)_[0-9]+_mic1'; files in which it is not found are left "
        "out and counted",
    },
    "--min_files": number_option(
        1, "leaves out speakers with fewer files, and counts them (%(default)s)", default=1
    ),
    "--test_speakers": {
        "metavar": "N",
        "type": number_or_share,
        "default": 0,
        "help": "keeps these apart, drawn by the seed: a number, or a share as 10%%; 100%%: a "
        "corpus for tests alone (%(default)s)",
    },
    "--trials": number_option(
        0,
        "trials of the test speakers, half target, of two folders where the speaker has several, "
        "half non-target; speakers take part alike; fewer where there are not as many "
        "(%(default)s)",
        default=2000,
    ),
    "--speaker_table": path_option(
        "FILE",
        "sexes of the speakers, for non-targets of the same sex: lines '<speaker> m|f', Kaldi's "
        "spk2gender, vox1_meta.csv, vox2_meta.csv, SPEAKERS.TXT of LibriSpeech",
    ),
    "--seed": number_option(
        0, "another seed, other test speakers and trials (%(default)s)", default=0
    ),
}
MERGE_OPTIONS = {
    "--merge": {
        "metavar": "NAME=LIST:DIR",
        "nargs": "+",
        "help": "makes one train list of several, LIST of files in DIR: speakers become "
        "NAME-speaker, files relative to the folder that all DIRs share",
    },
    "--output": path_option("LIST", "the list to write", required=True),
}
FROM_KALDI_OPTIONS = {
    "--from_kaldi": path_option(
        "DIR",
        "makes a train list of a Kaldi data folder, of wav.scp with plain paths and utt2spk",
    ),
    "--path": path_option(
        "DIR", "folder that the paths of the list will be relative to (they stay as in wav.scp)"
    ),
    "--output": path_option("LIST", "the list to write", required=True),
    "--trials": path_option("FILE", "gets the trials of the folder, lines '1|0 <file> <file>'"),
}
TO_KALDI_OPTIONS = {
    "--to_kaldi": path_option(
        "LIST",
        "makes a Kaldi data folder of a train list: wav.scp, utt2spk, spk2utt, sorted as by "
        "LC_ALL=C",
    ),
    "--path": path_option(
        "DIR",
        "folder that the files of LIST are relative to (the current one)",
        default=Path(),
    ),
    "--output": path_option("DIR", "the data folder", required=True),
    "--trials": path_option(
        "FILE",
        "trials of the files of LIST, lines '1|0 <file> <file>', which become DIR/trials",
    ),
}
CHECK_MODES = {"--check": Mode(run_check_lists, CHECK_OPTIONS)}
LIST_MODES = {
    "--make_list": Mode(run_make_list, MAKE_LIST_OPTIONS),
    "--merge": Mode(run_merge, MERGE_OPTIONS),
    "--from_kaldi": Mode(run_from_kaldi, FROM_KALDI_OPTIONS),
    "--to_kaldi": Mode(run_to_kaldi, TO_KALDI_OPTIONS),
}
