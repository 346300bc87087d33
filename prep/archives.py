"""Archives: parts joined, zip and tar.gz extracted, only what is not there yet.

Nothing is written before every name and size in an archive was looked at: files and folders alone, below the folder, not absurdly larger than the archive.
"""

import fnmatch
import gzip
import logging
import os
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from common.errors import InputError
from common.writing import write_atomically
from prep.output import check_space
from prep.sources import CHUNK, is_there, verify

log = logging.getLogger(__name__)
# times the size of the archive: speech and lists stay far below
RATIO = 100
# bytes of a tar header, more than any has
HEADER = 1 << 24
# what --convert makes of .m4a
CONVERTED = (".wav", ".flac")
DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
)


# ---------------------------------------------------------------------- joining
def join(source, folder):
    """Makes the file of its parts, going on where it was interrupted; the parts stay."""
    if is_there(source, folder):
        return
    parts, joined = [folder / name for name in source.parts], folder / f"{source.name}.part"
    sizes = [path.stat().st_size for path in parts]
    done = joined.stat().st_size if joined.exists() else 0
    if done > sum(sizes):
        joined.unlink()
        done = 0
    check_space(folder, sum(sizes) - done, source.name)
    with (
        joined.open("ab") as target,
        tqdm(
            total=sum(sizes),
            initial=done,
            unit="B",
            unit_scale=True,
            desc=f"join {source.name}",
            disable=None,
        ) as bar,
    ):
        for path, size in zip(parts, sizes, strict=True):
            with path.open("rb") as file:
                file.seek(min(done, size))
                done -= file.tell()
                while chunk := file.read(CHUNK):
                    target.write(chunk)
                    bar.update(len(chunk))
        target.flush()
        os.fsync(target.fileno())
    try:
        verify(joined, source, folder)
    except InputError as error:
        joined.unlink()
        raise InputError(
            f"{error}; it is removed, its parts are kept: try again, and if that does not help correct the file list"
        ) from None
    joined.replace(folder / source.name)
    log.info("%s: joined from %d parts and verified", folder / source.name, len(parts))


# ---------------------------------------------------------------------- what is in an archive
class Member(NamedTuple):
    """path: where its contents belong, relative to the folder."""

    name: str
    path: str
    size: int


class Unzipped(gzip.GzipFile):
    """A tar header that claims to be huge is not read into memory."""

    def read(self, size=-1):
        if not 0 <= size <= HEADER:
            raise tarfile.ReadError("a header of absurd size")
        return super().read(size)


def is_zip(archive):
    return archive.suffix == ".zip"


def zip_entries(archive):
    """(name, size, is it a file) of all but folders."""
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            if info.flag_bits & 1:
                raise InputError(
                    f"{archive}: want an archive without a password, got {info.filename} with one; extract it by hand"
                )
            if not info.is_dir():
                yield (
                    info.filename,
                    info.file_size,
                    stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG),
                )


def tar_entries(archive):
    """The same; the whole archive has to be unpacked for it."""
    with (
        archive.open("rb") as raw,
        Unzipped(fileobj=raw) as unzipped,
        tarfile.open(fileobj=unzipped, mode="r:") as file,
        tqdm(
            total=archive.stat().st_size,
            unit="B",
            unit_scale=True,
            desc=f"look through {archive.name}",
            leave=False,
            disable=None,
        ) as bar,
    ):
        for info in file:
            bar.update(raw.tell() - bar.n)
            if not info.isdir():
                yield info.name, info.size, info.isreg()
        # its checksum is behind all
        while unzipped.read(CHUNK):
            pass


def path_of(name, archive, after=None):
    """Where a member belongs: its path, less the folders up to `after`. InputError if that could be outside of the folder."""
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
            f"{archive}: want names of files below the folder, got {name!r}; do not use this archive"
        )
    return "/".join(words[words.index(after) + 1 :] if after in words[:-1] else words)


