"""Makes corpora and their lists, one module of corpus/ each.

python dataprep.py --convert data/voxceleb2 --output data/wav       .m4a (.mp3, .opus, ...) to 16 kHz mono WAV or FLAC
python dataprep.py --check data/train_list.txt --path data/wav       opens every file: a report of what is wrong, and a list of what is sound
python dataprep.py --synthetic data/synthetic                      1,000 files of 40 training and 10 test speakers, lists beside them
python dataprep.py --synthetic data/sasv --speakers 20 --spoof     with spoofed copies and ASVspoof-style protocols
python dataprep.py --copy_synthesis data/train_list.txt --path data/voxceleb2 --output data/copies      vocoded copies of bona fide speech
python dataprep.py --features -i files.lst --path data/voxceleb2   log-mel features of every file, beside it
python dataprep.py --combine_embeddings exps/embeddings            of a tree speaker/session/utterance.npy the targets of enhancement, and then
python dataprep.py --embedding_lists exps/embeddings --name train  the lists to train on
The same command again finishes what was interrupted, and never makes again what is there.
"""
import argparse
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from corpus import InputError, check, conversion, copy_synthesis, embeddings, extraction, synthetic
from corpus.vocoders import COPIES

log = logging.getLogger("dataprep")


def integer(least):
    """An argparse type: whole numbers from `least` on."""
    def convert(text):
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"want a whole number of at least {least}, got '{text}'")
        return int(text)
    return convert


def run_convert(args):
    if (args.convert is None) == (args.save_path is None):
        raise InputError("--convert: want the folder to convert, by --convert DIR, or as DIR/voxceleb2 by --save_path DIR --convert")
    folder = args.convert or args.save_path / "voxceleb2"
    conversion.convert(folder, args.output or folder, args.format, args.processes)


def run_check(args):
    return check.check_lists(check.Options(args.check, args.path, args.output, args.max_frames, args.nPerSpeaker), args.processes)


def run_synthetic(args):
    options = synthetic.Options(args.speakers, args.files, args.test_speakers, args.trials, args.seed, args.spoof)
    synthetic.make_synthetic(args.synthetic, options, args.processes)


def run_copy_synthesis(args):
    options = copy_synthesis.Options(args.copy_synthesis, args.path, args.output, tuple(dict.fromkeys(args.vocoders)), args.seed, args.limit_per_speaker)
    copy_synthesis.make_copies(options, args.processes)


def run_features(args):
    extraction.make_features(extraction.Options(args.input, args.path, args.output, args.feature_type, args.n_mels), args.processes)


def run_combine_embeddings(args):
    embeddings.combine_embeddings(args.combine_embeddings, args.processes)


def run_embedding_lists(args):
    sizes = embeddings.Sizes(args.same, args.different, args.others, args.pairs)
    embeddings.make_lists(args.embedding_lists, args.name, sizes, args.seed)


class Mode(NamedTuple):
    """run: what it does with its parsed options, -> exit code or None. options: flag -> arguments of add_argument; that which chooses the mode first."""
    run: Callable
    options: dict


