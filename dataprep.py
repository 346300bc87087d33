"""Makes corpora and their lists, one module of corpus/ each.

python dataprep.py --all --save_path data --user U --password P    VoxCeleb 1 and 2; or step by step: --download --concatenate --extract --convert
python dataprep.py --augment --save_path data                      MUSAN in pieces and RIRS_NOISES
python dataprep.py --asvspoof2019 LA.zip --save_path data          ASVspoof 2019 LA
python dataprep.py --mini_librispeech data/mini_librispeech        small real corpora with lists and trials, and
python dataprep.py --speechocean762 data/speechocean762            another one
python dataprep.py --convert data/voxceleb2 --output data/wav       .m4a (.mp3, .opus, ...) to 16 kHz mono WAV or FLAC
python dataprep.py --check data/train_list.txt --path data/wav       opens every file: a report of what is wrong, and a list of what is sound
python dataprep.py --synthetic data/synthetic                      1,000 files of 40 training and 10 test speakers, lists beside them
python dataprep.py --synthetic data/sasv --speakers 20 --spoof     with spoofed copies and ASVspoof-style protocols
python dataprep.py --copy_synthesis data/train_list.txt --path data/voxceleb2 --output data/copies      vocoded copies of bona fide speech
python dataprep.py --features -i files.lst --path data/voxceleb2   log-mel features of every file, beside it
python dataprep.py --combine_embeddings exps/embeddings            of a tree speaker/session/utterance.npy the targets of enhancement, and then
python dataprep.py --embedding_lists exps/embeddings --name train  the lists to train on
python dataprep.py --make_list data/own --test_speakers 10% --output data/lists           a train list of a tree speaker/.../file, and trials
python dataprep.py --merge vox2=data/train_list.txt:data/voxceleb2 own=data/lists/train_list.txt:data/own --output data/all.txt      lists as one
python dataprep.py --to_kaldi data/all.txt --path data --output data/kaldi                a list as a Kaldi folder; --from_kaldi: the way back
python dataprep.py --pack data/train_list.txt --path data/voxceleb2 --output data/pack      few large files for --train_path and --test_path
python dataprep.py --check_pack data/pack                          is it as it was written?
The same command again finishes what was interrupted, and never makes again what is there.
"""

import argparse
import logging
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from common.errors import InputError
from prep import (
    asvspoof,
    check,
    conversion,
    copy_synthesis,
    embedding_lists,
    extraction,
    kaldi,
    merging,
    noise,
    openslr,
    pack,
    synthetic,
    trees,
    voxceleb,
)
from prep.download import Access
from prep.obtain import Request
from prep.sources import LISTS
from prep.vocoders import COPIES

log = logging.getLogger("dataprep")


def integer(least):
    """An argparse type: whole numbers from `least` on."""

    def convert(text):
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(
                f"want a whole number of at least {least}, got '{text}'"
            )
        return int(text)

    return convert


def number_or_share(text):
    """An argparse type: '40' -> 40, '10%' -> 0.1."""
    found = re.fullmatch(r"([0-9.]+)%", text)
    try:
        if not found:
            return int(text)
        if 0 <= float(found[1]) <= 100:
            return float(found[1]) / 100
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"want a number as 40 or a share as 10%, got '{text}'")


def one_group(text):
    """An argparse type: regular expressions with one group."""
    try:
        regex = re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(
            f"want a regular expression, got '{text}': {error}"
        ) from None
    if regex.groups != 1:
        raise argparse.ArgumentTypeError(
            f"want one group in brackets, the speaker, got {regex.groups} in '{text}'; (?:...) groups without counting"
        )
    return regex


def request_of(args, folder, access=None):
    return Request(
        folder,
        args.file_list,
        access or Access(args.base_url),
        args.connections,
        args.remove_archives,
    )


def run_voxceleb(args):
    """What is secret may stand in the environment, where no other user sees it."""
    user, password, key = (
        getattr(args, name) or os.environ.get(f"VOXCELEB_{name.upper()}")
        for name in ("user", "password", "key")
    )
    if bool(user) != bool(password):
        raise InputError(
            "want --user and --password (or VOXCELEB_USER and VOXCELEB_PASSWORD), got only one of them; give both"
        )
    steps = [step for step in voxceleb.STEPS if args.all or getattr(args, step)]
    if isinstance(args.convert, Path):
        if len(steps) > 1:
            raise InputError(
                f"--convert {args.convert}: names a folder, and VoxCeleb2's is known; give --convert alone"
            )
        return conversion.convert(
            args.convert, args.output or args.convert, args.format, args.processes
        )
    if args.output:
        raise InputError(
            f"--output {args.output}: is for --convert TREE; VoxCeleb goes to --save_path"
        )
    return voxceleb.prepare(
        steps,
        request_of(args, args.save_path, Access(args.base_url, user, password, key)),
        args.format,
        args.processes,
    )


