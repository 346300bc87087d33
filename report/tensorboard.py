"""A training run for TensorBoard, in the folder tensorboard/ of the run: every number of log.jsonl, DET curves, the embeddings of the last evaluation.

tensorboard --logdir exps
Written before the line of log.jsonl and taken back by a run that goes on from before it, so that no step is there twice and none is missing.
"""

import io
import json

from common.errors import InputError
from common.writing import write_atomically
from report.det import plot_det

# most files whose embeddings are shown
EMBEDDINGS = 1000
PROJECTOR = 'embeddings {\n  tensor_name: "embeddings"\n  tensor_path: "embeddings/tensors.tsv"\n  metadata_path: "embeddings/metadata.tsv"\n}\n'


def writer_class():
    """torch's SummaryWriter; InputError where the package is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(
            f"--tensorboard: the package tensorboard is not installed ({error}): pip install -r requirements-optional.txt, "
            "or leave the option out"
        ) from None
    return SummaryWriter


def open_board(run_folder):
    """Writer that goes on after the last line of log.jsonl; a run that had none so far gets the whole log."""
    folder, log = run_folder / "tensorboard", run_folder / "log.jsonl"
    lines = (
        [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        if log.exists()
        else []
    )
    begun = folder.exists()
    board = writer_class()(folder, purge_step=lines[-1]["step"] + 1 if begun and lines else 0)
    for line in [] if begun else lines:
        write_line(board, line)
    return board


def write_line(board, line):
    """Numbers of a line of the log, at its step."""
    for name, value in line.items():
        if name != "step":
            board.add_scalar(name, value, line["step"])
    board.flush()


def write_trials(board, number, summary, reps, step):
    """DET curves and embeddings of the first, second, ... list of trials. summary: None without labels. reps: {file: [crops, D]}; of networks that keep
    frames there is nothing to map."""
    suffix = "" if number == 1 else f"_{number}"
    if summary:
        from matplotlib.image import imread

        image = io.BytesIO()
        plot_det(image, {f"step {step}": summary.curves})
        image.seek(0)
        board.add_image(f"DET{suffix}", imread(image)[..., :3], step, dataformats="HWC")
    if number == 1 and all(rep.ndim == 2 for rep in reps.values()):
        write_embeddings(board.log_dir, list(reps.items())[:: -(-len(reps) // EMBEDDINGS)])


def write_embeddings(folder, reps):
    """Mean of each file's crops, for the projector. Not by add_embedding, which keeps all evaluations, and in a run that goes on forgets those before."""
    vectors = [rep.float().mean(0).tolist() for _, rep in reps]
    names = "".join(f"{file.partition('/')[0]}\t{file}\n" for file, _ in reps)
    files = {
        "embeddings/tensors.tsv": "".join(
            "\t".join(f"{x:.6g}" for x in vector) + "\n" for vector in vectors
        ),
        "embeddings/metadata.tsv": f"speaker\tfile\n{names}",
        "projector_config.pbtxt": PROJECTOR,
    }
    for name, text in files.items():
        write_atomically(f"{folder}/{name}", text.encode(), flush=False)
