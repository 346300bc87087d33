"""Archives of dataprep.py: parts joined, zip and tar.gz extracted; what may not be in one; nothing done twice; kills."""

import gzip
import hashlib
import io
import os
import random
import stat
import struct
import tarfile
import zipfile
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback import catalogue, kill_until_done, run, tree

from common.errors import InputError
from prep import archives, output
from prep.sources import Source

FILES = {
    f"top/{letter}/{i}.wav": random.Random(f"{letter}{i}").randbytes(1000 + 700 * i)
    for letter in "xyz"
    for i in range(3)
} | {"top/read me": b""}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(archives, "CHUNK", 500)


def zipped(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            file.writestr(name, data)
    return path


def tarred(path, files, prefix="./"):
    with tarfile.open(path, "w:gz") as file:
        for name, data in files.items():
            info = tarfile.TarInfo(prefix + name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


MAKERS = {"a.zip": zipped, "a.tar.gz": tarred, "a.tgz": tarred}
kinds = pytest.mark.parametrize("name", MAKERS)


def source_of(path, **fields):
    return Source(path.name, **{"into": "out", "after": "top", **fields})


def contents(folder, prefix="top/"):
    return {prefix + name: data for name, data in tree(folder).items()}


# ---------------------------------------------------------------------- extraction
@kinds
def test_extracts_what_is_missing(name, tmp_path):
    source, out = source_of(MAKERS[name](tmp_path / name, FILES)), tmp_path / "out"
    assert not archives.is_extracted(source, tmp_path)
    archives.extract(source, tmp_path)
    assert contents(out) == FILES and archives.is_extracted(source, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    (out / "x/1.wav").write_bytes(b"half")
    (out / "y/2.wav").unlink()
    assert not archives.is_extracted(source, tmp_path)
    archives.extract(source, tmp_path)
    assert contents(out) == FILES
    assert {
        str(path.relative_to(out))
        for path, time in before.items()
        if path.stat().st_mtime_ns != time
    } == {"x/1.wav", "y/2.wav"}
    # its table is enough to know
    (tmp_path / name).unlink()
    assert archives.is_extracted(source, tmp_path)
    archives.extract(source, tmp_path)


def test_only_and_after(tmp_path):
    path = zipped(
        tmp_path / "a.zip",
        {"wav/id1/a/1.wav": b"1", "dev/wav/id2/wav/1.wav": b"2", "wavs/notes": b"3"},
    )
    archives.extract(source_of(path, after="wav"), tmp_path)
    assert tree(tmp_path / "out") == {
        "id1/a/1.wav": b"1",
        "id2/wav/1.wav": b"2",
        "wavs/notes": b"3",
    }
    archives.extract(source_of(path, into="few", after=None, only=("*/id2/*", "wavs/*")), tmp_path)
    assert tree(tmp_path / "few") == {"dev/wav/id2/wav/1.wav": b"2", "wavs/notes": b"3"}


def test_archive_that_was_replaced_is_looked_through_again(tmp_path):
    source = source_of(zipped(tmp_path / "a.zip", {"a": b"1"}))
    archives.extract(source, tmp_path)
    table = tmp_path / "a.zip.members"
    zipped(tmp_path / "a.zip", {"a": b"1", "b": b"2"})
    os.utime(table, (1, 1))
    archives.extract(source, tmp_path)
    assert tree(tmp_path / "out") == {"a": b"1", "b": b"2"}


def test_converted_files_count_as_extracted(tmp_path):
    source = source_of(zipped(tmp_path / "a.zip", {"a/1.m4a": b"11", "a/2.wav": b"22"}))
    archives.extract(source, tmp_path)
    (tmp_path / "out/a/1.m4a").rename(tmp_path / "out/a/1.wav")
    assert archives.is_extracted(source, tmp_path)
    (tmp_path / "out/a/2.wav").rename(tmp_path / "out/a/2.flac")
    assert not archives.is_extracted(source, tmp_path)


# ---------------------------------------------------------------------- what may not be in an archive
def refused(path, message, **fields):
    """Nothing is extracted, in the folder or outside of it."""
    before = tree(path.parent)
    with pytest.raises(InputError, match=message):
        archives.extract(source_of(path, **fields), path.parent)
    assert tree(path.parent) == before


@kinds
@pytest.mark.parametrize(
    "bad",
    ["../evil", "/evil", "top/../../evil", "top\\..\\evil", "C:/evil", "a\nb", "..", "./../evil"],
)
def test_names_that_lead_outside(name, bad, tmp_path):
    make = MAKERS[name]
    (tmp_path / "in").mkdir()
    path = (
        make(tmp_path / "in" / name, {"good": b"1", bad: b"2"})
        if make is zipped
        else make(tmp_path / "in" / name, {"good": b"1", bad: b"2"}, "")
    )
    refused(path, "want names of files below the folder")
    assert list(tmp_path.iterdir()) == [tmp_path / "in"]


@given(
    st.lists(
        st.sampled_from(["..", ".", "", "a", "top", "b c", "...", "C:", "\\"]),
        min_size=1,
        max_size=6,
    )
)
def test_every_path_stays_below_or_is_refused(words):
    try:
        path = archives.path_of("/".join(words), "a.zip", "top")
    except InputError:
        return
    assert (
        path
        and not path.startswith("/")
        and all(word not in ("", ".", "..") for word in path.split("/"))
    )


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_in_tar(kind, tmp_path):
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as file:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = kind, "/etc"
        file.addfile(info)
        inside = tarfile.TarInfo("link/passwd")
        inside.size = 1
        file.addfile(inside, io.BytesIO(b"x"))
    refused(tmp_path / "a.tgz", "a link or a device")


def test_link_and_password_in_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        info = zipfile.ZipInfo("link")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        file.writestr(info, "/etc/passwd")
    refused(tmp_path / "a.zip", "a link or a device")
    data = bytearray(zipped(tmp_path / "b.zip", {"a": b"1"}).read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "b.zip").write_bytes(data)
    refused(tmp_path / "b.zip", "without a password")


@kinds
def test_bombs(name, tmp_path):
    refused(
        MAKERS[name](tmp_path / name, {"zeros": bytes(5_000_000)}),
        "want at most 100 times the size of the archive",
    )


def test_zip_that_lies_about_a_size(tmp_path):
    data = bytearray(zipped(tmp_path / "a.zip", {"a": bytes(100)}).read_bytes())
    at = data.index(b"PK\1\2")
    data[at + 24 : at + 28] = struct.pack("<I", 50)
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(InputError, match="is damaged"):
        archives.extract(source_of(tmp_path / "a.zip"), tmp_path)
    assert not (tmp_path / "out/a").exists()


def test_tar_header_of_absurd_size(tmp_path):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 30
    (tmp_path / "a.tgz").write_bytes(gzip.compress(info.tobuf() + bytes(1024)))
    refused(tmp_path / "a.tgz", "a header of absurd size")


@kinds
def test_file_that_is_there_twice(name, tmp_path):
    make, path = MAKERS[name], tmp_path / name
    if make is zipped:
        path.write_bytes(
            zipped(path, {"top/a": b"1", "top/b": b"2"}).read_bytes().replace(b"top/b", b"top/a")
        )
    else:
        make(path, {"top/a": b"1", "./top/a": b"2"})
    refused(path, "want every file once")
    path.unlink()
    make(path, {"top/a": b"1", "a": b"2"})
    with pytest.raises(InputError, match="two files have the same place"):
        archives.extract(source_of(path), tmp_path)
    assert not (tmp_path / "out").exists()


@kinds
def test_damaged_archives(name, tmp_path):
    data = MAKERS[name](tmp_path / name, FILES).read_bytes()
    for i, broken in enumerate(
        (data[: len(data) // 2], b"<html>", b"", data[:3000] + bytes(100) + data[3100:])
    ):
        folder = tmp_path / str(i)
        folder.mkdir()
        (folder / name).write_bytes(broken)
        with pytest.raises(InputError, match="damaged.*; remove it and download it again"):
            archives.extract(source_of(folder / name), folder)
        assert all(
            FILES[found] == data
            for found, data in contents(folder / "out").items()
            if not found.endswith(".part")
        )


@kinds
def test_full_disk(name, tmp_path, monkeypatch):
    path, size = MAKERS[name](tmp_path / name, FILES), sum(map(len, FILES.values()))
    archives.members_of(path, source_of(path))
    monkeypatch.setattr(output.shutil, "disk_usage", lambda _: SimpleNamespace(free=size - 1))
    refused(path, "GB of free disk for what is in")
    monkeypatch.setattr(output.shutil, "disk_usage", lambda _: SimpleNamespace(free=size))
    archives.extract(source_of(path), tmp_path)


# ---------------------------------------------------------------------- joining, kills
@pytest.fixture
def parts(tmp_path, server):
    """data/ with the parts of an archive, and list.yaml -> words of a command but for its step."""
    data, folder = zipped(tmp_path / "whole.zip", FILES).read_bytes(), tmp_path / "data"
    folder.mkdir()
    cuts = [0, 3000, 3001, 9000, len(data)]
    files = {
        f"part{letter}": data[a:b] for letter, a, b in zip("abcd", cuts, cuts[1:], strict=False)
    }
    for name, part in files.items():
        (folder / name).write_bytes(part)
    sums = {name: {"md5": hashlib.md5(part).hexdigest()} for name, part in files.items()}
    sums["a.zip"] = {
        "md5": hashlib.md5(data).hexdigest(),
        "parts": "part*",
        "into": "out",
        "after": "top",
    }
    return [
        "--save_path",
        folder,
        "--file_list",
        catalogue(tmp_path / "list.yaml", server, sums, counts={"out/*/*.wav": 9}),
    ]


def test_join_and_extract(parts, tmp_path, server):
    assert run(*parts, "--concatenate") == 0
    joined = tmp_path / "data" / "a.zip"
    assert (
        joined.read_bytes() == (tmp_path / "whole.zip").read_bytes()
        and not (tmp_path / "data" / "out").exists()
    )
    time = joined.stat().st_mtime_ns
    assert run(*parts, "--concatenate", "--extract") == 0
    assert (
        contents(tmp_path / "data" / "out") == FILES
        and joined.stat().st_mtime_ns == time
        and not server.requests
    )


def test_removing_what_is_not_needed_any_more(parts, tmp_path, server):
    """Parts when the whole is right, archives when their files are there; and nothing is downloaded again for that."""
    # joins too
    assert run(*parts, "--extract", "--remove_archives") == 0
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        "MD5SUMS",
        "a.zip.members",
        "out",
    ]
    assert run(*parts, "--download", "--concatenate", "--extract") == 0 and not server.requests
    (tmp_path / "data" / "out" / "x" / "1.wav").unlink()
    assert run(*parts, "--extract") == 2


def test_wrong_whole_keeps_the_parts(parts, tmp_path, capsys):
    listed = tmp_path / "list.yaml"
    listed.write_text(
        listed.read_text().replace(
            hashlib.md5((tmp_path / "whole.zip").read_bytes()).hexdigest(), "0" * 32
        )
    )
    assert run(*parts, "--extract", "--remove_archives") == 2
    assert "its parts are kept" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        "MD5SUMS",
        "parta",
        "partb",
        "partc",
        "partd",
    ]


def test_missing_wrong_and_longer_parts(parts, tmp_path, capsys):
    folder = tmp_path / "data"
    # of another archive
    (folder / "a.zip.part").write_bytes(bytes(1 << 20))
    (folder / "partb").rename(tmp_path / "partb")
    assert (
        run(*parts, "--concatenate") == 2
        and "want partb to be joined, got no such files; run --download first"
        in capsys.readouterr().err
    )
    (folder / "partb").write_bytes(b"x")
    assert run(*parts, "--concatenate") == 2 and "want MD5" in capsys.readouterr().err
    (tmp_path / "partb").rename(folder / "partb")
    assert run(*parts, "--extract") == 0 and contents(folder / "out") == FILES


def test_counts(parts, tmp_path, capsys):
    listed = tmp_path / "list.yaml"
    listed.write_text(listed.read_text().replace("out/*/*.wav: 9", "out/*/*.wav: 10"))
    assert run(*parts, "--extract") == 2 and "want 10 files, got 9" in capsys.readouterr().err


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_points(seed, parts, tmp_path):
    """Between any two steps of joining, looking through and extraction."""
    assert kill_until_done([*parts, "--concatenate", "--extract"], seed, 40) > 0
    assert (
        contents(tmp_path / "data" / "out") == FILES
        and (tmp_path / "data" / "a.zip").read_bytes() == (tmp_path / "whole.zip").read_bytes()
    )
    assert not list((tmp_path / "data").rglob("*.part"))


@pytest.mark.parametrize("seed", range(2))
def test_killed_while_a_tar_is_extracted(seed, tmp_path, server):
    (tmp_path / "data").mkdir()
    tarred(tmp_path / "data" / "a.tgz", FILES)
    listed = catalogue(tmp_path / "list.yaml", server, {"a.tgz": {"into": "out", "after": "top"}})
    assert (
        kill_until_done(
            ["--extract", "--save_path", tmp_path / "data", "--file_list", listed], seed, 30
        )
        > 0
    )
    assert contents(tmp_path / "data" / "out") == FILES
