"""Archives of dataprep.py.

The tests join parts, extract zip and tar.gz files, refuse dangerous archives, repeat commands and
kill the program at random points.
"""

import errno
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


def some_files():
    """Random contents for nine files in three folders, and an empty file."""
    files = {"top/read me": b""}
    for letter in "xyz":
        for i in range(3):
            data = random.Random(f"{letter}{i}").randbytes(1000 + 700 * i)
            files[f"top/{letter}/{i}.wav"] = data
    return files


FILES = some_files()


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(archives, "CHUNK", 500)


def zipped(path, files):
    """Writes a zip file with {name: contents}. Returns its path."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            file.writestr(name, data)
    return path


def tarred(path, files, prefix="./", mode="w:gz"):
    """Writes a tar.gz file with {name: contents}. `prefix` precedes all names."""
    with tarfile.open(path, mode) as file:
        for name, data in files.items():
            info = tarfile.TarInfo(prefix + name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


MAKERS = {"a.zip": zipped, "a.tar.gz": tarred, "a.tgz": tarred}
kinds = pytest.mark.parametrize("name", MAKERS)


def source_of(path, **fields):
    """An entry of a file list that extracts the archive to out/, without the folder top/."""
    return Source(path.name, **{"into": "out", "after": "top", **fields})


def contents(folder, prefix="top/"):
    """{name in the archive: contents} of the extracted files."""
    return {prefix + name: data for name, data in tree(folder).items()}


# ---------------------------------------------------------------------- extraction
@kinds
def test_extracts_what_is_missing(name, tmp_path):
    source = source_of(MAKERS[name](tmp_path / name, FILES))
    out = tmp_path / "out"
    assert not archives.is_extracted(source, tmp_path)
    archives.extract(source, tmp_path)
    assert contents(out) == FILES
    assert archives.is_extracted(source, tmp_path)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    (out / "x/1.wav").write_bytes(b"half")
    (out / "y/2.wav").unlink()
    assert not archives.is_extracted(source, tmp_path)
    archives.extract(source, tmp_path)
    assert contents(out) == FILES
    written = [path for path, time in times.items() if path.stat().st_mtime_ns != time]
    assert sorted(written) == [out / "x/1.wav", out / "y/2.wav"]
    # The table of members is enough to know that all files are extracted.
    (tmp_path / name).unlink()
    assert archives.is_extracted(source, tmp_path)
    archives.extract(source, tmp_path)


@kinds
@pytest.mark.parametrize(
    "path", ["d/" * 2000 + "a", "n" * 256, ("n" * 200 + "/") * 20 + "a"], ids=range(3)
)
def test_paths_that_no_disk_can_hold(path, name, tmp_path):
    """They are refused before anything is written."""
    source = source_of(MAKERS[name](tmp_path / name, {"first": b"1", path: b"2"}))
    message = "expected paths of at most 2,000 bytes, 255 bytes in a name and 100 folders, found"
    with pytest.raises(InputError, match=f"{name}: {message}"):
        archives.extract(source, tmp_path)
    assert not (tmp_path / "out").exists()


def test_tar_that_is_not_compressed(tmp_path):
    path = tarred(tmp_path / "a.tar", FILES, mode="w")
    archives.extract(source_of(path), tmp_path)
    assert contents(tmp_path / "out") == FILES
    data = path.read_bytes()
    for broken in (data[: len(data) // 2], b"<html>", b""):
        (tmp_path / "b.tar").write_bytes(broken)
        with pytest.raises(InputError, match="b.tar: this zip or tar file is damaged"):
            archives.extract(source_of(tmp_path / "b.tar"), tmp_path)


def test_tar_with_a_huge_header(tmp_path):
    """A header of 8 GB in a tar file that is not compressed is not read."""
    info = tarfile.TarInfo("x")
    info.type = tarfile.GNUTYPE_LONGNAME
    info.size = 1 << 33
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT)[:512] + bytes(1024))
    with pytest.raises(InputError, match="a header has an absurd size"):
        archives.extract(source_of(tmp_path / "a.tar"), tmp_path)


def test_headers_in_a_row(tmp_path):
    """A tar.gz with 2,000 headers of one member, each of which tarfile reads within the last."""
    info = tarfile.TarInfo("x" * 101)
    header = info.tobuf(tarfile.GNU_FORMAT)[:1024]
    end = tarfile.TarInfo("a").tobuf() + bytes(1024)
    (tmp_path / "a.tgz").write_bytes(gzip.compress(header * 2000 + end, 1))
    with pytest.raises(InputError, match=r"a.tgz: this zip or tar file is damaged \(.*recursion"):
        archives.extract(source_of(tmp_path / "a.tgz"), tmp_path)


@kinds
def test_disk_that_is_full_while_extracting(name, tmp_path, capsys):
    """/dev/full is a device without space. The message names the file, and nothing is damaged."""
    MAKERS[name](tmp_path / name, {"top/a.wav": b"1"})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.wav.part").symlink_to("/dev/full")
    with pytest.raises(OSError) as caught:
        archives.extract(source_of(tmp_path / name), tmp_path)
    assert caught.value.filename == str(tmp_path / "out" / "a.wav.part")
    assert caught.value.errno == errno.ENOSPC


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


# ---------------------------------------------------------------------- refused archives
def assert_refused(path, message, **fields):
    """The archive is refused, and nothing is written, in the folder or outside it."""
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
    files = {"good": b"1", bad: b"2"}
    path = tmp_path / "in" / name
    if make is zipped:
        zipped(path, files)
    else:
        tarred(path, files, prefix="")
    assert_refused(path, "expected files inside one folder")
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
    assert path
    assert not {"", ".", ".."} & set(path.split("/"))


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_in_tar(kind, tmp_path):
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as file:
        info = tarfile.TarInfo("link")
        info.type = kind
        info.linkname = "/etc"
        file.addfile(info)
        inside = tarfile.TarInfo("link/passwd")
        inside.size = 1
        file.addfile(inside, io.BytesIO(b"x"))
    assert_refused(tmp_path / "a.tgz", "a link or a device")


def test_link_and_password_in_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        info = zipfile.ZipInfo("link")
        # 3 is Unix, whose archives keep the type of a file in the upper 16 bits.
        info.create_system = 3
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(info, "/etc/passwd")
    assert_refused(tmp_path / "a.zip", "a link or a device")
    data = bytearray(zipped(tmp_path / "b.zip", {"a": b"1"}).read_bytes())
    # Bit 0 of the flags of the member in the central directory: it has a password.
    data[data.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "b.zip").write_bytes(data)
    assert_refused(tmp_path / "b.zip", "without a password")


@kinds
def test_bombs(name, tmp_path):
    assert_refused(
        MAKERS[name](tmp_path / name, {"zeros": bytes(5_000_000)}),
        "expected files of at most 100 times the size of the archive",
    )


@pytest.mark.parametrize(
    "size, message",
    [
        # The contents are cut off, so that their checksum is wrong.
        (50, "is damaged .*CRC"),
        # The checksum of the contents is right. Only their number of bytes shows the damage.
        (200, "is damaged .*out/a has 100 of 200 bytes"),
    ],
)
def test_zip_with_a_wrong_size(size, message, tmp_path):
    """The central directory says that a file of 100 bytes has another size."""
    data = bytearray(zipped(tmp_path / "a.zip", {"a": bytes(100)}).read_bytes())
    entry = data.index(b"PK\1\2")
    data[entry + 24 : entry + 28] = struct.pack("<I", size)
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(InputError, match=message):
        archives.extract(source_of(tmp_path / "a.zip"), tmp_path)
    assert not (tmp_path / "out/a").exists()


def test_tar_header_of_absurd_size(tmp_path):
    info = tarfile.TarInfo("x")
    info.type = tarfile.XHDTYPE
    info.size = 1 << 30
    (tmp_path / "a.tgz").write_bytes(gzip.compress(info.tobuf() + bytes(1024)))
    assert_refused(tmp_path / "a.tgz", "a header has an absurd size")


@kinds
def test_file_that_is_there_twice(name, tmp_path):
    make = MAKERS[name]
    path = tmp_path / name
    if make is zipped:
        # zipfile does not write a name twice, so the second name is changed afterwards.
        zipped(path, {"top/a": b"1", "top/b": b"2"})
        path.write_bytes(path.read_bytes().replace(b"top/b", b"top/a"))
    else:
        make(path, {"top/a": b"1", "./top/a": b"2"})
    assert_refused(path, "expected every file once")
    path.unlink()
    make(path, {"top/a": b"1", "a": b"2"})
    with pytest.raises(InputError, match="two files have the same path"):
        archives.extract(source_of(path), tmp_path)
    assert not (tmp_path / "out").exists()


@kinds
def test_damaged_archives(name, tmp_path):
    data = MAKERS[name](tmp_path / name, FILES).read_bytes()
    half = data[: len(data) // 2]
    with_zeros = data[:3000] + bytes(100) + data[3100:]
    for i, broken in enumerate((half, b"<html>", b"", with_zeros)):
        folder = tmp_path / str(i)
        folder.mkdir()
        (folder / name).write_bytes(broken)
        with pytest.raises(
            InputError, match=r"damaged.*\. Remove this file and download it again\."
        ):
            archives.extract(source_of(folder / name), folder)
        for found, data in contents(folder / "out").items():
            assert found.endswith(".part") or data == FILES[found]


@kinds
def test_full_disk(name, tmp_path, monkeypatch):
    path = MAKERS[name](tmp_path / name, FILES)
    size = sum(len(data) for data in FILES.values())
    archives.members_of(path, source_of(path))
    monkeypatch.setattr(output.shutil, "disk_usage", lambda _: SimpleNamespace(free=size - 1))
    assert_refused(path, "GB of free disk space for the contents of a.")
    monkeypatch.setattr(output.shutil, "disk_usage", lambda _: SimpleNamespace(free=size))
    archives.extract(source_of(path), tmp_path)


# ---------------------------------------------------------------------- joining, kills
@pytest.fixture
def parts(tmp_path, server):
    """Writes the parts of an archive to data/, and list.yaml. Returns options of a command."""
    data = zipped(tmp_path / "whole.zip", FILES).read_bytes()
    folder = tmp_path / "data"
    folder.mkdir()
    files = {
        "parta": data[:3000],
        "partb": data[3000:3001],
        "partc": data[3001:9000],
        "partd": data[9000:],
    }
    fields = {}
    for name, part in files.items():
        (folder / name).write_bytes(part)
        fields[name] = {"md5": hashlib.md5(part).hexdigest()}
    fields["a.zip"] = {
        "md5": hashlib.md5(data).hexdigest(),
        "parts": "part*",
        "into": "out",
        "after": "top",
    }
    listed = catalogue(tmp_path / "list.yaml", server, fields, counts={"out/*/*.wav": 9})
    return ["--save_path", folder, "--file_list", listed]


def test_join_and_extract(parts, tmp_path, server):
    assert run(*parts, "--concatenate") == 0
    joined = tmp_path / "data" / "a.zip"
    assert joined.read_bytes() == (tmp_path / "whole.zip").read_bytes()
    assert not (tmp_path / "data" / "out").exists()
    time = joined.stat().st_mtime_ns
    assert run(*parts, "--concatenate", "--extract") == 0
    assert contents(tmp_path / "data" / "out") == FILES
    assert joined.stat().st_mtime_ns == time
    assert not server.requests


def test_removing_what_is_not_needed_any_more(parts, tmp_path, server):
    """Parts are removed after they are joined, archives after they are extracted.

    Removed files are not downloaded again.
    """
    # --extract joins the parts first.
    assert run(*parts, "--extract", "--remove_archives") == 0
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        "MD5SUMS",
        "a.zip.members",
        "out",
    ]
    assert run(*parts, "--download", "--concatenate", "--extract") == 0
    assert not server.requests
    (tmp_path / "data" / "out" / "x" / "1.wav").unlink()
    assert run(*parts, "--extract") == 2


def test_wrong_whole_keeps_the_parts(parts, tmp_path, capsys):
    listed = tmp_path / "list.yaml"
    md5 = hashlib.md5((tmp_path / "whole.zip").read_bytes()).hexdigest()
    listed.write_text(listed.read_text().replace(md5, "0" * 32))
    assert run(*parts, "--extract", "--remove_archives") == 2
    assert "its parts were kept" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        "MD5SUMS",
        "parta",
        "partb",
        "partc",
        "partd",
    ]


def test_missing_wrong_and_longer_parts(parts, tmp_path, capsys):
    folder = tmp_path / "data"
    # The temporary file is longer than the archive: it belongs to another one.
    (folder / "a.zip.part").write_bytes(bytes(1 << 20))
    (folder / "partb").rename(tmp_path / "partb")
    assert run(*parts, "--concatenate") == 2
    message = "cannot find partb to join. Run 'python dataprep.py download' first"
    assert message in capsys.readouterr().err
    (folder / "partb").write_bytes(b"x")
    assert run(*parts, "--concatenate") == 2
    assert "expected the MD5 sum" in capsys.readouterr().err
    (tmp_path / "partb").rename(folder / "partb")
    assert run(*parts, "--extract") == 0
    assert contents(folder / "out") == FILES


def test_counts(parts, tmp_path, capsys):
    listed = tmp_path / "list.yaml"
    listed.write_text(listed.read_text().replace("out/*/*.wav: 9", "out/*/*.wav: 10"))
    assert run(*parts, "--extract") == 2
    assert "expected 10 files or folders, found 9." in capsys.readouterr().err
    listed.write_text(listed.read_text().replace("out/*/*.wav: 10", "none/*/*.wav: 10"))
    assert run(*parts, "--extract") == 2
    folder = tmp_path / "data" / "none"
    assert f"{folder}: this folder does not exist. Run the same" in capsys.readouterr().err


def test_a_folder_that_does_not_exist(parts, tmp_path, capsys):
    """The message says that the folder does not exist, not that its files are missing."""
    (tmp_path / "data").rename(tmp_path / "old")
    for step in ("--concatenate", "--extract"):
        assert run(*parts, step) == 2
        message = (
            f"--save_path {tmp_path}/data: this folder does not exist. Run 'python dataprep.py"
        )
        assert message in capsys.readouterr().err
    (tmp_path / "data").write_text("a file")
    assert run(*parts, "--extract") == 2
    message = f"--save_path {tmp_path}/data: expected a folder, found a file."
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_points(seed, parts, tmp_path):
    """The program is killed while it joins, reads or extracts an archive."""
    assert kill_until_done([*parts, "--concatenate", "--extract"], seed, 40) > 0
    assert contents(tmp_path / "data" / "out") == FILES
    assert (tmp_path / "data" / "a.zip").read_bytes() == (tmp_path / "whole.zip").read_bytes()
    assert not list((tmp_path / "data").rglob("*.part"))


@pytest.mark.parametrize("seed", range(2))
def test_killed_while_a_tar_is_extracted(seed, tmp_path, server):
    (tmp_path / "data").mkdir()
    tarred(tmp_path / "data" / "a.tgz", FILES)
    listed = catalogue(tmp_path / "list.yaml", server, {"a.tgz": {"into": "out", "after": "top"}})
    words = ["--extract", "--save_path", tmp_path / "data", "--file_list", listed]
    assert kill_until_done(words, seed, 30) > 0
    assert contents(tmp_path / "data" / "out") == FILES