def run_augment(args):
    noise.make_noise(request_of(args, args.save_path), args.processes)


def run_asvspoof(args):
    asvspoof.prepare_asvspoof(args.asvspoof2019, args.save_path)


def run_mini_librispeech(args):
    openslr.make_mini_librispeech(request_of(args, args.mini_librispeech), args.trials, args.seed)


def run_speechocean(args):
    openslr.make_speechocean(request_of(args, args.speechocean762), args.trials, args.seed)


def run_check(args):
    return check.check_lists(
        check.CheckOptions(args.check, args.path, args.output, args.max_frames, args.nPerSpeaker),
        args.processes,
    )


def run_synthetic(args):
    options = synthetic.SyntheticOptions(
        args.speakers, args.files, args.test_speakers, args.trials, args.seed, args.spoof
    )
    synthetic.make_synthetic(args.synthetic, options, args.processes)


def run_copy_synthesis(args):
    options = copy_synthesis.CopyOptions(
        args.copy_synthesis,
        args.path,
        args.output,
        tuple(dict.fromkeys(args.vocoders)),
        args.seed,
        args.limit_per_speaker,
    )
    copy_synthesis.make_copies(options, args.processes)


def run_features(args):
    extraction.make_features(
        extraction.FeatureOptions(
            args.input, args.path, args.output, args.feature_type, args.n_mels
        ),
        args.processes,
    )


def run_combine_embeddings(args):
    embedding_lists.combine_embeddings(args.combine_embeddings, args.processes)


def run_embedding_lists(args):
    sizes = embedding_lists.Sizes(args.same, args.different, args.others, args.pairs)
    embedding_lists.make_lists(args.embedding_lists, args.name, sizes, args.seed)


