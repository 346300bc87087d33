"""Sub-commands that check, make, merge and translate lists."""

import argparse
from pathlib import Path

from prep.commands.options import (
    PROCESSES,
    Subcommand,
    number_option,
    number_or_share,
    one_group,
    path_option,
    text_table,
)
from prep.constants import CHECK_REPORT, PROBLEM_KINDS, TEST_LIST, TRAIN_LIST, TRIALS


def run_check_lists(args: argparse.Namespace) -> bool:
    """Checks lists and their files. Returns whether there is any problem."""
    # Imported here, because --help does not need it.
    from prep import check

    options = check.CheckOptions(
        args.check, args.path, args.output, args.max_frames, args.nPerSpeaker
    )
    return check.check_lists(options, args.processes)


def run_make_list(args: argparse.Namespace) -> None:
    """Makes lists of the audio files in a folder and its subfolders."""
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
    """Makes one train list from several."""
    # Imported here, because --help does not need it.
    from prep import merging

    merging.merge([merging.parse_part(text) for text in args.merge], args.output)


def run_from_kaldi(args: argparse.Namespace) -> None:
    """Makes a train list from a Kaldi data folder."""
    # Imported here, because --help does not need it.
    from prep import kaldi

    kaldi.from_kaldi(args.from_kaldi, args.output, args.path, args.trials)


def run_to_kaldi(args: argparse.Namespace) -> None:
    """Makes a Kaldi data folder from a train list."""
    # Imported here, because --help does not need it.
    from prep import kaldi

    kaldi.to_kaldi(args.to_kaldi, args.path, args.output, args.trials)