PROCESSES = {"type": integer(1), "metavar": "N", "help": "worker processes (all cores)"}
SIZES = embeddings.Sizes()
MODES = {
    "--synthetic": Mode(run_synthetic, {
        "--synthetic": {"metavar": "DIR", "type": Path, "help": "makes synthetic speech in DIR/wav, lists in DIR"},
        "--speakers": {"type": integer(1), "default": 40, "metavar": "N", "help": "training speakers (%(default)s)"},
        "--files": {"type": integer(2), "default": 20, "metavar": "N", "help": "files of each speaker, 2 to 4 s, about four a recording (%(default)s)"},
        "--test_speakers": {"type": integer(3), "default": 10, "metavar": "N", "help": "speakers of the trials, other than the training ones (%(default)s)"},
        "--trials": {"type": integer(2), "default": 2000, "metavar": "N",
                     "help": "trials, half target, across recordings, half non-target, same sex; fewer where there are not as many (%(default)s)"},
        "--seed": {"type": integer(0), "default": 0, "metavar": "N", "help": "another seed, other speech (%(default)s)"},
        "--spoof": {"action": "store_true", "help": "adds a spoofed copy of each file (A01 monotone vocoder, A02 Griffin-Lim) and ASVspoof protocols"},
        "--processes": PROCESSES,
    }),
    "--copy_synthesis": Mode(run_copy_synthesis, {
        "--copy_synthesis": {"metavar": "LIST", "type": Path,
                             "help": "makes vocoded copies of the bona fide speech of LIST, lines '<speaker> <file>' or a cm protocol"},
        "--path": {"metavar": "DIR", "type": Path, "required": True, "help": "folder that the files of LIST are relative to; only read"},
        "--output": {"metavar": "DIR", "type": Path, "required": True, "help": f"gets {copy_synthesis.PROTOCOL}, the copies (DIR/W01/..., the names below as "
                     f"in --path) and a link DIR/{copy_synthesis.BONAFIDE} to --path: train with --train_list DIR/{copy_synthesis.PROTOCOL} --train_path DIR"},
        "--vocoders": {"nargs": "+", "choices": list(COPIES), "default": list(COPIES), "metavar": "NAME", "help": "which copies each file gets (all): "
                       + "; ".join(f"{name} = {v.attack}, {v.text}" for name, v in COPIES.items()) + ". More of them may be added later"},
        "--limit_per_speaker": {"type": integer(1), "metavar": "N", "help": "copy only N files of each speaker, drawn by the seed; all files stay bona "
                                "fide lines (all). May be raised later"},
        "--seed": {"type": integer(0), "default": 0, "metavar": "N", "help": "another seed, other phases and another choice of files (%(default)s)"},
        "--processes": PROCESSES,
    }),
    "--convert": Mode(run_convert, {
        "--convert": {"metavar": "DIR", "type": Path, "nargs": "?", "help": "converts the compressed files below DIR to 16 kHz mono audio of 16 bits, by "
                      f"ffmpeg: {', '.join(conversion.SUFFIXES)}"},
        "--save_path": {"metavar": "DIR", "type": Path, "help": "in place of a folder after --convert: that of VoxCeleb2, DIR/voxceleb2"},
        "--output": {"metavar": "DIR", "type": Path, "help": "gets the files, in folders like those of the originals (each beside its original)"},
        "--format": {"choices": list(conversion.CODECS), "default": "wav", "help": "flac takes about half the room, but longer to read (%(default)s)"},
        "--processes": PROCESSES,
    }),
    "--check": Mode(run_check, {
        "--check": {"metavar": "LIST", "nargs": "+", "help": "opens every file of train and trial lists, compares the lists, and ends with 1 if it finds any "
                    f"of: {', '.join(check.KINDS)}. Writes {check.REPORT}, and of each LIST.txt the sound lines as LIST.clean.txt"},
        "--path": {"metavar": "DIR", "nargs": "+", "required": True, "help": "folder that the files are relative to; one, or one for each list"},
        "--output": {"metavar": "DIR", "type": Path, "help": "gets the report and the cleaned lists (the folder of each list, the report that of the first)"},
        "--max_frames": {"type": integer(0), "default": 200, "metavar": "N", "help": "files must be as long as a crop of N frames; 0: any is (%(default)s)"},
        "--nPerSpeaker": {"type": integer(0), "default": 2, "metavar": "N", "help": "training speakers must have so many sound utterances (%(default)s)"},
        "--processes": PROCESSES,
    }),
    "--features": Mode(run_features, {
        "--features": {"action": "store_true", "help": "extracts log-mel features, before their normalisation over time: float32 [frames, bands], .npy"},
        "-i": {"metavar": "LIST", "dest": "input", "type": Path, "required": True,
               "help": "a file a line, without its extension (.flac or .wav is found) or with it; or a train list"},
        "--path": {"metavar": "DIR", "type": Path, "default": Path(), "help": "folder that the files of LIST are relative to (the current one)"},
        "--output": {"metavar": "DIR", "type": Path, "help": "gets the features, in folders like those of --path (each beside its audio)"},
        "--feature_type": {"choices": list(extraction.FEATURE_TYPES), "default": "mfsc",
                           "help": "; ".join(f"{name} = {kind.text}" for name, kind in extraction.FEATURE_TYPES.items()) + " (%(default)s)"},
        "--n_mels": {"type": integer(1), "default": 80, "metavar": "N", "help": "mel bands (%(default)s)"},
        "--processes": PROCESSES,
    }),
    "--combine_embeddings": Mode(run_combine_embeddings, {
        "--combine_embeddings": {"metavar": "DIR", "type": Path, "help": "of the embeddings DIR/speaker/session/utterance.npy makes the targets of each "
                                 "speaker anew: DIR/SPEAKER.npy, the mean over utterances of unit vectors (B), and DIR/SPEAKER_type2.npy, of the mean as it "
                                 "is, made a unit vector (C)"},
        "--processes": PROCESSES,
    }),
    "--embedding_lists": Mode(run_embedding_lists, {
        "--embedding_lists": {"metavar": "DIR", "type": Path, "help": "makes lists of the embeddings DIR/speaker/session/utterance.npy: "
                              "DIR/NAME_normal_list.txt, lines 'speaker file'; NAME_test_list.txt, trials; NAME_triplet_list.txt, 'speaker file "
                              "other-speaker'; NAME_distribution_list.txt, 'speaker file file 1|0', 1 = of one session"},
        "--name": {"metavar": "NAME", "required": True, "help": "beginning of the names of the lists"},
        "--same": {"type": integer(0), "default": SIZES.same, "metavar": "N",
                   "help": "target trials of each file, fewer where there are not as many (%(default)s)"},
        "--different": {"type": integer(0), "default": SIZES.different, "metavar": "N", "help": "non-target trials of each file (%(default)s)"},
        "--others": {"type": integer(0), "default": SIZES.others, "metavar": "N", "help": "triplets of each file (%(default)s)"},
        "--pairs": {"type": integer(0), "default": SIZES.pairs, "metavar": "N", "help": "pairs of one session of each speaker, and as many of two; fewer where "
                    "there are not as many (%(default)s)"},
        "--seed": {"type": integer(0), "default": 0, "metavar": "N", "help": "another seed, other trials, triplets and pairs (%(default)s)"},
    }),
}


