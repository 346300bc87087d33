"""Which files in a run folder this program has written. Other programs use the same names."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

from common.errors import InputError
from common.foreign_files import foreign_file, require_regular_file
from common.run_paths import (
    BEST_CHECKPOINT,
    COMMAND,
    CONFIG,
    LAST_CHECKPOINT,
    LOG,
    NUMBERED_CHECKPOINTS,
)
from corpus.missing import first_names

# Begins the lines of command.txt that name the versions of a command.
REVISION = "# revision "
# Entries that every checkpoint of this program contains, and weights of other programs do not.
ENTRIES = (b"options", b"classes", b"optimizer")


def require_own_files(folder: Path, results: Iterable[Path]) -> None:
    """Raises InputError if a run in the folder would replace files of another program.

    results: further files and folders that the run writes, such as its scores files.
    """
    checkpoints = [folder / LAST_CHECKPOINT, folder / BEST_CHECKPOINT]
    numbered = sorted(folder.glob(NUMBERED_CHECKPOINTS))
    foreign = [path for path in [*checkpoints, *numbered] if path.exists() and not is_ours(path)]
    kind = "that this program did not write"
    remedy = "Choose another --save_path."
    if has_begun(folder):
        # A copy of a run may be incomplete.
        kind = "that are damaged, or that this program did not write"
        remedy = "Restore or remove them, or choose another --save_path."
    else:
        others = [folder / CONFIG, folder / COMMAND, folder / LOG, *results]
        foreign += [path for path in others if path.exists()]
    if not foreign:
        return
    weights = [path for path in numbered if path in foreign]
    if weights:
        remedy += f" To start from the weights of the folder, add --initial_model {weights[-1]}."
    names = [str(path.relative_to(folder)) for path in foreign]
    raise InputError(
        f"{folder}: expected a new folder or a run of this program, found files {kind}. A run in "
        f"this folder would replace them: {first_names(names)}. {remedy}"
    )


def has_begun(folder: Path) -> bool:
    """Returns whether this program has begun a run in the folder."""
    command = folder / COMMAND
    if command.is_file():
        with command.open(errors="replace") as file:
            if any(line.startswith(REVISION) for line in file):
                return True
    return is_ours(folder / LAST_CHECKPOINT)


def is_ours(path: Path) -> bool:
    """Returns whether this program wrote a checkpoint. Only its table of contents is read."""
    try:
        with foreign_file(path, str):
            require_regular_file(path, "a checkpoint")
            contents = table_of_contents(path)
    except InputError:
        return False
    return all(entry in contents for entry in ENTRIES)


def table_of_contents(path: Path) -> bytes:
    """Returns the pickle in a file of torch.save. Any exception can be raised for another file."""
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if entry.filename.endswith("/data.pkl")]
        if not entries or entries[0].file_size > path.stat().st_size:
            # torch.save does not compress.
            return b""
        return archive.read(entries[0])
