"""A training run for TensorBoard, in the folder tensorboard/ of the run folder.

It contains every number of log.jsonl, DET curves, and the embeddings of the last evaluation. Show
it with: tensorboard --logdir exps

The events of an epoch are written before its line of log.jsonl. A resumed run removes the events
after the last line of log.jsonl. So each step is there exactly once.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import InputError, naming
from common.run_paths import LOG, TENSORBOARD
from common.writing import write_atomically
from metrics.summary import SasvSummary, Summary
from report.det import plot_det

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.tensorboard import SummaryWriter

# The projector shows at most this number of embeddings.
EMBEDDINGS = 1000
PROJECTOR = """embeddings {
  tensor_name: "embeddings"
  tensor_path: "embeddings/tensors.tsv"
  metadata_path: "embeddings/metadata.tsv"
}
"""


def writer_class() -> type[SummaryWriter]:
    """Import SummaryWriter of torch. Raises InputError if the package tensorboard is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(
            f"--tensorboard: the package tensorboard is not installed ({error}). "
            "Run `pip install -r requirements-optional.txt`, or leave out the option."
        ) from None
    return SummaryWriter


def open_board(run_folder: Path) -> SummaryWriter:
    """Open the writer of a run, which continues after the last line of log.jsonl.

    A run that has no TensorBoard folder yet gets the events of the complete log.
    """
    folder = run_folder / TENSORBOARD
    log = run_folder / LOG
    lines = []
    if log.exists():
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    if not folder.exists():
        board = writer_class()(folder, purge_step=0)
        for line in lines:
            write_line(board, line)
        return board
    return writer_class()(folder, purge_step=lines[-1]["step"] + 1 if lines else 0)


def write_line(board: SummaryWriter, line: Mapping[str, Any]) -> None:
    """Write the numbers of a line of the log at its step. An OSError has the folder's name."""
    with naming(board.log_dir):
        for name, value in line.items():
            if name != "step":
                board.add_scalar(name, value, line["step"])
        board.flush()


def write_trials(
    board: SummaryWriter,
    number: int,
    summary: Summary | SasvSummary | None,
    reps: Mapping[str, Tensor],
    step: int,
) -> None:
    """Write the DET curves and the embeddings of a list of trials.

    number: 1 for the first list of trials. summary: None if the trials have no labels.
    reps: {file: [crops, D]}. Only the embeddings of the first list are written, and none if the
    representations keep frames, as [crops, C, T].
    """
    suffix = "" if number == 1 else f"_{number}"
    if summary:
        from matplotlib.image import imread

        image = io.BytesIO()
        plot_det(image, {f"step {step}": summary.curves})
        image.seek(0)
        with naming(board.log_dir):
            board.add_image(f"DET{suffix}", imread(image)[..., :3], step, dataformats="HWC")
    if number == 1 and all(rep.ndim == 2 for rep in reps.values()):
        stride = -(-len(reps) // EMBEDDINGS)
        write_embeddings(board.log_dir, list(reps.items())[::stride])


def write_embeddings(folder: str | Path, reps: Sequence[tuple[str, Tensor]]) -> None:
    """Write the mean over the crops of each file for the projector. reps: (file, [crops, D]).

    SummaryWriter.add_embedding is not used: it keeps the embeddings of all evaluations, and a
    resumed run loses the earlier ones.
    """
    vectors = ""
    names = ""
    for file, rep in reps:
        numbers = [f"{number:.6g}" for number in rep.float().mean(0).tolist()]
        vectors += "\t".join(numbers) + "\n"
        names += f"{file.partition('/')[0]}\t{file}\n"
    files = {
        "embeddings/tensors.tsv": vectors,
        "embeddings/metadata.tsv": f"speaker\tfile\n{names}",
        "projector_config.pbtxt": PROJECTOR,
    }
    for name, text in files.items():
        write_atomically(f"{folder}/{name}", text.encode(), flush=False)
