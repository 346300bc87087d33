"""Archives: parts are joined, zip and tar files are extracted, and complete files are kept.

Nothing is written before all names and sizes in an archive were checked. An archive may contain
only files and folders. All files must be inside the folder, and their sizes must be plausible for
the size of the archive.
"""

import fnmatch
import logging
import os
import stat
import tarfile
import zipfile
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from tqdm import tqdm

from common.errors import InputError, naming
from common.outputs import remove_link
from common.writing import write_atomically
from prep.output import check_space, exclusive_access
from prep.sources import CHUNK, Source, bytes_bar, is_there, verify
from prep.tar_streams import tar_stream

log = logging.getLogger(__name__)
# Largest ratio of the size of the files to the size of the archive. The ratio of speech and lists
# is far smaller.
RATIO = 100
# Extensions of the files that `dataprep.py convert` makes from .m4a files.
CONVERTED = (".wav", ".flac")
# Bytes of the longest path of a member and of the longest name in it, and the largest number of
# folders. Disks allow a longer path, and the same length of a name.
LONGEST_PATH = 2000
LONGEST_NAME = 255
MOST_FOLDERS = 100


# ---------------------------------------------------------------------- joining
def join_parts(source: Source, folder: Path) -> None:
    """Joins the parts of an archive, or resumes an interrupted join. The parts are kept.

    Raises InputError if the disk is too small or if the joined file is wrong. A wrong file is
    removed.
    """
    with exclusive_access(folder):
        if not is_there(source, folder):
            join_missing(source, folder)


def join_missing(source: Source, folder: Path) -> None:
    """Joins the parts of an archive that is missing in its folder. See join_parts() for errors."""
    parts = [folder / name for name in source.parts]
    joined = folder / f"{source.name}.part"
    total = sum(path.stat().st_size for path in parts)
    remove_link(joined)
    done = joined.stat().st_size if joined.exists() else 0
    if done > total:
        joined.unlink()
        done = 0
    check_space(folder, total - done, source.name)
    log.info("Joining %d parts to %s, %.2f GB.", len(parts), folder / source.name, total / 1e9)
    append_parts(parts, joined, done, total)
    try:
        verify(joined, source, folder)
    except InputError as error:
        joined.unlink()
        raise InputError(
            f"{error} The joined file was removed and its parts were kept. Run the same command "
            "again. If this error comes back, correct the file list."
        ) from None
    joined.replace(folder / source.name)
    log.info("Joined %d parts to %s and verified the file.", len(parts), folder / source.name)


def append_parts(parts: list[Path], joined: Path, done: int, total: int) -> None:
    """Appends the parts to the joined file. The file has their first `done` bytes already."""
    bar = bytes_bar(f"join {joined.stem}", total, initial=done)
    with naming(joined), joined.open("ab") as target, bar:
        for path in parts:
            with path.open("rb") as file:
                file.seek(min(done, path.stat().st_size))
                done -= file.tell()
                while chunk := file.read(CHUNK):
                    target.write(chunk)
                    bar.update(len(chunk))
        target.flush()
        os.fsync(target.fileno())


# ---------------------------------------------------------------------- contents of an archive
class Member(NamedTuple):
    """One file of an archive.

    path: the place of its contents, relative to the folder.
    size: number of bytes.
    """

    name: str
    path: str
    size: int


class Entry(NamedTuple):
    """The entry of one member in an archive. regular: the member is a file and not a link."""

    name: str
    size: int
    regular: bool


def is_zip(archive: Path) -> bool:
    return archive.suffix == ".zip"


def zip_entries(archive: Path) -> Iterator[Entry]:
    """Yields all members except folders. Raises InputError for a member with a password."""
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            if info.flag_bits & 1:
                raise InputError(
                    f"{archive}: expected an archive without a password, but {info.filename} has "
                    "a password. Extract this archive with another program."
                )
            if not info.is_dir():
                file_type = stat.S_IFMT(info.external_attr >> 16)
                # Archives that were not made on Unix have no file type: 0.
                yield Entry(info.filename, info.file_size, file_type in (0, stat.S_IFREG))


