"""What the program does."""

from options.option import Option

ACTIONS = [
    Option(
        "config",
        str,
        None,
        "read options from a YAML file; later options override earlier ones",
        placeholder="YAML",
        daily=True,
    ),
    Option(
        "modelConfig",
        str,
        None,
        "read the network's options from a pickled settings file of the double-attention trainer",
        placeholder="FILE",
    ),
    Option(
        "eval",
        bool,
        False,
        "print the EER and minDCF of --test_list, and write the scores to "
        "RUN/result/scores_CHECKPOINT_LIST.txt",
        daily=True,
    ),
    Option(
        "check",
        bool,
        False,
        "score the embeddings of --test_list without a network: the baseline of an enhancement",
    ),
    Option(
        "extract",
        str,
        None,
        "write the embeddings of the files of a list or folder to --output (.npy); print the "
        "embeddings of a single file",
        placeholder="FILE",
        daily=True,
    ),
    Option(
        "generate",
        bool,
        False,
        "the same as --extract, with --gen_list, --gen_path and --gen_target_dir",
    ),
    Option(
        "gen_list", str, None, "list of the files for --generate (as --extract)", placeholder="LIST"
    ),
    Option(
        "gen_path", str, "", "folder of the files of --gen_list (as --test_path)", placeholder="DIR"
    ),
    Option(
        "gen_target_dir",
        str,
        None,
        "folder of the results of --generate (as --output)",
        placeholder="DIR",
    ),
    Option(
        "all_pairs",
        str,
        None,
        "score every pair of files of a list, whose lines are '<speaker> <file>' or '<file>'; "
        "--output FILE.npy writes a float32 matrix [files, files]",
        placeholder="LIST",
    ),
    Option(
        "verify",
        str,
        None,
        "print the score of two audio files, the threshold and the decision",
        nargs=2,
        placeholder="FILE",
        daily=True,
    ),
    Option(
        "average",
        str,
        None,
        "write the mean of the weights of several checkpoints, or of the numbered checkpoints of a "
        "run folder, to --output",
        nargs="+",
        placeholder="CHECKPOINT",
    ),
    Option(
        "export",
        str,
        None,
        "write --initial_model with its front end as an ONNX file, from waves to embeddings",
        placeholder="FILE",
    ),
    Option(
        "publish",
        str,
        None,
        "write --initial_model as a folder for a hub of models: model.safetensors, config.yaml and "
        "a model card",
        placeholder="DIR",
    ),
    Option(
        "publish_classifier",
        bool,
        False,
        "also publish the classifier and the names of its speakers, for further training",
    ),
    Option(
        "license",
        str,
        None,
        "licence in the model card, such as cc-by-4.0 (default: a line that none was chosen)",
        placeholder="TEXT",
    ),
    Option(
        "card_scores",
        str,
        None,
        "scores files for the model card (default: the files of this checkpoint in its run folder)",
        nargs="+",
        placeholder="FILE",
    ),
    Option(
        "card_datasets",
        str,
        None,
        "corpora of the training for the model card (default: the name of the training list)",
        nargs="+",
        placeholder="NAME",
    ),
    Option(
        "estimate_backend",
        str,
        None,
        "estimate a back end of --initial_model from --backend_list, and write it to a file",
        placeholder="FILE",
    ),
    Option(
        "initial_model",
        str,
        None,
        "checkpoint to use, or to start a new run from, with its model options",
        placeholder="CHECKPOINT",
        daily=True,
    ),
    Option(
        "partial",
        bool,
        False,
        "load only the weights of --initial_model that fit; report the others",
        daily=True,
    ),
    Option(
        "save_path",
        str,
        "exps/exp1",
        "run folder; a run that it contains is resumed",
        placeholder="DIR",
        daily=True,
    ),
    Option(
        "output",
        str,
        None,
        "result: folder (--extract), scores (--eval) or checkpoint (--average)",
        placeholder="FILE",
        daily=True,
    ),
    Option(
        "threshold",
        float,
        None,
        "decision threshold of --verify (default: the threshold at the EER in the checkpoint)",
    ),
    Option(
        "cm_model",
        str,
        None,
        "checkpoint of a countermeasure: --verify also decides whether the second file is spoofed",
        placeholder="CHECKPOINT",
    ),
    Option(
        "fusion_file",
        str,
        None,
        "JSON file of tuneThreshold.py fuse --cm, which --cm_model needs",
        placeholder="FILE",
    ),
    Option(
        "calibration",
        str,
        None,
        "JSON file of tuneThreshold.py calibrate: --verify also prints the probability of the same "
        "speaker",
        placeholder="FILE",
    ),
    Option(
        "prior",
        float,
        0.5,
        "prior probability that both files are from one speaker, for --calibration",
        0,
        placeholder="P",
        most=1,
        between=True,
    ),
]