def parser_of(mode):
    """The parser of one mode's options; of None: a parser that tells which modes there are."""
    if not mode:
        return argparse.ArgumentParser(prog="dataprep.py", usage="python dataprep.py MODE ... [--OPTION VALUE ...]", description=__doc__,
                                       epilog=f"MODE is one of {', '.join(MODES)}; MODE --help shows its options",
                                       formatter_class=argparse.RawDescriptionHelpFormatter)
    options = MODES[mode].options
    usage = f"python dataprep.py {' '.join([mode, *filter(None, [options[mode].get('metavar')])])} [--OPTION VALUE ...]"
    parser = argparse.ArgumentParser(prog="dataprep.py", usage=usage, allow_abbrev=False)
    group = parser.add_argument_group(mode)
    for flag, arguments in options.items():
        group.add_argument(flag, **arguments)
    return parser


def parse(words):
    """Command line -> (mode, its options). Complaints and help end the program, as argparse does."""
    flags = [word.split("=")[0] for word in words]
    mode = next((flag for flag in flags if flag in MODES), None)
    parser = parser_of(mode)
    if {"-h", "--help"} & {*words}:                                           # wherever it stands, so that MODE --help needs no value of MODE
        parser.parse_args(["--help"])
    if not mode:
        parser.error(f"want one of {', '.join(MODES)}")
    args, unknown = parser.parse_known_args(words)
    for flag in (word.split("=")[0] for word in unknown):
        if owners := [other for other in MODES if flag in MODES[other].options]:
            parser.error(f"{flag}: an option of {' and '.join(owners)}, not of {mode}")
    if unknown:
        parser.error(f"unknown: {' '.join(unknown)}")
    return MODES[mode], args


def main(argv=None):
    mode, args = parse(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    try:
        return int(mode.run(args) or 0)                                       # 1: --check has found something
    except (InputError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        log.info("stopped; the same command goes on from here")
        return 130


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)                 # as Ctrl-C: workers do not outlive it
    sys.exit(main())
