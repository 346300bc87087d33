"""The file lists prep/catalogues/*.yaml, and which of their files are on the disk.

A file counts as present when its MD5 sum is right. The sum is then kept in the file MD5SUMS of the
same folder.
"""

import contextlib
import fnmatch
import hashlib
import os
import re
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml
from tqdm import tqdm

from common.errors import InputError
from common.foreign_files import foreign_file
from common.spelling import did_you_mean
from common.writing import write_atomically
from prep.output import require_folder

# Recorded MD5 sums, in the format of md5sum -c.
SUMS = "MD5SUMS"
# Number of bytes that are read at once.
CHUNK = 1 << 20
MD5 = "[0-9a-f]{32}"
NUMBER = "[0-9]+"
NAME = r"[\w.+-]*\w"


class Form(NamedTuple):
    """The form of a field of a file.

    pattern: a regular expression for the value.
    text: what the value must be, for messages.
    """

    pattern: str
    text: str


# A list has no pattern.
A_LIST = Form("", "a list of patterns")
FORMS = {
    "md5": Form(MD5, "32 hexadecimal digits"),
    "sha256": Form("[0-9a-f]{64}", "64 hexadecimal digits"),
    "size": Form(NUMBER, "a number of bytes"),
    "lines": Form(NUMBER, "a number of lines"),
    "url": Form(r"https?://\S+", "a URL http://... or https://..."),
    "folder": Form(r"[\w.-]+", "a part of the URL without slashes"),
    "parts": Form(r"\S+", "a pattern of names without blanks"),
    "into": Form(r"(?!/)(?!(\S*/)?\.\.(/|$))\S+", "a folder below --save_path, without blanks"),
    "after": Form(r"[^\s/]+", "the name of a folder, without blanks and slashes"),
    "tree": Form(r"\S+", "a folder without blanks"),
    "only": A_LIST,
}
# Threads that download record their sums in one file.
sums_lock = threading.Lock()


class Source(NamedTuple):
    """One file of a file list. prep/catalogues/voxceleb.yaml explains the fields.

    parts: names of the parts, in their order.
    only: patterns of the members that are extracted.
    remote: name of the file at the host, if it is another one.
    others: number of lines -> name, of the other lists in the file list.
    """

    name: str
    md5: str | None = None
    sha256: str | None = None
    size: int | None = None
    lines: int | None = None
    url: str | None = None
    folder: str = ""
    parts: tuple[str, ...] = ()
    into: str | None = None
    after: str | None = None
    only: tuple[str, ...] = ("*",)
    tree: str | None = None
    remote: str | None = None
    others: Mapping[int, str] = MappingProxyType({})


class Catalogue(NamedTuple):
    """A file list.

    base_url, key_url: templates of URLs, key_url for hosts that need an access key.
    counts: pattern -> number of the files or folders that match it after the extraction.
    """

    base_url: str
    key_url: str | None
    sources: list[Source]
    counts: dict[str, int]


def bytes_bar(description: str, total: int, **more: Any) -> tqdm:
    """Returns a progress bar that counts bytes. It stays invisible without a terminal."""
    return tqdm(total=total, unit="B", unit_scale=True, desc=description, disable=None, **more)


# ---------------------------------------------------------------------- file lists
def check_fields(
    place: Path, name: str, fields: Mapping[str, Any], forms: Mapping[str, Form]
) -> None:
    """Raises InputError for an unknown field, and for a value of the wrong form.

    place: path of the catalogue. name: what has the fields, both for messages.
    """
    for field, value in fields.items():
        if field not in forms:
            fields_text = f"The fields are {', '.join(forms)}."
            raise InputError(
                f"{place}: {name} has the unknown field '{field}: {value}'. "
                f"{did_you_mean(field, forms, fields_text)}"
            )
        if not has_form(value, forms[field]):
            raise InputError(
                f"{place}: {name} has a wrong field: expected {forms[field].text}, found "
                f"'{field}: {value}'. Correct this field."
            )


def has_form(value: Any, form: Form) -> bool:
    """Whether the value of a field has its form."""
    if form is A_LIST:
        return isinstance(value, list)
    return isinstance(value, str) and bool(re.fullmatch(form.pattern, value))


def read_source(place: Path, name: str, fields: dict[str, Any], names: list[str]) -> Source:
    """Returns one file of a file list.

    place: path of the file list, for messages.
    fields: the fields of the file, all of them text.
    names: the names of all files in the file list.
    Raises InputError for wrong names, wrong fields and missing parts.
    """
    if not re.fullmatch(NAME, name) or not isinstance(fields, dict):
        raise InputError(
            f"{place}: expected 'name: {{field: value, ...}}' with a name without folders, found "
            f"'{name}: {fields}'. Correct this file of the list."
        )
    check_fields(place, f"the file {name}", fields, FORMS)
    parts = []
    if "parts" in fields:
        parts = sorted(fnmatch.filter(names, fields["parts"]))
        if not parts or name in parts:
            raise InputError(
                f"{place}: the file {name} has the wrong field 'parts: {fields['parts']}': "
                "expected a pattern that matches other files of the list and not the file itself, "
                f"found {', '.join(parts) or 'no file'}. Correct this field."
            )
    values = dict(fields)
    for field in ("size", "lines"):
        if field in fields:
            values[field] = int(fields[field])
    values["name"] = name
    values["parts"] = tuple(parts)
    values["only"] = tuple(fields.get("only", ["*"]))
    return Source(**values)


