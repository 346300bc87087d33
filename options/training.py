"""Options of the training, and of its processes."""

from options.option import Option

TRAINING = [
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
        "bfloat16 autocast (float16 with loss scaling where the device lacks bfloat16), in "
        "training and its evaluations; a checkpoint is used in float32 unless this is given then "
        "too",
    ),
    Option(
        "tf32",
        bool,
        True,
        "while training, multiply float32 numbers with 10 bits of their fraction on GPUs that "
        "can: faster",
    ),
    Option(
        "compile",
        bool,
        False,
        "torch.compile the model: faster steps, after a minute or two of compiling (half a minute "
        "in later runs); wants g++",
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
        "decay of a moving average of the weights, for instance 0.999, which evaluations and "
        "checkpoints use; 0 = none",
        0,
    ),
]
PROCESSES = [
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
]
