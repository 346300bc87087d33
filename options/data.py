"""Options of the data: lists, folders, crops, batches, augmentation."""

import os
from typing import Literal

from common.constants import CROP_MARGIN
from corpus.audio import FILLS
from options.option import Option


def number_or_auto(word: str) -> int | str:
    """Reads an integer, or the word auto."""
    return word if word == "auto" else int(word)


DATA = [
    Option(
        "train_list",
        str,
        None,
        "lines '<speaker> <file>', '<file> <label> None', or a list of ASVspoof 2019 or 5 or "
        "SpoofCeleb: its spoofed speech is the last class",
    ),
    Option(
        "train_path",
        str,
        "",
        "folder that the files of train_list are relative to, or a pack of them (dataprep.py "
        "--pack)",
    ),
    Option(
        "valid_list",
        str,
        None,
        "list like train_list: its loss, without augmentation, whenever there is an evaluation",
    ),
    Option("valid_path", str, "", "folder that the files of valid_list are relative to"),
    Option(
        "multiple_embedding_flag",
        Literal["B", "C"],
        "B",
        "targets of enhancement: SPEAKER.npy or SPEAKER_type2.npy, see dataprep.py "
        "--combine_embeddings",
    ),
    Option(
        "triplet",
        bool,
        False,
        "of embeddings: train_list must have lines '<speaker> <file> <other speaker>', which are "
        "known without it too",
    ),
    Option(
        "test_list",
        str,
        None,
        "trials: lines '1|0 <file> <file>', or '<file> <file>' to get scores alone; or a "
        "spoofing-aware list; of several lists the first one chooses the best checkpoint",
        nargs="+",
    ),
    Option("test_list_libri", str, None, "one more list of trials"),
    Option("test_path_libri", str, "", "its folder"),
    Option(
        "valid_clients",
        str,
        None,
        "target trials, lines '<file> <file>'; with valid_impostors in place of test_list",
    ),
    Option("valid_impostors", str, None, "non-target trials, lines '<file> <file>'"),
    Option(
        "enroll_list",
        str,
        None,
        "lines '<speaker> <file>,<file>,...' for spoofing-aware trials (default: those beside "
        "test_list)",
        nargs="+",
    ),
    Option(
        "spk_meta_eval",
        str,
        None,
        "pickled {speaker: {bonafide: [...], spoof: [...]}}: enrols speakers that no enroll_list "
        "has",
    ),
    Option(
        "spk_meta_train",
        str,
        None,
        "the same of the training speakers: train_list must agree with it",
    ),
    Option(
        "test_path",
        str,
        None,
        "folder that the files of test_list (or of the --extract list) are relative to, or a "
        "pack; one for all lists, or one each",
        nargs="+",
    ),
    Option("max_frames", int, 200, "length of a training crop in frames of 10 ms", 1),
    Option(
        "randomSlicing",
        bool,
        False,
        "cut every batch to a random length, from 2 s to that of a training crop",
    ),
    Option(
        "crop_margin",
        int,
        CROP_MARGIN,
        "samples of a crop beyond its frames; 240 complete the last window, 0 in the SASV 2022 "
        "baseline",
        0,
    ),
    Option(
        "short_files",
        Literal[tuple(FILLS)],
        "repeat",
        "how a file that is shorter than a crop is made one; zeros in cross attentive pooling",
    ),
    Option(
        "eval_frames", int, 300, "length of an evaluation crop in frames; 0 = the whole file", 0
    ),
    Option("num_eval", int, 10, "evaluation crops a file, evenly spaced", 1),
    Option(
        "bucket_frames",
        int,
        0,
        "whole files are repeated up to a multiple of so many frames, so that they are embedded "
        "in batches; changes scores slightly; 0 = as they are, one by one but for equally long "
        "ones",
        0,
    ),
    Option(
        "batch_size",
        number_or_auto,
        200,
        "speakers a batch, no speaker twice; in each of several processes; auto: as many as fit "
        "into memory",
        1,
    ),
    Option(
        "num_spk",
        int,
        None,
        "speakers of real speech a batch; batch_size then counts utterances, and spoofed groups "
        "fill the rest",
        1,
    ),
    Option("balance_attacks", bool, False, "as many groups of spoofed speech of every attack"),
    Option("nPerSpeaker", int, 1, "utterances of each speaker in a batch", 1),
    Option("max_seg_per_spk", int, 500, "most utterances of a speaker in an epoch", 1),
    Option(
        "nDataLoaderThread",
        int,
        min(5, os.cpu_count() or 1),
        "loader processes of each process that trains; 0 = load in that one",
        0,
    ),
    Option(
        "augment",
        bool,
        False,
        "add noise, music, babble or reverberation to four crops in five",
    ),
    Option("musan_path", str, None, "split MUSAN: musan_path/{noise,speech,music}/*/*/*.wav"),
    Option("rir_path", str, None, "simulated room impulse responses: rir_path/*/*/*.wav"),
    Option(
        "gpu_augment",
        bool,
        False,
        "mix them in on the device of the network, batch by batch: the loader only reads and "
        "draws, the same as without",
    ),
    Option(
        "speed_perturb",
        bool,
        False,
        "add copies of all speakers at other speeds, as new speakers",
    ),
    Option("speed_factors", float, [0.9, 1.1], "the speeds of these copies", 0.5, nargs="+"),
    Option(
        "nClasses",
        int,
        None,
        "size of the classification head (default: the speakers counted in train_list)",
        1,
    ),
]