@contextlib.contextmanager
def load_catalogue_file(path: Path, keys: str, example: str) -> Iterator[Any]:
    """Context that yields the contents of a YAML file. All values are read as text.

    keys: the keys that the file must have, for messages. example: the name of a file in
    prep/catalogues/. Raises InputError if the file is no YAML, or if the context finds another
    structure.
    """

    def problem(text: str) -> str:
        return (
            f"expected YAML with {keys}, found something else ({text}). Correct the file: "
            f"prep/catalogues/{example} is an example."
        )

    with foreign_file(path, problem):
        # The base loader reads all values as text.
        yield yaml.load(Path(path).read_text(encoding="utf-8"), yaml.BaseLoader)


def read_catalogue(path: Path) -> Catalogue:
    """Reads a file list such as prep/catalogues/voxceleb.yaml. Raises InputError if it is wrong."""
    with load_catalogue_file(path, "base_url and files", "voxceleb.yaml") as table:
        files = table["files"]
        counts = table.get("counts", {})
        names = list(files)
        sources = [read_source(path, name, fields, names) for name, fields in files.items()]
        others = {source.lines: source.name for source in sources if source.lines}
        return Catalogue(
            table["base_url"],
            table.get("key_url"),
            [source._replace(others=others) for source in sources],
            {pattern: int(number) for pattern, number in counts.items()},
        )


# ---------------------------------------------------------------------- files on the disk
def read_sums(folder: Path) -> dict[str, str]:
    """Returns the recorded MD5 sums of the files that were found to be complete, by name."""
    path = folder / SUMS
    sums = {}
    if path.exists():
        for line in path.read_text().splitlines():
            if re.fullmatch(rf"{MD5} +\S+", line):
                md5, name = line.split(maxsplit=1)
                sums[name] = md5
    return sums


def record_sum(folder: Path, name: str, md5: str) -> None:
    """Records the MD5 sum of a file."""
    with sums_lock:
        sums = {**read_sums(folder), name: md5}
        lines = [f"{md5}  {name}\n" for name, md5 in sorted(sums.items())]
        write_atomically(folder / SUMS, "".join(lines).encode())


def sum_of(path: Path, kind: str) -> str:
    """Returns the checksum of a file in hexadecimal digits. kind: "md5" or "sha256"."""
    digest = hashlib.new(kind, usedforsecurity=False)
    bar = bytes_bar(f"verify {Path(path).name}", os.path.getsize(path), leave=False)
    with open(path, "rb") as file, bar:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest.hexdigest()


def count_lines(path: Path) -> int:
    """Counts the lines of a file that are not blank."""
    with open(path, "rb") as file:
        return sum(1 for line in file if line.strip())


def verify(path: Path, source: Source, folder: Path) -> None:
    """Compares the file at `path` with its source, and records its MD5 sum.

    A source without an MD5 sum is compared with the sum of its first download, if there is one.
    Raises InputError if the size, the sum or the number of lines differs. Its message ends with a
    period, and the caller adds what to do.
    """
    size = os.path.getsize(path)
    if source.size not in (None, size):
        raise InputError(f"{path}: expected {source.size:,} bytes, found {size:,} bytes.")
    expected = source.md5 or read_sums(folder).get(source.name)
    md5 = sum_of(path, "md5")
    if expected not in (None, md5):
        origin = ""
        if not source.md5:
            origin = (
                " The expected sum belongs to the first download. If the first download was "
                f"wrong, remove the line of this file in {folder / SUMS}."
            )
        raise InputError(f"{path}: expected the MD5 sum {expected}, found {md5}.{origin}")
    if source.sha256:
        sha256 = sum_of(path, "sha256")
        if sha256 != source.sha256:
            raise InputError(f"{path}: expected the SHA-256 sum {source.sha256}, found {sha256}.")
    if source.lines:
        lines = count_lines(path)
        if lines != source.lines:
            version = ""
            if lines in source.others:
                version = f" as in {source.others[lines]}: this is another version of the list"
            raise InputError(
                f"{path}: expected {source.lines:,} lines, found {lines:,} lines{version}."
            )
    record_sum(folder, source.name, md5)


def is_there(source: Source, folder: Path) -> bool:
    """Whether the file exists under its name and is complete.

    A file with a recorded sum is not read again. Raises InputError if another file has the name.
    """
    path = folder / source.name
    if not path.is_file():
        return False
    recorded = read_sums(folder).get(source.name)
    if not recorded or source.md5 not in (None, recorded):
        try:
            verify(path, source, folder)
        except InputError as error:
            raise InputError(
                f"{error} Move this file away and run the same command again, or correct the "
                "file list."
            ) from None
    return True


def check_counts(catalogue: Catalogue, folder: Path) -> None:
    """Raises InputError unless the folder has the number of files that the catalogue gives.

    Files that differ only in their extension count as one.
    """
    for pattern, expected in catalogue.counts.items():
        stems = {os.path.splitext(path)[0] for path in folder.glob(pattern)}
        if len(stems) != expected:
            # The folders of the pattern before its first wildcard.
            fixed = re.split(r"[^/]*[*?\[]", pattern)[0]
            remedy = "Run the same command again, or correct the counts in the file list."
            require_folder(folder / fixed, remedy)
            raise InputError(
                f"{folder / pattern}: expected {expected:,} files or folders, found "
                f"{len(stems):,}. {remedy}"
            )
