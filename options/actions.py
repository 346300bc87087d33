"""What the program does, and the components of the network."""

from typing import Literal

from options.option import Option
from options.plugins import components

ACTIONS = [
    Option(
        "config",
        str,
        None,
        "YAML file of options; overrides what stands before it and is overridden by what follows; "
        "may be repeated",
    ),
    Option(
        "modelConfig",
        str,
        None,
        "pickled settings of the double-attention trainer; of these what makes the network, as if "
        "from a --config",
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
        "score the embeddings of --test_list as they are: the baseline of an enhancement, without "
        "a network",
    ),
    Option(
        "extract",
        str,
        None,
        "one file, a list of files, a train list, trials, or a folder: embeds all files with "
        "--initial_model, one .npy [num_eval, D] each under --output, in the same folders; those "
        "that are there are left alone. With a network for embeddings: enhances them. Of one file "
        "without --output: prints it, a line a crop",
    ),
    Option(
        "generate",
        bool,
        False,
        "the same as --extract with --gen_list, --gen_path as --test_path and --gen_target_dir as "
        "--output",
    ),
    Option("gen_list", str, None, "see --generate"),
    Option("gen_path", str, "", "see --generate"),
    Option("gen_target_dir", str, None, "see --generate"),
    Option(
        "all_pairs",
        str,
        None,
        "lines '<speaker> <file>' or '<file>': scores every pair of these files of --test_path "
        "with --initial_model; --output: a scores file, or FILE.npy for the matrix [files, files] "
        "of float32; where speakers are told, EER, minDCF, thresholds too",
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
        "checkpoints of one run, or its folder for its numbered ones (--keep): writes the mean of "
        "their weights to --output",
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
        "checkpoint to use (default: the last one in save_path), or to start a fresh training "
        "from; brings its model options along",
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
        "folder for --extract; checkpoint for --average; scores file for --eval (default: "
        "result/scores.txt in save_path) and for --all_pairs (result/all_pairs.txt)",
    ),
    Option(
        "threshold",
        float,
        None,
        "decision threshold for --verify (default: the one at the EER that the checkpoint "
        "remembers)",
    ),
    Option(
        "calibration",
        str,
        None,
        "JSON file of tuneThreshold.py --calibrate: --verify also prints the probability of the "
        "same speaker",
    ),
    Option(
        "prior",
        float,
        0.5,
        "that probability before anything is heard, for --verify with --calibration",
    ),
]
COMPONENTS = [
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
    Option("optimizer", Literal[tuple(components("optimizer"))], "adam", "a file of optimizer/"),
    Option(
        "scheduler",
        Literal[tuple(components("scheduler"))],
        "steplr",
        "learning-rate schedule, a file of scheduler/",
    ),
]
