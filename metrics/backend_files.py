"""The file of a back end: arrays in .npz format without compression, and a line of JSON.

No code from a file runs, and no array needs more memory than the size of its file.
"""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from common.foreign_files import foreign_file
from common.npy import array_in
from common.pipes import read_bytes
from common.writing import write_atomically
from metrics.backend_stages import LARGEST_DIM, Step, input_size, is_finite_step

# What the line of JSON says, so that another .npz file is recognised.
KIND = "back end of speaker embeddings"
VERSION = 1
# A back end has not more steps.
MOST_STEPS = 100


def write_steps(path: str | Path, steps: tuple[Step, ...], psi: Any, facts: dict) -> None:
    """Writes the steps of a back end to a file. Equal back ends give equal files.

    psi: [D] or None. facts: texts and numbers about the back end.
    """
    listed = [{"name": step.name, "length": step.length} for step in steps]
    line = json.dumps({"kind": KIND, "version": VERSION, "steps": listed} | facts)
    arrays = {"facts": np.array(line)}
    for number, step in enumerate(steps):
        for name, part in (("offset", step.offset), ("matrix", step.matrix)):
            if part is not None:
                arrays[f"{name}_{number}"] = np.ascontiguousarray(part, "<f8")
    if psi is not None:
        arrays["psi"] = np.ascontiguousarray(psi, "<f8")
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_atomically(path, buffer.getbuffer())


def read_steps(path: str | Path, make: Callable) -> Any:
    """Reads the file of a back end, and returns make(steps, psi, facts).

    Raises InputError if it is another file, or if make() fails.
    """

    def problem(text: str) -> str:
        return (
            "expected a back end that --estimate_backend or `tuneThreshold.py backend` wrote, "
            f"found another file ({text}). Give the file of a back end, or estimate it again."
        )

    with foreign_file(path, problem):
        data = read_bytes(path)
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            arrays = {info.filename: array_of(file, info, len(data)) for info in file.infolist()}
        if "facts.npy" not in arrays:
            raise ValueError("it has no stages")
        facts = json.loads(str(arrays["facts.npy"]))
        if facts["kind"] != KIND:
            raise ValueError("it has no stages")
        if facts["version"] != VERSION:
            raise ValueError(f"its version is {facts['version']}, and this program reads {VERSION}")
        steps = steps_of(facts["steps"], arrays)
        psi = arrays.get("psi.npy")
        check_steps(steps, psi)
        return make(steps, psi, facts)


def array_of(file: zipfile.ZipFile, info: zipfile.ZipInfo, size: int) -> np.ndarray:
    """Reads an array of an archive of `size` bytes. Any exception can be raised."""
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > size:
        raise ValueError(f"{info.filename} is compressed or too large")
    # The archive contains a checksum, which zipfile compares at the end of the array.
    with file.open(info) as stream:
        return array_in(stream, info.file_size)


def steps_of(listed: list[dict], arrays: dict[str, np.ndarray]) -> tuple[Step, ...]:
    """Makes steps of the parts of a file. Any exception can be raised."""
    if not 1 <= len(listed) <= MOST_STEPS:
        raise ValueError(f"it has {len(listed)} stages")
    steps = []
    for number, step in enumerate(listed):
        offset = arrays.get(f"offset_{number}.npy")
        matrix = arrays.get(f"matrix_{number}.npy")
        steps.append(Step(str(step["name"]), offset, matrix, float(step["length"])))
    return tuple(steps)


def check_steps(steps: tuple[Step, ...], psi: np.ndarray | None) -> None:
    """Raises ValueError if the arrays of a back end do not fit together."""
    size: int | None = None
    for step in steps:
        for part, axes in ((step.offset, 1), (step.matrix, 2)):
            if part is not None and (part.dtype != np.float64 or part.ndim != axes):
                raise ValueError(f"{step.name:.20} has an array {part.dtype} {list(part.shape)}")
        sizes = [size, input_size(step), None if step.matrix is None else len(step.matrix)]
        known = {each for each in sizes if each is not None}
        if len(known) > 1 or not is_finite_step(step):
            raise ValueError(f"its stage {step.name:.20} does not fit to the other stages")
        if not 0 <= step.length <= LARGEST_DIM or not all(
            0 < each <= LARGEST_DIM for each in known
        ):
            raise ValueError(f"the size or the length of its stage {step.name:.20} is too large")
        size = known.pop() if known else None
        if step.matrix is not None:
            size = step.matrix.shape[1]
    if psi is not None:
        fits = psi.dtype == np.float64 and psi.shape == (size,)
        if not fits or not np.isfinite(psi).all() or psi.min() < 0:
            raise ValueError("the variances of its stage plda do not fit")