def tar_entries(archive: Path) -> Iterator[Entry]:
    """Yields all members except folders. This decompresses the complete archive."""
    size = archive.stat().st_size
    bar = bytes_bar(f"list {archive.name}", size, leave=False)
    with (
        archive.open("rb", buffering=0) as raw,
        tar_stream(archive, raw) as stream,
        tarfile.open(fileobj=stream, mode="r:") as file,
        bar,
    ):
        for info in file:
            bar.update(raw.tell() - bar.n)
            if not info.isdir():
                yield Entry(info.name, info.size, info.isreg())
        # The checksum of the archive is at its end.
        while stream.read(CHUNK):
            pass


def path_of(name: str, archive: Path, after: str | None = None) -> str:
    """Returns the place of a member: its path without the folder `after` and the folders above it.

    Raises InputError if the place could be outside the folder.
    """
    words = [word for word in name.split("/") if word not in ("", ".")]
    if (
        not words
        or name.startswith("/")
        or ".." in words
        or "\\" in name
        or ":" in words[0]
        or not name.isprintable()
    ):
        raise InputError(
            f"{archive}: expected files inside one folder, found the path {name!r}. Do not use "
            "this archive."
        )
    longest = max(len(word.encode()) for word in words)
    too_long = longest > LONGEST_NAME or len(name.encode()) > LONGEST_PATH
    if too_long or len(words) > MOST_FOLDERS:
        raise InputError(
            f"{archive}: expected paths of at most {LONGEST_PATH:,} bytes, {LONGEST_NAME} bytes in "
            f"a name and {MOST_FOLDERS} folders, found {len(name.encode()):,} bytes, {longest:,} "
            f"bytes in a name and {len(words) - 1:,} folders: {name[:40]!r}... Do not use this "
            "archive."
        )
    if after in words[:-1]:
        words = words[words.index(after) + 1 :]
    return "/".join(words)


def look_through(archive: Path) -> list[Entry]:
    """Lists the files of an archive.

    Raises InputError for everything that does not belong in a corpus: links, devices, names that
    appear twice, and sizes that are implausible (a decompression bomb).
    """
    total = 0
    limit = RATIO * archive.stat().st_size
    entries = zip_entries(archive) if is_zip(archive) else tar_entries(archive)
    found = {}
    for entry in entries:
        name = entry.name
        if not entry.regular:
            raise InputError(
                f"{archive}: expected files and folders, but {name!r} is a link or a device. Do "
                "not use this archive."
            )
        path = path_of(name, archive)
        if path in found:
            raise InputError(
                f"{archive}: expected every file once, found {name!r} twice. Do not use this "
                "archive."
            )
        found[path] = entry
        total += entry.size
        if total > limit:
            raise InputError(
                f"{archive}: expected files of at most {RATIO} times the size of the archive "
                f"({limit:,} bytes), found {total:,} bytes or more. Do not use this archive."
            )
    return list(found.values())


def table_of(archive: Path) -> Path:
    """The file that keeps the names and sizes of the members.

    Reading them from the archive needs much time. The table is kept when the archive is removed.
    """
    return Path(f"{archive}.members")


def as_input_error(error: Exception, archive: Path) -> Exception:
    """Returns the InputError of an exception that a damaged archive raised.

    A damaged archive can raise any exception. An InputError, and an OSError of a named file, are
    returned as they are.
    """
    if isinstance(error, InputError) or getattr(error, "filename", None):
        return error
    problem = str(error) or type(error).__name__
    return InputError(
        f"{archive}: this zip or tar file is damaged ({problem}). Remove this file and download "
        "it again."
    )


def update_table(archive: Path) -> None:
    """Writes the table of an archive that has no table or is newer than its table."""
    table = table_of(archive)
    if not archive.exists():
        return
    if table.exists() and table.stat().st_mtime >= archive.stat().st_mtime:
        return
    try:
        entries = look_through(archive)
    except Exception as error:
        raise as_input_error(error, archive) from None
    lines = [f"{entry.size} {entry.name}\n" for entry in entries]
    write_atomically(table, "".join(lines).encode())


