"""Options of the data: lists, folders, training crops, augmentation."""

from typing import Literal

from common.constants import CROP_MARGIN, SAMPLE_RATE
from corpus.audio import FILLS
from corpus.codecs import ALL, CODECS
from options.option import Option

DATA = [
    Option(
        "train_list",
        str,
        None,
        "training list: lines '<speaker> <file>', '<file> <label> None', or a list of ASVspoof "
        "or SpoofCeleb, whose spoofed speech is one class",
        placeholder="LIST",
        daily=True,
    ),
    Option(
        "train_path",
        str,
        "",
        "folder or pack that contains the files of train_list",
        placeholder="DIR",
        daily=True,
    ),
    Option(
        "valid_list",
        str,
        None,
        "list like train_list; every evaluation prints its loss, without augmentation",
        placeholder="LIST",
    ),
    Option(
        "valid_path", str, "", "folder that contains the files of valid_list", placeholder="DIR"
    ),
    Option(
        "multiple_embedding_flag",
        Literal["B", "C"],
        "B",
        "targets of an enhancement: SPEAKER.npy (B) or SPEAKER_type2.npy (C), see dataprep.py "
        "combine-embeddings",
    ),
    Option(
        "triplet",
        bool,
        False,
        "require lines '<speaker> <file> <other speaker>' in a train_list of embeddings",
    ),
    Option(
        "test_list",
        str,
        None,
        "trials: lines '1|0 <file> <file>', without labels '<file> <file>', or a list of ASVspoof; "
        "the first list selects best.model",
        nargs="+",
        placeholder="LIST",
        daily=True,
    ),
    Option(
        "test_path",
        str,
        None,
        "folder or pack of the files of test_list: one for all lists, or one each",
        nargs="+",
        placeholder="DIR",
        daily=True,
    ),
    Option("test_list_libri", str, None, "another list of trials", placeholder="LIST"),
    Option(
        "test_path_libri",
        str,
        "",
        "folder that contains the files of test_list_libri",
        placeholder="DIR",
    ),
    Option(
        "valid_clients",
        str,
        None,
        "target trials, lines '<file> <file>'; replaces test_list, with valid_impostors",
        placeholder="LIST",
    ),
    Option(
        "valid_impostors",
        str,
        None,
        "non-target trials, lines '<file> <file>'",
        placeholder="LIST",
    ),
    Option(
        "enroll_list",
        str,
        None,
        "enrolment files of spoofing-aware trials, lines '<speaker> <file>,<file>,...' (default: "
        "the lists next to test_list)",
        nargs="+",
        placeholder="LIST",
    ),
    Option(
        "spk_meta_eval",
        str,
        None,
        "pickle {speaker: {bonafide: [...], spoof: [...]}} that enrols speakers who are not in an "
        "enroll_list",
        placeholder="FILE",
    ),
    Option(
        "spk_meta_train",
        str,
        None,
        "the same pickle of the training speakers; train_list must agree with it",
        placeholder="FILE",
    ),
    Option("max_frames", int, 200, "length of a training crop, in frames of 10 ms", 1, daily=True),
    Option(
        "randomSlicing",
        bool,
        False,
        "cut every training batch to a random length from 2 s to max_frames",
    ),
    Option(
        "crop_margin",
        int,
        CROP_MARGIN,
        "samples that a crop has beyond its frames (SASV 2022 baseline: 0)",
        0,
        most=60 * SAMPLE_RATE,
    ),
    Option(
        "short_files",
        Literal[tuple(FILLS)],
        "repeat",
        "how to extend a file that is shorter than a crop (cross attentive pooling: zeros)",
    ),
    Option(
        "augment",
        bool,
        False,
        "add noise, music, babble or reverberation to training crops",
        daily=True,
    ),
    Option(
        "augment_probability",
        float,
        0.8,
        "share of training crops that --augment changes",
        0,
        most=1,
    ),
    Option(
        "musan_path",
        str,
        None,
        "split MUSAN corpus, DIR/{noise,speech,music}/*/*/*.wav",
        placeholder="DIR",
        daily=True,
    ),
    Option(
        "rir_path",
        str,
        None,
        "simulated room impulse responses, DIR/*/*/*.wav",
        placeholder="DIR",
        daily=True,
    ),
    Option(
        "gpu_augment",
        bool,
        False,
        "add noise and reverberation on the device of the network instead of in the loader",
    ),
    Option(
        "codec_augment",
        Literal[(*CODECS, ALL)],
        None,
        "encode and decode training crops by one of the given codecs, at a random bit rate",
        nargs="+",
        placeholder="CODEC",
    ),
    Option(
        "codec_probability",
        float,
        0.5,
        "share of training crops that --codec_augment changes",
        0,
        most=1,
    ),
    Option(
        "rawboost",
        int,
        None,
        "distort training crops by one of the given algorithms of RawBoost (1 to 8, see "
        "docs/training.md; 0: none)",
        0,
        nargs="+",
        most=8,
    ),
    Option(
        "rawboost_probability",
        float,
        1.0,
        "share of training crops that --rawboost changes",
        0,
        most=1,
    ),
    Option(
        "speed_perturb",
        bool,
        False,
        "add copies of all speakers at other speeds, as new speakers",
    ),
    Option("speed_factors", float, [0.9, 1.1], "speeds of the copies", 0.5, nargs="+", most=2),
]
