"""No two processes share a temporary file, and nothing stays of files that were being written.

Temporary files have names of their own, or their folder is locked.
"""

import fcntl
import io
import logging
import os
import threading
import zipfile

import pytest

from common.writing import remove_parts, write_atomically
from prep import archives, download, pack
from prep.output import LOCK, exclusive_access
from prep.sources import Source


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_part_of_a_living_process_stays(tmp_path, monkeypatch):
    """While a process writes, another one looks for the parts of killed processes."""
    (tmp_path / "a.txt.0123abcd.part").write_text("of a killed process")
    (tmp_path / "a.txt.part").write_text("of another program")
    (tmp_path / "mine.part").write_text("of another program")
    before = ["a.txt.part", "mine.part"]
    parts = []

    def fsync(_):
        remove_parts(tmp_path.glob("*.part"))
        parts.extend(set(names_in(tmp_path)) - {*before})

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomically(tmp_path / "a.txt", b"whole")
    assert len(parts) == 1 and parts[0].startswith("a.txt.")
    assert names_in(tmp_path) == ["a.txt", *before]
    assert (tmp_path / "a.txt").read_bytes() == b"whole"


# ---------------------------------------------------------------------- locked folders
def archive_of(folder):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        file.writestr("top/a.txt", b"a")
    (folder / "a.zip").write_bytes(data.getvalue())
    return Source("a.zip", into="out")


def extract(folder, _):
    archives.extract(archive_of(folder), folder)


def join(folder, _):
    for name in ("b.0", "b.1"):
        (folder / name).write_text(name)
    archives.join_parts(Source("b", parts=("b.0", "b.1")), folder)


def fetch(folder, monkeypatch):
    monkeypatch.setattr(download, "job_of", lambda source, *_: download.Job(source, *[None] * 5))
    monkeypatch.setattr(download, "run_jobs", lambda *_: (folder / "c").write_text("c"))
    download.download([Source("c")], folder, None, None)


def pack_up(folder, monkeypatch):
    monkeypatch.setattr(pack, "recordings_of", lambda options: {})
    monkeypatch.setattr(pack, "begin_record", lambda *_: None)
    monkeypatch.setattr(pack, "pack_missing", lambda *_: (folder / "00000.pcm").touch())
    pack.make_pack(pack.PackOptions([], folder, folder, 1, 1))


@pytest.mark.parametrize(
    "work, made", [(extract, "out"), (join, "b"), (fetch, "c"), (pack_up, "00000.pcm")]
)
def test_a_command_waits_for_another_one_in_its_folder(work, made, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    with open(tmp_path / LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=work, args=(tmp_path, monkeypatch))
        thread.start()
        thread.join(0.2)
        assert thread.is_alive() and not (tmp_path / made).exists()
    thread.join(30)
    assert (tmp_path / made).exists() and not (tmp_path / LOCK).exists()
    assert "another command works in this folder" in caplog.text


def test_the_lock_of_a_removed_file_is_none(tmp_path):
    """The other command removes the file at its end, and a third one may already have a new one."""
    events = []

    def work():
        with exclusive_access(tmp_path):
            events.append("second")

    with exclusive_access(tmp_path):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(0.2)
        events.append("first")
        (tmp_path / LOCK).unlink()
    thread.join(30)
    assert events == ["first", "second"] and not names_in(tmp_path)


def test_a_folder_without_permission_is_not_locked(tmp_path, monkeypatch):
    """The work itself names the file that it cannot write."""

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("prep.output.locked", refuse)
    with exclusive_access(tmp_path):
        assert not names_in(tmp_path)
