"""Output files of a command: what may be overwritten, and where a path leads."""

import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from common.errors import InputError

# Names of files that the process has open already, and their descriptors.
STREAMS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
DESCRIPTOR = re.compile(r"(?:/dev|/proc/self)/fd/(\d+)")
# Bytes at the beginning of a file that show what wrote it.
HEAD = 4096


def open_descriptor(path: str | Path) -> int | None:
    """Returns the descriptor that a path such as /dev/stdout names, None for other paths."""
    found = DESCRIPTOR.fullmatch(str(path))
    return int(found[1]) if found else STREAMS.get(str(path))


def is_special(path: str | Path) -> bool:
    """Returns whether a path leads to a device, a pipe or a file that is open already.

    Such a place is written to, and never replaced by a file.
    """
    if open_descriptor(path) is not None:
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def beside(path: str | Path, name: str, option: str) -> Path:
    """Returns the place of a result next to an input file. name: of the result.

    option: names another place, for the error. Raises InputError for a pipe or a device, next to
    which nothing is written.
    """
    if is_special(path):
        raise InputError(
            f"{path}: expected a file, next to which {name} can be written, found a pipe or a "
            f"device. Give {option}."
        )
    return Path(path).with_name(name)


def is_same_file(path: str | Path, other: str | Path) -> bool:
    """Returns whether two paths lead to one file, whatever their spelling. Both may be missing."""
    return os.path.exists(path) and os.path.exists(other) and os.path.samefile(path, other)


def remove_link(path: str | Path) -> None:
    """Removes a link in the place of a file that is to be written.

    Opening the file would follow the link, and change the file of somebody else. A link to a device
    stays.
    """
    if os.path.islink(path) and not is_special(path):
        os.unlink(path)


def input_files(options: Mapping[str, object], outputs: Iterable[str]) -> dict[str, list[str]]:
    """Returns {option: its values} of the options whose values can name files to read.

    outputs: the options that name files to write.
    """
    found = {}
    for name, value in options.items():
        values = value if isinstance(value, (list, tuple)) else [value]
        paths = [each for each in values if isinstance(each, str) and each]
        if paths and name not in outputs:
            found[f"--{name}"] = paths
    return found


def check_output(
    place: str,
    path: str | Path,
    inputs: Mapping[str, Iterable[str | Path]],
    is_own: Callable[[bytes], bool],
) -> None:
    """Raises InputError if a command must not write the file `path`.

    These are files that the command reads, and existing files of another kind than this program
    writes there. An empty file, a device and a pipe may be written.

    place: the option and its value, where the message begins. inputs: {what the user calls them:
    files that the command reads}. is_own: says from the first HEAD bytes of a file whether this
    program wrote it.
    """
    if not os.path.exists(path) or is_special(path):
        return
    if os.path.isdir(path):
        raise InputError(f"{place}: expected a file, found a folder. Give the name of a file.")
    for name, files in inputs.items():
        if any(is_same_file(path, file) for file in files):
            raise InputError(
                f"{place}: expected a new file, found an input of this command ({name}), which is "
                "not overwritten. Give another name."
            )
    with open(path, "rb") as file:
        head = file.read(HEAD)
    if head and not is_own(head):
        raise InputError(
            f"{place}: expected a new file or an earlier result, found a file of another kind, "
            "which is not overwritten. Give another name, or remove the file."
        )


def paths_below(
    folder: str | Path, names: Iterable[str], place: str | Path, suffix: str
) -> dict[str, Path]:
    """Returns {name: path of its result} of files, whose results are in a folder of results.

    suffix: of the results. See path_below(). Also raises InputError if two files would have the
    same result.
    """
    target = {name: path_below(folder, name, place).with_suffix(suffix) for name in names}
    require_different(target.values(), place)
    return target


def require_different(results: Collection[Path], place: str | Path) -> None:
    """Raises InputError if the files of a list or folder `place` need the same result."""
    if len({os.path.normpath(path) for path in results}) < len(results):
        suffix = next(iter(results)).suffix
        raise InputError(
            f"{place}: several files have names that differ only in the extension, so they need "
            f"the same {suffix} file. Remove or rename one of them."
        )


def path_below(folder: str | Path, name: str, place: str | Path) -> Path:
    """Returns the path of the result of a file in a folder of results.

    name: of the file, as in a list or in a folder. place: of the name, for the message. Raises
    InputError if the result would be outside the folder.
    """
    inside = os.path.normpath(name.lstrip("/"))
    if inside.split("/")[0] == "..":
        raise InputError(
            f"{place}: expected names of files without '..' at the beginning, found {name!r}. Its "
            f"result would be outside {folder}. Write the complete path, or give a folder of files "
            "that contains all of them."
        )
    return Path(folder, inside)
