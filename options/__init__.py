"""The program's own options, their other spellings, and the four kinds of component that bring options of their own.

Everything of the program is declared here, once; a component's options are declared by its signature. options/parser.py reads them.
"""

import os
from pathlib import Path
from typing import Any, Literal, NamedTuple

from common.constants import CROP_MARGIN
from corpus.audio import FILLS
from metrics.rates import EERS
from metrics.score_norm import NORMS

ROOT = Path(__file__).parent.parent
# option -> its folder, the name in each file
PARTS = {
    "model": ("models", "MainModel"),
    "trainfunc": ("loss", "LossFunction"),
    "optimizer": ("optimizer", "Optimizer"),
    "scheduler": ("scheduler", "Scheduler"),
}


class Option(NamedTuple):
    """One option of the command line and of YAML. least: smallest value allowed; nargs: as argparse's."""

    name: str
    kind: Any
    default: Any
    help: str
    least: float | None = None
    nargs: str | int | None = None


def number_or_auto(word):
    return word if word == "auto" else int(word)


def components(part):
    """The values of --model, --trainfunc, --optimizer or --scheduler: the files of its folder, shared ones (with a leading _) apart."""
    return sorted(p.stem for p in (ROOT / PARTS[part][0]).glob("[!_]*.py"))


OPTIONS = {
    "what to do (training is the default)": [
        Option(
            "config",
            str,
            None,
            "YAML file of options; overrides what stands before it and is overridden by what follows; may be repeated",
        ),
        Option(
            "modelConfig",
            str,
            None,
            "pickled settings of the double-attention trainer; of these what makes the network, as if from a --config",
        ),
        Option(
            "eval",
            bool,
            False,
            "score --test_list with --initial_model: EER, minDCF, thresholds, scores file",
        ),
        Option(
            "check",
            bool,
            False,
            "score the embeddings of --test_list as they are: the baseline of an enhancement, without a network",
        ),
        Option(
            "extract",
            str,
            None,
            "one file, a list of files, a train list, trials, or a folder: embeds all files with --initial_model, one .npy "
            "[num_eval, D] each under --output, in the same folders; those that are there are left alone. With a network for embeddings: enhances them. "
            "Of one file without --output: prints it, a line a crop",
        ),
        Option(
            "generate",
            bool,
            False,
            "the same as --extract with --gen_list, --gen_path as --test_path and --gen_target_dir as --output",
        ),
        Option("gen_list", str, None, "see --generate"),
        Option("gen_path", str, "", "see --generate"),
        Option("gen_target_dir", str, None, "see --generate"),
        Option(
            "all_pairs",
            str,
            None,
            "lines '<speaker> <file>' or '<file>': scores every pair of these files of --test_path with --initial_model; "
            "--output: a scores file, or FILE.npy for the matrix [files, files] of float32; where speakers are told, EER, minDCF, thresholds too",
        ),
        Option(
            "verify",
            str,
            None,
            "two audio files: prints their score with --initial_model, the threshold and the decision",
            nargs=2,
        ),
        Option(
            "average",
            str,
            None,
            "checkpoints of one run, or its folder for its numbered ones (--keep): writes the mean of their weights to --output",
            nargs="+",
        ),
        Option(
            "export",
            str,
            None,
            "file.onnx: --initial_model with its front end, from waves to embeddings, for onnxruntime",
        ),
        Option(
            "initial_model",
            str,
            None,
            "checkpoint to use (default: the last one in save_path), or to start a fresh training from; brings its model "
            "options along",
        ),
        Option(
            "partial",
            bool,
            False,
            "take from --initial_model what fits and report the rest (fine-tuning on other speakers)",
        ),
        Option("save_path", str, "exps/exp1", "run folder; a run that is already there is resumed"),
        Option(
            "output",
            str,
            None,
            "folder for --extract; checkpoint for --average; scores file for --eval (default: result/scores.txt in save_path) and for "
            "--all_pairs (result/all_pairs.txt)",
        ),
        Option(
            "threshold",
            float,
            None,
            "decision threshold for --verify (default: the one at the EER that the checkpoint remembers)",
        ),
        Option(
            "calibration",
            str,
            None,
            "JSON file of tuneThreshold.py --calibrate: --verify also prints the probability of the same speaker",
        ),
        Option(
            "prior",
            float,
            0.5,
            "that probability before anything is heard, for --verify with --calibration",
        ),
    ],
    "components": [
        Option(
            "model",
            Literal[tuple(components("model"))],
            "ResNetSE34L",
            "network, a file of models/",
        ),
        Option(
            "trainfunc",
            Literal[tuple(components("trainfunc"))],
            "softmaxproto",
            "loss, a file of loss/",
        ),
        Option(
            "optimizer", Literal[tuple(components("optimizer"))], "adam", "a file of optimizer/"
        ),
        Option(
            "scheduler",
            Literal[tuple(components("scheduler"))],
            "steplr",
            "learning-rate schedule, a file of scheduler/",
        ),
    ],
    "data": [
        Option(
            "train_list",
            str,
            None,
            "lines '<speaker> <file>', '<file> <label> None', or a list of ASVspoof 2019 or 5 or SpoofCeleb: its spoofed speech "
            "is the last class",
        ),
        Option(
            "train_path",
            str,
            "",
            "folder that the files of train_list are relative to, or a pack of them (dataprep.py --pack)",
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
            "targets of enhancement: SPEAKER.npy or "
            "SPEAKER_type2.npy, see dataprep.py --combine_embeddings",
        ),
        Option(
            "triplet",
            bool,
            False,
            "of embeddings: train_list must have lines '<speaker> <file> <other speaker>', which are known without it too",
        ),
        Option(
            "test_list",
            str,
            None,
            "trials: lines '1|0 <file> <file>', or '<file> <file>' to get scores alone; or a spoofing-aware list; of several lists "
            "the first one chooses the best checkpoint",
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
            "lines '<speaker> <file>,<file>,...' for spoofing-aware trials (default: those beside test_list)",
            nargs="+",
        ),
        Option(
            "spk_meta_eval",
            str,
            None,
            "pickled {speaker: {bonafide: [...], spoof: [...]}}: enrols speakers that no enroll_list has",
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
            "folder that the files of test_list (or of the --extract list) are relative to, or a pack; one for all lists, or one "
            "each",
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
            "samples of a crop beyond its frames; 240 complete the last window, 0 in the SASV 2022 baseline",
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
            "whole files are repeated up to a multiple of so many frames, so that they are embedded in batches; changes scores "
            "slightly; 0 = as they are, one by one but for equally long ones",
            0,
        ),
        Option(
            "batch_size",
            number_or_auto,
            200,
            "speakers a batch, no speaker twice; in each of several processes; auto: as many as fit into memory",
            1,
        ),
        Option(
            "num_spk",
            int,
            None,
            "speakers of real speech a batch; batch_size then counts utterances, and spoofed groups fill the rest",
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
            "mix them in on the device of the network, batch by batch: the loader only reads and draws, the same as without",
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
    ],
    "training": [
        Option("max_epoch", int, 500, "epochs to train", 1),
        Option("max_steps", int, None, "stop after this many updates (smoke runs)", 1),
        Option("test_interval", int, 10, "evaluate and save every so many epochs", 1),
        Option(
            "validate_every",
            int,
            0,
            "evaluate and save every so many updates instead; 0 = every test_interval epochs",
            0,
        ),
        Option(
            "early_stopping",
            int,
            0,
            "stop after so many evaluations in a row without a better EER; 0 = never",
            0,
        ),
        Option("eval_first", bool, False, "evaluate before the first step too"),
        Option("save_minutes", float, 30.0, "save at least this often, in minutes", 0),
        Option(
            "requeue",
            bool,
            True,
            "go on with a run that is in save_path already; --no-requeue: stop instead",
        ),
        Option(
            "print_every",
            int,
            0,
            "tell the losses every so many updates; 0 = where there is no terminal, once an epoch",
            0,
        ),
        Option(
            "tensorboard",
            bool,
            False,
            "write the log, DET curves and embeddings for TensorBoard too, into save_path/tensorboard",
        ),
        Option("keep", int, 3, "checkpoints of epochs to keep, beside the last and the best", 1),
        Option("seed", int, 10, "all random draws follow from it", 0),
        Option("device", str, None, "cpu, cuda or cuda:N (default: the best there is)"),
        Option(
            "mixedprec",
            bool,
            False,
            "bfloat16 autocast (float16 with loss scaling where the device lacks bfloat16), in training and its evaluations; a "
            "checkpoint is used in float32 unless this is given then too",
        ),
        Option(
            "tf32",
            bool,
            True,
            "while training, multiply float32 numbers with 10 bits of their fraction on GPUs that can: faster",
        ),
        Option(
            "compile",
            bool,
            False,
            "torch.compile the model: faster steps, after a minute or two of compiling (half a minute in later runs); wants g++",
        ),
        Option("accumulate", int, 1, "batches an update", 1),
        Option("clip", float, 0.0, "largest norm of the gradient; 0 = no limit", 0),
        Option(
            "skip_nonfinite",
            int,
            0,
            "updates with a non-finite loss or gradient to leave out before the run stops",
            0,
        ),
        Option(
            "ema",
            float,
            0.0,
            "decay of a moving average of the weights, for instance 0.999, which evaluations and checkpoints use; 0 = none",
            0,
        ),
    ],
    "several processes": [
        Option(
            "distributed",
            bool,
            False,
            "one process on every visible GPU (CUDA_VISIBLE_DEVICES); not needed under torchrun",
        ),
        Option("nproc", int, None, "so many processes, on a CPU too", 1),
        Option("port", int, 0, "where they meet (0: one that is free)", 0),
        Option(
            "gather_embeddings",
            bool,
            False,
            "the loss sees the embeddings of all processes: more GPUs, harder negatives",
        ),
        Option("sync_batchnorm", bool, False, "batch statistics over all processes (GPUs only)"),
    ],
    "evaluation": [
        Option(
            "scoring",
            Literal["similarity", "euclidean"],
            "similarity",
            "the loss's own similarity, or minus the mean Euclidean distance",
        ),
        Option(
            "score_norm",
            Literal[tuple(NORMS)],
            None,
            "normalise scores by a cohort, beside the raw ones: Z-norm, T-norm, S-norm, adaptive S-norm; "
            "the raw EER chooses the best checkpoint",
        ),
        Option(
            "cohort_list",
            str,
            None,
            "the cohort: a train list or lines '<file>', of other speakers than the trials'",
        ),
        Option("cohort_path", str, "", "folder that the files of cohort_list are relative to"),
        Option(
            "cohort_by",
            Literal["utterance", "speaker"],
            "utterance",
            "members of the cohort: its files, or the means of its speakers",
        ),
        Option(
            "top_n",
            int,
            300,
            "members of the cohort that count in asnorm, for each side those that score highest",
            2,
        ),
        Option(
            "qualities",
            bool,
            False,
            "also write a table of quality measures for tuneThreshold.py --quality, scores_qualities.txt beside scores.txt: "
            "durations, norms of embeddings, and with --score_norm mean scores against the cohort",
        ),
        Option(
            "cache_precision",
            Literal["float32", "float16"],
            "float32",
            "of the representations kept for scoring; float16 halves the memory",
        ),
        Option("trials_at_once", int, 32, "trials that a pair-wise pooling scores at a time", 1),
        Option(
            "eer",
            Literal[EERS],
            EERS[0],
            "definition of the EER: interpolated, or as voxceleb_trainer (corner), the double-attention trainer (grid)",
        ),
        Option("dcf_p_target", float, 0.05, "prior of a target trial in minDCF", 0),
        Option("dcf_c_miss", float, 1.0, "cost of a miss in minDCF", 0),
        Option("dcf_c_fa", float, 1.0, "cost of a false alarm in minDCF", 0),
        Option(
            "far",
            float,
            [0.1, 0.01, 0.001],
            "false-accept rates to print thresholds for",
            0,
            nargs="+",
        ),
    ],
}
ALIASES = {
    "nSpeakers": "nPerSpeaker",
    "nSpeaker": "nPerSpeaker",
    "num_utt": "nPerSpeaker",
    "num_class": "nClasses",
    "num_out": "nOut",
    "embedding_size": "nOut",
    "num_mels": "n_mels",
    "pooling_type": "encoder_type",
    "pooling_method": "encoder_type",
    "num_thread": "nDataLoaderThread",
    "num_workers": "nDataLoaderThread",
    "eval_list": "test_list",
    "eval_path": "test_path",
    "learning_rate": "lr",
    "max_epochs": "max_epoch",
    "out_dir": "save_path",
    "front_end": "model",
    "train_labels_path": "train_list",
    "train_data_dir": "train_path",
    "valid_data_dir": "test_path",
    "scalingFactor": "scale",
    "marginFactor": "margin",
    "gradientAccumulation": "accumulate",
    "audioPath": "extract",
    "modelCheckpoint": "initial_model",
}
# the same options in other units: how many of ours one is, its name
UNITS = {"window_size": ("max_frames", 100, "seconds")}
# other spellings of values: no files that differ in case
VALUES = {"trainfunc": {"Softmax": "softmax"}, "optimizer": {"Adam": "adam", "SGD": "sgd"}}
# taken from --modelConfig
SETTINGS = (
    "front_end",
    "kernel_size",
    "embedding_size",
    "heads_number",
    "pooling_method",
    "mask_prob",
    "normalization",
)
# of a checkpoint
USES = ("eval", "extract", "verify", "generate", "all_pairs", "export")
# what to do now,
MODES = (
    "config",
    "modelConfig",
    *USES,
    "average",
    "check",
    "gen_list",
    "gen_path",
    "gen_target_dir",
    "output",
    "threshold",
    # no part of a run
    "calibration",
    "prior",
)
# without the second the first has no effect
NEEDS = {
    "musan_path": "--augment",
    "rir_path": "--augment",
    "gpu_augment": "--augment",
    "speed_factors": "--speed_perturb",
    "partial": "--initial_model",
    "num_eval": "--eval_frames",
    "bucket_frames": "--eval_frames 0",
    "margin_start": "--margin_until",
    "margin_growth": "--margin_until",
    "balance_attacks": "--num_spk",
    "cohort_list": "--score_norm",
    "cohort_path": "--score_norm",
    "cohort_by": "--score_norm",
    "top_n": "--score_norm asnorm",
    "prior": "--calibration",
    "calibration": "--verify",
    "valid_path": "--valid_list",
    "test_path_libri": "--test_list_libri",
    "gen_list": "--generate",
    "multiple_embedding_flag": "--model MyLinearNet|MyLinearNetv2|MyLinearNetv3|MyLinearNetv4",
    "heads_number": "--encoder_type MHA|DoubleMHA",
    "mask_prob": "--encoder_type DoubleMHA",
}
# besides the model's
FROM_CHECKPOINT = (
    "eval_frames",
    "num_eval",
    "bucket_frames",
    "crop_margin",
    "short_files",
    "scoring",
    "eer",
    # and the loss's
    "dcf_p_target",
    "dcf_c_miss",
    "dcf_c_fa",
)