def members_of(archive: Path, source: Source) -> list[Member]:
    """Lists the files to extract.

    Raises InputError if the archive is damaged or refused, or if two files have the same path.
    """
    update_table(archive)
    members = []
    for line in table_of(archive).read_text().splitlines():
        size, name = line.split(" ", 1)
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in source.only):
            members.append(Member(name, path_of(name, archive, source.after), int(size)))
    paths = {member.path for member in members}
    if len(paths) < len(members):
        raise InputError(
            f"{archive}: with 'after: {source.after}' two files have the same path. Correct the "
            "field 'after' in the file list."
        )
    return members


def is_written(path: str, size: int) -> bool:
    """Whether the file is complete, or its converted file exists."""
    try:
        if os.stat(path).st_size == size:
            return True
    except OSError:
        pass
    return path.endswith(".m4a") and any(os.path.exists(path[:-4] + suffix) for suffix in CONVERTED)


def missing_of(source: Source, folder: Path) -> tuple[list[Member], list[Member]]:
    """Returns all members of the archive, and the members that are not extracted yet."""
    target = folder / source.into
    members = members_of(folder / source.name, source)
    missing = []
    for member in members:
        if not is_written(f"{target}/{member.path}", member.size):
            missing.append(member)
    return members, missing


def is_extracted(source: Source, folder: Path) -> bool:
    """Whether all members are extracted. The archive itself may be removed by then."""
    if not source.into or not table_of(folder / source.name).exists():
        return False
    _, missing = missing_of(source, folder)
    return not missing


# ---------------------------------------------------------------------- extraction
def zip_contents(archive: Path, names: Iterable[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """Yields the names and open streams of the named members of a zip file."""
    with zipfile.ZipFile(archive) as file:
        for name in names:
            with file.open(name) as stream:
                yield name, stream


def tar_contents(archive: Path, names: Container[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """Yields the names and open streams of the named members of a tar or tar.gz file."""
    with (
        archive.open("rb", buffering=0) as raw,
        tar_stream(archive, raw) as unpacked,
        tarfile.open(fileobj=unpacked, mode="r:") as file,
    ):
        for info in file:
            if info.name in names:
                with file.extractfile(info) as stream:
                    yield info.name, stream


def write_member(stream: IO[bytes], path: str, size: int, bar: tqdm) -> None:
    """Writes one file, which gets its name when it is complete.

    Raises EOFError if its size is not the size that the archive states.
    """
    part = f"{path}.part"
    remove_link(part)
    with naming(part), open(part, "wb") as file:
        while chunk := stream.read(CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
        if file.tell() != size:
            raise EOFError(f"{path} has {file.tell():,} of {size:,} bytes")
    os.replace(part, path)


def extract_members(archive: Path, target: Path, missing: list[Member]) -> None:
    """Extracts members of an archive. Damage can raise any exception."""
    wanted = {member.name: member for member in missing}
    folders = set()
    total = sum(member.size for member in missing)
    contents = zip_contents if is_zip(archive) else tar_contents
    bar = bytes_bar(f"extract {archive.name}", total)
    with bar:
        for name, stream in contents(archive, wanted):
            path = f"{target}/{wanted[name].path}"
            parent = os.path.dirname(path)
            if parent not in folders:
                os.makedirs(parent, exist_ok=True)
                folders.add(parent)
            write_member(stream, path, wanted[name].size, bar)


def extract(source: Source, folder: Path) -> None:
    """Extracts the missing files of an archive into the source's folder below `folder`.

    Raises InputError if the archive is damaged or refused, or if the disk is too small.
    """
    with exclusive_access(folder):
        extract_missing(source, folder)


def extract_missing(source: Source, folder: Path) -> None:
    """Extracts the missing files of an archive. See extract() for the errors."""
    archive = folder / source.name
    target = folder / source.into
    members, missing = missing_of(source, folder)
    if missing:
        size = sum(member.size for member in missing)
        check_space(target, size, f"the contents of {source.name}")
        log.info(
            "Extracting %s files of %s to %s, %.2f GB.",
            f"{len(missing):,}",
            archive,
            target,
            size / 1e9,
        )
        try:
            extract_members(archive, target, missing)
        except Exception as error:
            raise as_input_error(error, archive) from None
    log.info(
        "All %s files of %s are in %s (%s extracted now).",
        f"{len(members):,}",
        archive,
        target,
        f"{len(missing):,}",
    )