def look_through(archive):
    """Archive -> [(name, size)] of its files. InputError for whatever does not belong in a corpus."""
    total, limit, found = 0, RATIO * archive.stat().st_size, {}
    for name, size, plain in (zip_entries if is_zip(archive) else tar_entries)(archive):
        if not plain:
            raise InputError(
                f"{archive}: want files and folders, got {name!r}, a link or a device; do not use this archive"
            )
        path = path_of(name, archive)
        if path in found:
            raise InputError(
                f"{archive}: want every file once, got {name!r} twice; do not use this archive"
            )
        found[path] = name, size
        total += size
        if total > limit:
            raise InputError(
                f"{archive}: want at most {RATIO} times the size of the archive, {limit:,} bytes, got {total:,} up to {name!r}; "
                "do not use this archive"
            )
    return list(found.values())


def table_of(archive):
    """Where the names and sizes in the archive are kept: to read them from it takes long, and they outlive it."""
    return Path(f"{archive}.members")


def members_of(archive, source):
    """The files that are to be extracted -> list of Member."""
    table = table_of(archive)
    if archive.exists() and (not table.exists() or table.stat().st_mtime < archive.stat().st_mtime):
        try:
            entries = look_through(archive)
        except DAMAGED as error:
            raise InputError(
                f"{archive}: want a zip or tar.gz file, got a damaged one ({error}); remove it and download it again"
            ) from None
        write_atomically(table, "".join(f"{size} {name}\n" for name, size in entries).encode())
    rows = (line.split(" ", 1) for line in table.read_text().splitlines())
    members = [
        Member(name, path_of(name, archive, source.after), int(size))
        for size, name in rows
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in source.only)
    ]
    paths = {member.path for member in members}
    if len(paths) < len(members):
        raise InputError(
            f"{archive}: two files have the same place after 'after: {source.after}'; correct the file list"
        )
    return members


def is_written(path, size):
    """Is the file there, or what it was converted to?"""
    try:
        if os.stat(path).st_size == size:
            return True
    except OSError:
        pass
    return path.endswith(".m4a") and any(os.path.exists(path[:-4] + suffix) for suffix in CONVERTED)


def missing_of(source, folder):
    """-> (all members of the archive, those that are not there)."""
    target = folder / source.into
    members = members_of(folder / source.name, source)
    return members, [
        member for member in members if not is_written(f"{target}/{member.path}", member.size)
    ]


def is_extracted(source, folder):
    """Is all of it there? The archive itself need not be."""
    return (
        bool(source.into)
        and table_of(folder / source.name).exists()
        and not missing_of(source, folder)[1]
    )


# ---------------------------------------------------------------------- extraction
def zip_contents(archive, names):
    with zipfile.ZipFile(archive) as file:
        for name in names:
            with file.open(name) as stream:
                yield name, stream


def tar_contents(archive, names):
    with archive.open("rb") as raw, tarfile.open(fileobj=Unzipped(fileobj=raw), mode="r:") as file:
        for info in file:
            if info.name in names:
                with file.extractfile(info) as stream:
                    yield info.name, stream


def write_member(stream, path, size, bar):
    """Gets its name when it is whole."""
    part = f"{path}.part"
    with open(part, "wb") as file:
        while chunk := stream.read(CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
        if file.tell() != size:
            raise EOFError(f"{path}: {file.tell():,} of {size:,} bytes")
    os.replace(part, path)


def extract(source, folder):
    """Extracts of the archive what is not there yet, into the source's folder below `folder`."""
    archive, target = folder / source.name, folder / source.into
    members, missing = missing_of(source, folder)
    if missing:
        check_space(target, sum(member.size for member in missing), f"what is in {source.name}")
        wanted, folders = {member.name: member for member in missing}, set()
        with tqdm(
            total=sum(member.size for member in missing),
            unit="B",
            unit_scale=True,
            desc=f"extract {source.name}",
            disable=None,
        ) as bar:
            try:
                for name, stream in (zip_contents if is_zip(archive) else tar_contents)(
                    archive, wanted
                ):
                    path = f"{target}/{wanted[name].path}"
                    if (parent := os.path.dirname(path)) not in folders:
                        os.makedirs(parent, exist_ok=True)
                        folders.add(parent)
                    write_member(stream, path, wanted[name].size, bar)
            except DAMAGED as error:
                raise InputError(
                    f"{archive}: is damaged ({error}); remove it and download it again"
                ) from None
    log.info(
        "%s: %s files in %s (%s extracted now)",
        archive,
        f"{len(members):,}",
        target,
        f"{len(missing):,}",
    )
