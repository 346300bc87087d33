"""Makes corpora and their lists, one module of corpus/ each.

python dataprep.py --all --save_path data --user U --password P\
    VoxCeleb 1 and 2; or step by step: --download --concatenate --extract --convert
python dataprep.py --augment --save_path data                      MUSAN in pieces and RIRS_NOISES
python dataprep.py --asvspoof2019 LA.zip --save_path data          ASVspoof 2019 LA
python dataprep.py --mini_librispeech data/mini_librispeech\
        small real corpora with lists and trials, and
python dataprep.py --speechocean762 data/speechocean762            another one
python dataprep.py --convert data/voxceleb2 --output data/wav\
       .m4a (.mp3, .opus, ...) to 16 kHz mono WAV or FLAC
python dataprep.py --check data/train_list.txt --path data/wav\
       opens every file: a report of what is wrong, and a list of what is sound
python dataprep.py --synthetic data/synthetic\
                      1,000 files of 40 training and 10 test speakers, lists beside them
python dataprep.py --synthetic data/sasv --speakers 20 --spoof\
     with spoofed copies and ASVspoof-style protocols
python dataprep.py --copy_synthesis data/train_list.txt --path data/voxceleb2 --output data/copies\
      vocoded copies of bona fide speech
python dataprep.py --features -i files.lst --path data/voxceleb2\
   log-mel features of every file, beside it
python dataprep.py --combine_embeddings exps/embeddings\
            of a tree speaker/session/utterance.npy the targets of enhancement, and then
python dataprep.py --embedding_lists exps/embeddings --name train  the lists to train on
python dataprep.py --make_list data/own --test_speakers 10% --output data/lists\
           a train list of a tree speaker/.../file, and trials
python dataprep.py --merge vox2=data/train_list.txt:data/voxceleb2 \
own=data/lists/train_list.txt:data/own --output data/all.txt\
      lists as one
python dataprep.py --to_kaldi data/all.txt --path data --output data/kaldi\
                a list as a Kaldi folder; --from_kaldi: the way back
python dataprep.py --pack data/train_list.txt --path data/voxceleb2 --output data/pack\
      few large files for --train_path and --test_path
python dataprep.py --check_pack data/pack                          is it as it was written?
The same command again finishes what was interrupted, and never makes again what is there.
"""

import argparse
import logging
import signal
import sys

from common.errors import InputError
from prep.commands.corpora import CORPUS_MODES
from prep.commands.features import FEATURE_MODES
from prep.commands.lists import CHECK_MODES, LIST_MODES
from prep.commands.options import Mode
from prep.commands.packs import PACK_MODES
from prep.commands.speech import SPEECH_MODES

log = logging.getLogger("dataprep")
MODES: dict[str, Mode] = {
    **SPEECH_MODES,
    **CHECK_MODES,
    **FEATURE_MODES,
    **CORPUS_MODES,
    **LIST_MODES,
    **PACK_MODES,
}


def parser_of(mode: str | None) -> argparse.ArgumentParser:
    """Returns the parser of one mode. Without a mode, its help lists all modes."""
    if not mode:
        return argparse.ArgumentParser(
            prog="dataprep.py",
            usage="python dataprep.py MODE ... [--OPTION VALUE ...]",
            description=__doc__,
            epilog=f"MODE is one of {', '.join(MODES)}; MODE --help shows its options",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    options = MODES[mode].options
    words = [mode]
    if metavar := options[mode].get("metavar"):
        words.append(metavar)
    parser = argparse.ArgumentParser(
        prog="dataprep.py",
        usage=f"python dataprep.py {' '.join(words)} [--OPTION VALUE ...]",
        allow_abbrev=False,
    )
    group = parser.add_argument_group(mode)
    for flag, arguments in options.items():
        group.add_argument(flag, **arguments)
    return parser


def modes_with(flag: str) -> list[str]:
    """The modes that have an option. Modes that share one table count once, by its first flag."""
    first_flags = [next(iter(mode.options)) for mode in MODES.values() if flag in mode.options]
    return list(dict.fromkeys(first_flags))


def parse_command(words: list[str]) -> tuple[Mode, argparse.Namespace]:
    """Parses a command line. Returns the mode and its options.

    As with argparse, --help and wrong options end the program.
    """
    flags = [word.split("=")[0] for word in words]
    mode = next((flag for flag in flags if flag in MODES), None)
    parser = parser_of(mode)
    # --help may be anywhere: with MODE --help the mode needs no value.
    if "-h" in words or "--help" in words:
        parser.parse_args(["--help"])
    if not mode:
        parser.error(f"want one of {', '.join(MODES)}")
    args, unknown = parser.parse_known_args(words)
    for word in unknown:
        flag = word.split("=")[0]
        if owners := modes_with(flag):
            parser.error(f"{flag}: an option of {' and '.join(owners)}, not of {mode}")
    if unknown:
        parser.error(f"unknown: {' '.join(unknown)}")
    return MODES[mode], args


def main(argv: list[str] | None = None) -> int:
    """Runs a command line. Returns the exit code: 1 if --check has findings, 2 for an error."""
    mode, args = parse_command(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    try:
        return int(mode.run(args) or 0)
    except (InputError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        log.info("stopped; the same command goes on from here")
        return 130


if __name__ == "__main__":
    # SIGTERM is handled like Ctrl-C, so that no worker process outlives the program.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
