"""Makes corpora and their lists, one module of corpus/ each. So far: synthetic speech, for a first look and for tests.

python dataprep.py --synthetic data/synthetic                      1,000 files of 40 training and 10 test speakers, lists beside them
python dataprep.py --synthetic data/sasv --speakers 20 --spoof     with spoofed copies and ASVspoof-style protocols   (--help: all options)
The same command again finishes what was interrupted, and never overwrites.
"""
import argparse
import logging
import sys
from pathlib import Path

from corpus import InputError
from corpus.synthetic import Options, make_synthetic

log = logging.getLogger("dataprep")


def integer(least):
    """An argparse type: whole numbers from `least` on."""
    def convert(text):
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"want a whole number of at least {least}, got '{text}'")
        return int(text)
    return convert


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_argument_group("what to make").add_mutually_exclusive_group(required=True)
    mode.add_argument("--synthetic", metavar="DIR", type=Path, help="synthetic speech in DIR/wav, lists in DIR")
    group = parser.add_argument_group("--synthetic")
    group.add_argument("--speakers", type=integer(1), default=40, metavar="N", help="training speakers (%(default)s)")
    group.add_argument("--files", type=integer(2), default=20, metavar="N", help="files of each speaker, 2 to 4 s, about four a recording (%(default)s)")
    group.add_argument("--test_speakers", type=integer(3), default=10, metavar="N", help="speakers of the trials, other than the training ones (%(default)s)")
    group.add_argument("--trials", type=integer(2), default=2000, metavar="N",
                       help="trials, half target, across recordings, half non-target, same sex; fewer where there are not as many (%(default)s)")
    group.add_argument("--seed", type=integer(0), default=0, metavar="N", help="another seed, other speech (%(default)s)")
    group.add_argument("--spoof", action="store_true", help="adds a spoofed copy of each file (A01 monotone vocoder, A02 Griffin-Lim) and ASVspoof protocols")
    parser.add_argument("--processes", type=integer(1), metavar="N", help="worker processes (all cores)")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    options = Options(args.speakers, args.files, args.test_speakers, args.trials, args.seed, args.spoof)
    try:
        make_synthetic(args.synthetic, options, args.processes)
    except (InputError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        log.info("stopped; the same command goes on from here")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
