"""The files of prep/catalogues/*.yaml, what is known of each, and which of them are there: those with the right MD5 sum, which is kept in MD5SUMS beside them."""

import fnmatch
import hashlib
import os
import re
import threading
from pathlib import Path
from typing import NamedTuple

import yaml
from tqdm import tqdm

from common.errors import InputError
from common.writing import write_atomically

LISTS = Path(__file__).parent / "catalogues"
# in the format of md5sum -c
SUMS = "MD5SUMS"
# bytes read at once
CHUNK = 1 << 20
MD5, NUMBER, NAME = "[0-9a-f]{32}", "[0-9]+", r"[\w.+-]*\w"
FORMS = {
    "md5": MD5,
    "size": NUMBER,
    "lines": NUMBER,
    "url": r"https?://\S+",
    "folder": r"[\w.-]+",
    "parts": r"\S+",
    "into": r"\S+",
    "after": r"[^\s/]+",
    "tree": r"\S+",
}
write_sums = threading.Lock()


class Source(NamedTuple):
    """One file; what the fields mean: prep/catalogues/voxceleb.yaml. parts: names in order."""

    name: str
    md5: str | None = None
    size: int | None = None
    lines: int | None = None
    url: str | None = None
    folder: str = ""
    parts: tuple = ()
    into: str | None = None
    after: str | None = None
    only: tuple = ("*",)
    tree: str | None = None


class Catalogue(NamedTuple):
    """sources: list of Source. counts: {pattern: number of such files}."""

    base_url: str
    key_url: str | None
    sources: list
    counts: dict


def read_source(place, name, fields, names):
    """Fields of one name, all text -> Source."""
    if not re.fullmatch(NAME, name) or not isinstance(fields, dict):
        raise InputError(
            f"{place}: want 'name: {{field: value, ...}}', the name without folders, got {name}: {fields}; correct it"
        )
    only = fields.get("only", ["*"])
    for field, value in fields.items():
        if field == "only" and isinstance(value, list):
            continue
        if (
            field not in FORMS
            or not isinstance(value, str)
            or not re.fullmatch(FORMS[field], value)
        ):
            raise InputError(
                f"{place}: {name}: want the fields {', '.join(FORMS)}, only, MD5 sums of 32 digits and whole numbers, got {field}: {value}; "
                "correct it"
            )
    parts = sorted(fnmatch.filter(names, fields["parts"])) if "parts" in fields else []
    if "parts" in fields and (not parts or name in parts):
        raise InputError(
            f"{place}: {name}: want the parts {fields['parts']} among the names, and not itself, got {', '.join(parts) or 'none'}; correct it"
        )
    numbers = {field: int(fields[field]) for field in ("size", "lines") if field in fields}
    return Source(**{**fields, **numbers, "name": name, "parts": tuple(parts), "only": tuple(only)})


def read_catalogue(path):
    """A file like prep/catalogues/voxceleb.yaml -> Catalogue."""
    try:
        # all values are text
        table = yaml.load(Path(path).read_text(encoding="utf-8"), yaml.BaseLoader)
        files, counts = table["files"], table.get("counts", {})
        names = list(files)
        sources = [read_source(path, name, fields, names) for name, fields in files.items()]
        return Catalogue(
            table["base_url"],
            table.get("key_url"),
            sources,
            {pattern: int(number) for pattern, number in counts.items()},
        )
    except InputError:
        raise
    except (
        yaml.YAMLError,
        UnicodeDecodeError,
        KeyError,
        TypeError,
        AttributeError,
        ValueError,
    ) as error:
        raise InputError(
            f"{path}: want YAML with base_url, files and perhaps counts, as prep/catalogues/voxceleb.yaml, got something else "
            f"({' '.join(str(error).split())}); correct it"
        ) from None


# ---------------------------------------------------------------------- what is there
def read_sums(folder):
    """-> {name: MD5} of the files that were found to be whole."""
    path = folder / SUMS
    lines = path.read_text().splitlines() if path.exists() else []
    return {
        name: md5
        for md5, name in (
            line.split(maxsplit=1) for line in lines if re.fullmatch(rf"{MD5} +\S+", line)
        )
    }


def record_sum(folder, name, md5):
    with write_sums:
        sums = {**read_sums(folder), name: md5}
        write_atomically(
            folder / SUMS,
            "".join(f"{md5}  {name}\n" for name, md5 in sorted(sums.items())).encode(),
        )


def md5_of(path):
    digest = hashlib.md5(usedforsecurity=False)
    with (
        open(path, "rb") as file,
        tqdm(
            total=os.path.getsize(path),
            unit="B",
            unit_scale=True,
            desc=f"verify {Path(path).name}",
            leave=False,
            disable=None,
        ) as bar,
    ):
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest.hexdigest()


def verify(path, source, folder):
    """Is the file at `path` what the source should be? Its MD5 sum is recorded; InputError if not."""
    size, wanted = os.path.getsize(path), source.md5 or read_sums(folder).get(source.name)
    if source.size not in (None, size):
        raise InputError(f"{path}: want {source.size:,} bytes, got {size:,}")
    got = md5_of(path)
    if wanted not in (None, got):
        first = (
            ""
            if source.md5
            else f", that of the first download (if that one was wrong, remove its line in {SUMS})"
        )
        raise InputError(f"{path}: want MD5 {wanted}{first}, got {got}")
    if source.lines:
        with open(path, "rb") as file:
            lines = sum(1 for line in file if line.strip())
        if lines != source.lines:
            raise InputError(f"{path}: want {source.lines:,} lines, got {lines:,}")
    record_sum(folder, source.name, got)


def is_there(source, folder):
    """Is it there under its name, and whole? Seen once, it is believed. InputError if something else has its name."""
    path = folder / source.name
    if not path.is_file():
        return False
    recorded = read_sums(folder).get(source.name)
    if not recorded or source.md5 not in (None, recorded):
        try:
            verify(path, source, folder)
        except InputError as error:
            raise InputError(
                f"{error}; move it away to have it made anew, or correct the file list"
            ) from None
    return True


def check_counts(catalogue, folder):
    """InputError unless there are as many files as the catalogue says; those that differ in their extension alone are one."""
    for pattern, wanted in catalogue.counts.items():
        got = len({os.path.splitext(path)[0] for path in folder.glob(pattern)})
        if got != wanted:
            raise InputError(
                f"{folder / pattern}: want {wanted:,} files, got {got:,}; run --extract again, or correct the counts in the file list"
            )