CHECK_OPTIONS = {
    "--path": {
        "metavar": "DIR",
        "nargs": "+",
        "required": True,
        "help": "folder of the files, one for all lists or one for each list; write it after the "
        "lists",
    },
    "--output": path_option(
        "DIR",
        "folder for the report and the cleaned lists (default: the folder of each list, and the "
        "folder of the first list for the report)",
    ),
    "--max_frames": number_option(
        0,
        "smallest length of a file in frames of 10 ms; 0 allows any length (default: %(default)s)",
        default=200,
    ),
    "--nPerSpeaker": number_option(
        0,
        "smallest number of usable utterances of a training speaker (default: %(default)s)",
        default=2,
    ),
    "--processes": PROCESSES,
}
CHECK_NOTES = f"""The program writes a report, {CHECK_REPORT}. For each LIST.txt,
it writes the lines without problems to LIST.clean.txt. The exit code is 1 if there are problems."""
MAKE_LIST_OPTIONS = {
    "--output": path_option(
        "DIR",
        "folder for the lists; the paths in them are relative to the folder of the audio files",
        required=True,
    ),
    "--speaker_level": number_option(
        1, "the N-th folder of a path is the speaker (default: %(default)s)", default=1
    ),
    "--speaker_regex": {
        "metavar": "REGEX",
        "type": one_group,
        "help": "regular expression whose group finds the speaker in a path, instead of "
        "--speaker_level; files without a match are left out and counted",
    },
    "--min_files": number_option(
        1,
        "smallest number of files of a speaker; other speakers are left out and counted "
        "(default: %(default)s)",
        default=1,
    ),
    "--test_speakers": {
        "metavar": "N",
        "type": number_or_share,
        "default": 0,
        "help": "number of test speakers, drawn at random, or their share, such as 10%%; 100%% "
        "makes no train list (default: %(default)s)",
    },
    "--trials": number_option(
        0,
        "largest number of trials of the test speakers, half of them target trials (default: "
        "%(default)s)",
        default=2000,
    ),
    "--speaker_table": path_option(
        "FILE", "table of the speakers' sexes, for non-target trials of the same sex"
    ),
    "--seed": number_option(
        0,
        "seed of the random draw of test speakers and trials (default: %(default)s)",
        default=0,
    ),
}
MAKE_LIST_NOTES = """Examples of --speaker_regex: '^([0-9]+)-' or '/(p[0-9]+)_[0-9]+_mic1'.

The two files of a target trial are in different folders if the speaker has several folders.
If there are enough files, every test speaker gets about the same number of trials.

A speaker table has lines '<speaker> m|f', or is spk2gender of Kaldi, vox1_meta.csv, vox2_meta.csv
or SPEAKERS.TXT of LibriSpeech."""
FROM_KALDI_OPTIONS = {
    "--path": path_option(
        "DIR",
        "folder that the paths of the list become relative to (default: the paths of wav.scp stay "
        "unchanged)",
    ),
    "--output": path_option("LIST", "train list to write", required=True),
    "--trials": path_option(
        "FILE", "list for the trials of the Kaldi folder, lines '1|0 <file> <file>'"
    ),
}
TO_KALDI_OPTIONS = {
    "--path": path_option(
        "DIR", "folder of the files of LIST (default: the current folder)", default=Path()
    ),
    "--output": path_option("DIR", "Kaldi data folder to write", required=True),
    "--trials": path_option(
        "FILE",
        "trials of the files of LIST, lines '1|0 <file> <file>', which become the file trials of "
        "the folder",
    ),
}
LIST_COMMANDS = {
    "check": Subcommand(
        run_check_lists,
        "find missing, damaged and unsuitable files of lists",
        "Reads every file of train lists and trial lists and compares the lists with each other.",
        CHECK_OPTIONS,
        (
            "check data/train_list.txt --path data/voxceleb2",
            "check data/synthetic/train_list.txt data/synthetic/trials.txt "
            "--path data/synthetic/wav --output data/check",
        ),
        value={"metavar": "LIST", "nargs": "+", "help": "train list or trial list"},
        notes=f"{CHECK_NOTES}\n\n{text_table('Problems', PROBLEM_KINDS)}",
    ),
    "make-list": Subcommand(
        run_make_list,
        "make a train list and trials from a folder of speakers",
        f"Makes {TRAIN_LIST} from the audio files in DIR and its subfolders. With --test_speakers, "
        f"it also makes {TEST_LIST} and {TRIALS}.",
        MAKE_LIST_OPTIONS,
        (
            "make-list data/own --output data/lists --test_speakers 10%",
            "make-list data/own --output data/lists --speaker_regex '^([0-9]+)-'",
        ),
        value=path_option("DIR", "folder of the audio files"),
        notes=MAKE_LIST_NOTES,
    ),
    "merge": Subcommand(
        run_merge,
        "merge several train lists",
        "Makes one train list from several. Speakers become NAME-speaker, and paths become "
        "relative to the folder that contains all DIRs.",
        {"--output": path_option("LIST", "train list to write", required=True)},
        (
            "merge vox2=data/train_list.txt:data/voxceleb2 own=data/own.txt:data/own "
            "--output data/all.txt",
        ),
        value={
            "metavar": "NAME=LIST:DIR",
            "nargs": "+",
            "help": "name of a list, the list, and the folder of its files",
        },
    ),
    "to-kaldi": Subcommand(
        run_to_kaldi,
        "write a train list as a Kaldi data folder",
        "Writes a train list as a Kaldi data folder: wav.scp, utt2spk and spk2utt, sorted as Kaldi "
        "requires (LC_ALL=C).",
        TO_KALDI_OPTIONS,
        ("to-kaldi data/train_list.txt --path data/voxceleb2 --output data/kaldi",),
        value=path_option("LIST", "train list"),
    ),
    "from-kaldi": Subcommand(
        run_from_kaldi,
        "write a Kaldi data folder as a train list",
        "Makes a train list from wav.scp and utt2spk of a Kaldi data folder. The lines of wav.scp "
        "must contain paths, not commands.",
        FROM_KALDI_OPTIONS,
        (
            "from-kaldi data/kaldi --output data/kaldi_list.txt",
            "from-kaldi data/kaldi --output data/kaldi_list.txt --path data/voxceleb2 --trials "
            "data/kaldi_trials.txt",
        ),
        value=path_option("DIR", "Kaldi data folder"),
    ),
}