def run_make_list(args):
    trees.make_list(
        trees.TreeOptions(
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
    )


def run_merge(args):
    merging.merge([merging.parse_part(text) for text in args.merge], args.output)


def run_from_kaldi(args):
    kaldi.from_kaldi(args.from_kaldi, args.output, args.path, args.trials)


def run_to_kaldi(args):
    kaldi.to_kaldi(args.to_kaldi, args.path, args.output, args.trials)


def run_pack(args):
    pack.make_pack(
        pack.PackOptions(
            args.pack,
            args.path,
            args.output,
            args.shard_size * pack.MB,
            args.threads,
            args.enroll_list,
            args.spk_meta_eval,
        )
    )


def run_check_pack(args):
    pack.check_pack(args.check_pack, args.threads)


class Mode(NamedTuple):
    """run: what it does with its parsed options, -> exit code or None. options: flag -> arguments of add_argument; a flag that chooses the mode first."""

    run: Callable
    options: dict


PROCESSES = {"type": integer(1), "metavar": "N", "help": "worker processes (all cores)"}
THREADS = {
    "type": integer(1),
    "default": 2 * os.cpu_count(),
    "metavar": "N",
    "help": "files that are read at once; more for network disks (%(default)s)",
}
SIZES = embedding_lists.Sizes()
SAVE_PATH = {
    "metavar": "DIR",
    "type": Path,
    "default": Path("data"),
    "help": "folder of all that is made (%(default)s)",
}
TRIALS = {
    "--trials": {
        "type": integer(2),
        "default": 20000,
        "metavar": "N",
        "help": "trials, half target, half non-target of the same gender; fewer where there "
        "are not as many (%(default)s)",
    },
    "--seed": {
        "type": integer(0),
        "default": 0,
        "metavar": "N",
        "help": "another seed, other trials (%(default)s)",
    },
}


def download_options(file_list):
    return {
        "--file_list": {
            "metavar": "FILE",
            "type": Path,
            "default": LISTS / file_list,
            "help": "what to download, with MD5 sums and what becomes of it "
            f"(prep/catalogues/{file_list}, which tells how to write another)",
        },
        "--base_url": {
            "metavar": "URL",
            "help": "another host: URL/NAME, or a URL with {name}, and {key} where a key is wanted (that of the file list)",
        },
        "--connections": {
            "type": integer(1),
            "default": 4,
            "metavar": "N",
            "help": "downloads at once (%(default)s)",
        },
        "--remove_archives": {
            "action": "store_true",
            "help": "removes parts once the whole is verified, and archives once they are extracted",
        },
    }


VOXCELEB = Mode(
    run_voxceleb,
    {
        "--download": {
            "action": "store_true",
            "help": "VoxCeleb 1 and 2, and their lists; what is there already is verified",
        },
        "--concatenate": {"action": "store_true", "help": "joins the parts of archives"},
        "--extract": {
            "action": "store_true",
            "help": "extracts DIR/voxceleb1 and DIR/voxceleb2, dev and test together; joins first where that was not done",
        },
        "--convert": {
            "metavar": "TREE",
            "nargs": "?",
            "type": Path,
            "const": True,
            "help": "converts DIR/voxceleb2, or the compressed files below any TREE "
            f"({', '.join(conversion.SUFFIXES)}), to 16 kHz mono audio of 16 bits, by ffmpeg",
        },
        "--all": {
            "action": "store_true",
            "help": "all of these, one after the other; so do several of them together",
        },
        "--save_path": SAVE_PATH,
        "--user": {
            "metavar": "NAME",
            "help": "for the host of VoxCeleb (environment VOXCELEB_USER, or ~/.netrc)",
        },
        "--password": {"metavar": "WORD", "help": "(VOXCELEB_PASSWORD, or ~/.netrc)"},
        "--key": {
            "metavar": "KEY",
            "help": "access key of the newer host, in the place of user and password (VOXCELEB_KEY)",
        },
        **download_options("voxceleb.yaml"),
        "--output": {
            "metavar": "DIR",
            "type": Path,
            "help": "of --convert TREE: gets the files, in folders like those of TREE (each beside its original)",
        },
        "--format": {
            "choices": list(conversion.CODECS),
            "default": "wav",
            "help": "of what is converted; flac takes about half the room, but longer to read "
            "(%(default)s)",
        },
        "--processes": PROCESSES,
    },
)
MODES = {
    "--synthetic": Mode(
        run_synthetic,
        {
            "--synthetic": {
                "metavar": "DIR",
                "type": Path,
                "help": "makes synthetic speech in DIR/wav, lists in DIR",
            },
            "--speakers": {
                "type": integer(1),
                "default": 40,
                "metavar": "N",
                "help": "training speakers (%(default)s)",
            },
            "--files": {
                "type": integer(2),
                "default": 20,
                "metavar": "N",
                "help": "files of each speaker, 2 to 4 s, about four a recording (%(default)s)",
            },
            "--test_speakers": {
                "type": integer(3),
                "default": 10,
                "metavar": "N",
                "help": "speakers of the trials, other than the training ones (%(default)s)",
            },
            "--trials": {
                "type": integer(2),
                "default": 2000,
                "metavar": "N",
                "help": "trials, half target, across recordings, half non-target, same sex; fewer where there are not as many (%(default)s)",
            },
            "--seed": {
                "type": integer(0),
                "default": 0,
                "metavar": "N",
                "help": "another seed, other speech (%(default)s)",
            },
            "--spoof": {
                "action": "store_true",
                "help": "adds a spoofed copy of each file (A01 monotone vocoder, A02 Griffin-Lim) and ASVspoof protocols",
            },
            "--processes": PROCESSES,
        },
    ),
    "--copy_synthesis": Mode(
        run_copy_synthesis,
        {
            "--copy_synthesis": {
                "metavar": "LIST",
                "type": Path,
                "help": "makes vocoded copies of the bona fide speech of LIST, lines '<speaker> <file>' or a cm protocol",
            },
            "--path": {
                "metavar": "DIR",
                "type": Path,
                "required": True,
                "help": "folder that the files of LIST are relative to; only read",
            },
            "--output": {
                "metavar": "DIR",
                "type": Path,
                "required": True,
                "help": f"gets {copy_synthesis.PROTOCOL}, the copies (DIR/W01/..., the names below as "
                f"in --path) and a link DIR/{copy_synthesis.BONAFIDE} to --path: train with --train_list DIR/{copy_synthesis.PROTOCOL} --train_path DIR",
            },
            "--vocoders": {
                "nargs": "+",
                "choices": list(COPIES),
                "default": list(COPIES),
                "metavar": "NAME",
                "help": "which copies each file gets (all): "
                + "; ".join(f"{name} = {v.attack}, {v.text}" for name, v in COPIES.items())
                + ". More of them may be added later",
            },
            "--limit_per_speaker": {
                "type": integer(1),
                "metavar": "N",
                "help": "copy only N files of each speaker, drawn by the seed; all files stay bona "
                "fide lines (all). May be raised later",
            },
            "--seed": {
                "type": integer(0),
                "default": 0,
                "metavar": "N",
                "help": "another seed, other phases and another choice of files (%(default)s)",
            },
            "--processes": PROCESSES,
        },
    ),
    "--check": Mode(
        run_check,
        {
            "--check": {
                "metavar": "LIST",
                "nargs": "+",
                "help": "opens every file of train and trial lists, compares the lists, and ends with 1 if it finds any "
                f"of: {', '.join(check.PROBLEM_KINDS)}. Writes {check.REPORT}, and of each LIST.txt the sound lines as LIST.clean.txt",
            },
            "--path": {
                "metavar": "DIR",
                "nargs": "+",
                "required": True,
                "help": "folder that the files are relative to; one, or one for each list",
            },
            "--output": {
                "metavar": "DIR",
                "type": Path,
                "help": "gets the report and the cleaned lists (the folder of each list, the report that of the first)",
            },
            "--max_frames": {
                "type": integer(0),
                "default": 200,
                "metavar": "N",
                "help": "files must be as long as a crop of N frames; 0: any is (%(default)s)",
            },
            "--nPerSpeaker": {
                "type": integer(0),
                "default": 2,
                "metavar": "N",
                "help": "training speakers must have so many sound utterances (%(default)s)",
            },
            "--processes": PROCESSES,
        },
    ),
    "--features": Mode(
        run_features,
        {
            "--features": {
                "action": "store_true",
                "help": "extracts log-mel features, before their normalisation over time: float32 [frames, bands], .npy",
            },
            "-i": {
                "metavar": "LIST",
                "dest": "input",
                "type": Path,
                "required": True,
                "help": "a file a line, without its extension (.flac or .wav is found) or with it; or a train list",
            },
            "--path": {
                "metavar": "DIR",
                "type": Path,
                "default": Path(),
                "help": "folder that the files of LIST are relative to (the current one)",
            },
            "--output": {
                "metavar": "DIR",
                "type": Path,
                "help": "gets the features, in folders like those of --path (each beside its audio)",
            },
            "--feature_type": {
                "choices": list(extraction.FEATURE_TYPES),
                "default": "mfsc",
                "help": "; ".join(
                    f"{name} = {kind.text}" for name, kind in extraction.FEATURE_TYPES.items()
                )
                + " (%(default)s)",
            },
            "--n_mels": {
                "type": integer(1),
                "default": 80,
                "metavar": "N",
                "help": "mel bands (%(default)s)",
            },
            "--processes": PROCESSES,
        },
    ),
    "--combine_embeddings": Mode(
        run_combine_embeddings,
        {
            "--combine_embeddings": {
                "metavar": "DIR",
                "type": Path,
                "help": "of the embeddings DIR/speaker/session/utterance.npy makes the targets of each "
                "speaker anew: DIR/SPEAKER.npy, the mean over utterances of unit vectors (B), and DIR/SPEAKER_type2.npy, of the mean as it "
                "is, made a unit vector (C)",
            },
            "--processes": PROCESSES,
        },
    ),
    "--embedding_lists": Mode(
        run_embedding_lists,
        {
            "--embedding_lists": {
                "metavar": "DIR",
                "type": Path,
                "help": "makes lists of the embeddings DIR/speaker/session/utterance.npy: "
                "DIR/NAME_normal_list.txt, lines 'speaker file'; NAME_test_list.txt, trials; NAME_triplet_list.txt, 'speaker file "
                "other-speaker'; NAME_distribution_list.txt, 'speaker file file 1|0', 1 = of one session",
            },
            "--name": {
                "metavar": "NAME",
                "required": True,
                "help": "beginning of the names of the lists",
            },
            "--same": {
                "type": integer(0),
                "default": SIZES.same,
                "metavar": "N",
                "help": "target trials of each file, fewer where there are not as many (%(default)s)",
            },
            "--different": {
                "type": integer(0),
                "default": SIZES.different,
                "metavar": "N",
                "help": "non-target trials of each file (%(default)s)",
            },
            "--others": {
                "type": integer(0),
                "default": SIZES.others,
                "metavar": "N",
                "help": "triplets of each file (%(default)s)",
            },
            "--pairs": {
                "type": integer(0),
                "default": SIZES.pairs,
                "metavar": "N",
                "help": "pairs of one session of each speaker, and as many of two; fewer where "
                "there are not as many (%(default)s)",
            },
            "--seed": {
                "type": integer(0),
                "default": 0,
                "metavar": "N",
                "help": "another seed, other trials, triplets and pairs (%(default)s)",
            },
        },
    ),
    **dict.fromkeys(("--download", "--concatenate", "--extract", "--convert", "--all"), VOXCELEB),
    "--augment": Mode(
        run_augment,
        {
            "--augment": {
                "action": "store_true",
                "help": "downloads and extracts MUSAN and RIRS_NOISES, and cuts MUSAN into pieces of 5 s every 3 s: "
                "DIR/musan_split, DIR/RIRS_NOISES/simulated_rirs",
            },
            "--save_path": SAVE_PATH,
            **download_options("augment.yaml"),
            "--processes": PROCESSES,
        },
    ),
    "--asvspoof2019": Mode(
        run_asvspoof,
        {
            "--asvspoof2019": {
                "metavar": "LA.zip",
                "type": Path,
                "help": "extracts it to DIR/LA, checks that all files of its protocols are there, and links the "
                "protocols to DIR/protocols",
            },
            "--save_path": SAVE_PATH,
        },
    ),
    "--mini_librispeech": Mode(
        run_mini_librispeech,
        {
            "--mini_librispeech": {
                "metavar": "DIR",
                "type": Path,
                "help": "downloads Mini LibriSpeech (OpenSLR 31) and makes DIR/train_list.txt of train-clean-5 "
                "and DIR/trials.txt of dev-clean-2",
            },
            **TRIALS,
            **download_options("mini_librispeech.yaml"),
        },
    ),
    "--speechocean762": Mode(
        run_speechocean,
        {
            "--speechocean762": {
                "metavar": "DIR",
                "type": Path,
                "help": "downloads speechocean762 (OpenSLR 101) and makes DIR/train_list.txt and DIR/trials.txt "
                "of its train and test speakers",
            },
            **TRIALS,
            **download_options("speechocean762.yaml"),
        },
    ),
    "--make_list": Mode(
        run_make_list,
        {
            "--make_list": {
                "metavar": "DIR",
                "type": Path,
                "help": f"makes {trees.TRAIN} of the audio files in DIR and the folders in it, and with "
                f"--test_speakers {trees.TEST} and {trees.TRIALS}",
            },
            "--output": {
                "metavar": "DIR",
                "type": Path,
                "required": True,
                "help": "gets the lists, with paths relative to the DIR of --make_list",
            },
            "--speaker_level": {
                "type": integer(1),
                "default": 1,
                "metavar": "N",
                "help": "the speaker is the N-th folder below DIR (%(default)s)",
            },
            "--speaker_regex": {
                "type": one_group,
                "metavar": "RE",
                "help": "instead: the group in this regular expression, searched in the path below DIR, as "
                "'^([0-9]+)-' or '/(p[0-9]+)_[0-9]+_mic1'; files in which it is not found are left out and counted",
            },
            "--min_files": {
                "type": integer(1),
                "default": 1,
                "metavar": "N",
                "help": "leaves out speakers with fewer files, and counts them (%(default)s)",
            },
            "--test_speakers": {
                "type": number_or_share,
                "default": 0,
                "metavar": "N",
                "help": "keeps these apart, drawn by the seed: a number, or a share as "
                "10%%; 100%%: a corpus for tests alone (%(default)s)",
            },
            "--trials": {
                "type": integer(0),
                "default": 2000,
                "metavar": "N",
                "help": "trials of the test speakers, half target, of two folders where the speaker "
                "has several, half non-target; speakers take part alike; fewer where there are not as many (%(default)s)",
            },
            "--speaker_table": {
                "metavar": "FILE",
                "type": Path,
                "help": "sexes of the speakers, for non-targets of the same sex: lines '<speaker> m|f', Kaldi's "
                "spk2gender, vox1_meta.csv, vox2_meta.csv, SPEAKERS.TXT of LibriSpeech",
            },
            "--seed": {
                "type": integer(0),
                "default": 0,
                "metavar": "N",
                "help": "another seed, other test speakers and trials (%(default)s)",
            },
        },
    ),
    "--merge": Mode(
        run_merge,
        {
            "--merge": {
                "metavar": "NAME=LIST:DIR",
                "nargs": "+",
                "help": "makes one train list of several, LIST of files in DIR: speakers become NAME-speaker, "
                "files relative to the folder that all DIRs share",
            },
            "--output": {
                "metavar": "LIST",
                "type": Path,
                "required": True,
                "help": "the list to write",
            },
        },
    ),
    "--from_kaldi": Mode(
        run_from_kaldi,
        {
            "--from_kaldi": {
                "metavar": "DIR",
                "type": Path,
                "help": "makes a train list of a Kaldi data folder, of wav.scp with plain paths and utt2spk",
            },
            "--path": {
                "metavar": "DIR",
                "type": Path,
                "help": "folder that the paths of the list will be relative to (they stay as in wav.scp)",
            },
            "--output": {
                "metavar": "LIST",
                "type": Path,
                "required": True,
                "help": "the list to write",
            },
            "--trials": {
                "metavar": "FILE",
                "type": Path,
                "help": "gets the trials of the folder, lines '1|0 <file> <file>'",
            },
        },
    ),
    "--to_kaldi": Mode(
        run_to_kaldi,
        {
            "--to_kaldi": {
                "metavar": "LIST",
                "type": Path,
                "help": "makes a Kaldi data folder of a train list: wav.scp, utt2spk, spk2utt, sorted as by LC_ALL=C",
            },
            "--path": {
                "metavar": "DIR",
                "type": Path,
                "default": Path(),
                "help": "folder that the files of LIST are relative to (the current one)",
            },
            "--output": {
                "metavar": "DIR",
                "type": Path,
                "required": True,
                "help": "the data folder",
            },
            "--trials": {
                "metavar": "FILE",
                "type": Path,
                "help": "trials of the files of LIST, lines '1|0 <file> <file>', which become DIR/trials",
            },
        },
    ),
    "--pack": Mode(
        run_pack,
        {
            "--pack": {
                "metavar": "LIST",
                "nargs": "*",
                "type": Path,
                "help": "puts the recordings of the lists (train lists, trials, a file a line; without LIST "
                "all audio below --path) into few large files, which train and evaluate as the loose ones do, to the bit, and fast from network disks",
            },
            "--path": {
                "metavar": "DIR",
                "type": Path,
                "required": True,
                "help": "folder that the files of the lists are relative to; only read",
            },
            "--output": {
                "metavar": "DIR",
                "type": Path,
                "required": True,
                "help": "the pack, for --train_path, --test_path, --musan_path or --rir_path; what it "
                "lacks of the lists is added to one that is there",
            },
            "--shard_size": {
                "type": integer(1),
                "default": 2000,
                "metavar": "MB",
                "help": "size of the large files (%(default)s)",
            },
            "--enroll_list": {
                "metavar": "LIST",
                "nargs": "+",
                "type": Path,
                "help": "as for trainSpeakerNet.py: who enrols the speakers of spoofing-aware trials",
            },
            "--spk_meta_eval": {
                "metavar": "FILE",
                "type": Path,
                "help": "the same as a pickled table",
            },
            "--threads": THREADS,
        },
    ),
    "--check_pack": Mode(
        run_check_pack,
        {
            "--check_pack": {
                "metavar": "DIR",
                "type": Path,
                "help": "reads a whole pack and compares its checksums",
            },
            "--threads": THREADS,
        },
    ),
}


def parser_of(mode):
    """The parser of one mode's options; of None: a parser that tells which modes there are."""
    if not mode:
        return argparse.ArgumentParser(
            prog="dataprep.py",
            usage="python dataprep.py MODE ... [--OPTION VALUE ...]",
            description=__doc__,
            epilog=f"MODE is one of {', '.join(MODES)}; MODE --help shows its options",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
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
    # wherever it stands, so that MODE --help needs no value of MODE
    if {"-h", "--help"} & {*words}:
        parser.parse_args(["--help"])
    if not mode:
        parser.error(f"want one of {', '.join(MODES)}")
    args, unknown = parser.parse_known_args(words)
    for flag in (word.split("=")[0] for word in unknown):
        if owners := dict.fromkeys(
            next(iter(other.options)) for other in MODES.values() if flag in other.options
        ):
            parser.error(f"{flag}: an option of {' and '.join(owners)}, not of {mode}")
    if unknown:
        parser.error(f"unknown: {' '.join(unknown)}")
    return MODES[mode], args


def main(argv=None):
    mode, args = parse(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    try:
        # 1: --check has found something
        return int(mode.run(args) or 0)
    except (InputError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        log.info("stopped; the same command goes on from here")
        return 130


if __name__ == "__main__":
    # as Ctrl-C: workers do not outlive it
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
