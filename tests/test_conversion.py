"""Conversion of dataprep.py: samples, damage, resumption after kills at any point, signals, and everything that is checked before it begins."""

import contextlib
import fcntl
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from test_synthetic import contents

import dataprep
from corpus.audio import Audio, find_pcm16
from prep import conversion

ROOT = Path(__file__).parent.parent
FFMPEG = conversion.find_ffmpeg()
fork = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def speech(corpus, tmp_path_factory):
    """m4a/ with 24 files of half a second in two folders; one of 44.1 kHz stereo, an .mp3 and an .opus; read-only."""
    folder = tmp_path_factory.mktemp("speech") / "m4a"
    wav = next((corpus / "wav").rglob("*.wav"))
    words = [FFMPEG, "-v", "error", "-nostdin", "-i", str(wav)]
    for i in range(24):
        path = folder / f"id{i % 2}" / f"{i:05d}.m4a"
        path.parent.mkdir(parents=True, exist_ok=True)
        words += [
            "-ss",
            f"{i / 16}",
            "-t",
            "0.5",
            *(["-ac", "2", "-ar", "44100"] if i == 7 else []),
            str(path),
        ]
    for name in ("a.mp3", "b.opus"):
        words += ["-t", "0.5", str(folder / name)]
    subprocess.run(words, check=True)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    return folder


def convert(*words):
    return dataprep.main(
        ["--convert", *map(str, words), *([] if "--processes" in words else ["--processes", "1"])]
    )


def writable_copy(speech, folder):
    """A few files of it."""
    for path in sorted(speech.rglob("*.m4a"))[::5]:
        target = folder / path.relative_to(speech)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return folder


@pytest.fixture(scope="module")
def wavs(speech, tmp_path_factory):
    """What becomes of it."""
    folder = tmp_path_factory.mktemp("wavs") / "wav"
    before = contents(speech)
    assert (
        convert(speech, "--output", folder, "--processes", "2") == 0 and contents(speech) == before
    )
    return folder


def fake_ffmpeg(folder, script, monkeypatch):
    """Puts another program called ffmpeg first in PATH; only where it is to convert does it run the script."""
    folder.mkdir()
    (folder / "ffmpeg").write_text(
        f"""#!/bin/sh\ncase "$*" in *'-v error'*) {script};; esac\nexec {FFMPEG} "$@"\n"""
    )
    (folder / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


# ---------------------------------------------------------------------- samples
def test_files_are_those_of_the_published_command(speech, wavs, tmp_path):
    sources = [path for path in speech.rglob("*") if path.is_file()]
    assert sorted(contents(wavs)) == sorted(
        [".convert.lock", *(str(path.relative_to(speech).with_suffix(".wav")) for path in sources)]
    )
    for source in sources:
        made = wavs / source.relative_to(speech).with_suffix(".wav")
        subprocess.run(
            [
                FFMPEG,
                "-v",
                "error",
                "-nostdin",
                "-y",
                "-i",
                source,
                "-ac",
                "1",
                "-vn",
                "-acodec",
                "pcm_s16le",
                "-ar",
                "16000",
                tmp_path / "a.wav",
            ],
            check=True,
        )
        np.testing.assert_array_equal(
            soundfile.read(made, dtype="int16")[0],
            soundfile.read(tmp_path / "a.wav", dtype="int16")[0],
        )
        # what the trainer reads fastest, and nothing of ffmpeg's in it
        assert find_pcm16(made.read_bytes(), made.stat().st_size)[0] == 44


def test_flac_holds_the_same(speech, wavs, tmp_path):
    assert (
        convert(speech, "--output", tmp_path / "flac", "--format", "flac", "--processes", "2") == 0
    )
    flacs = sorted((tmp_path / "flac").rglob("*.flac"))
    assert len(flacs) == 26
    for flac in flacs:
        assert soundfile.info(flac).subtype == "PCM_16"
        with (
            Audio(flac) as a,
            Audio(wavs / flac.relative_to(tmp_path / "flac").with_suffix(".wav")) as b,
        ):
            np.testing.assert_array_equal(a.read(0, a.frames), b.read(0, b.frames))


def test_published_command_converts_in_place_and_only_once(speech, wavs, tmp_path, capsys):
    folder = writable_copy(speech, tmp_path / "voxceleb2")
    for made in (5, 0):
        assert dataprep.main(["--save_path", str(tmp_path), "--convert"]) == 0
        assert f"5 files in WAV ({made} made now)" in capsys.readouterr().out
    for path in folder.rglob("*.m4a"):
        name = path.relative_to(folder)
        assert (
            path.read_bytes() == (speech / name).read_bytes()
            and path.with_suffix(".wav").read_bytes()
            == (wavs / name).with_suffix(".wav").read_bytes()
        )


def test_strange_names(speech, tmp_path):
    names = ["-y.m4a", "a b%03d:c'd\".M4A", "é*?[x].m4a"]
    (tmp_path / "http:" / "x").mkdir(parents=True)
    for name in names:
        shutil.copyfile(speech / "id0" / "00000.m4a", tmp_path / "http:" / "x" / name)
    assert convert(tmp_path / "http:") == 0
    assert all((tmp_path / "http:" / "x" / name).with_suffix(".wav").is_file() for name in names)


# ---------------------------------------------------------------------- damage
@pytest.fixture
def damaged(speech, tmp_path):
    """Five good files; in the same folders those that are not."""
    folder = writable_copy(speech, tmp_path / "damaged")
    data = (speech / "id0" / "00000.m4a").read_bytes()
    (folder / "cut.m4a").write_bytes(data[: len(data) // 2])
    words = [
        FFMPEG,
        "-v",
        "error",
        "-nostdin",
        "-i",
        speech / "id0" / "00000.m4a",
        "-c",
        "copy",
        "-movflags",
        "+faststart",
        tmp_path / "x.m4a",
    ]
    subprocess.run(words, check=True)
    data = (tmp_path / "x.m4a").read_bytes()
    (folder / "id0" / "cut_after_its_header.m4a").write_bytes(data[:-2000])
    (folder / "empty.m4a").touch()
    (folder / "id1" / "text.m4a").write_text("<html>404 Not Found</html>")
    subprocess.run(
        [
            FFMPEG,
            "-v",
            "error",
            "-nostdin",
            "-f",
            "lavfi",
            "-i",
            "color=s=16x16:d=0.1",
            folder / "silent_film.mp4",
        ],
        check=True,
    )
    return folder


def test_damaged_files_are_reported_and_stop_nothing(damaged, wavs, capsys):
    for _ in range(2):
        assert convert(damaged, "--processes", "2") == 2
        assert "5 of 10 files cannot be used and are left out" in capsys.readouterr().err
        report = (damaged / "convert_failed.txt").read_text().splitlines()
        expected = {
            "cut.m4a": "moov atom not found",
            "empty.m4a": "moov atom not found",
            "id0/cut_after_its_header.m4a": "partial file",
            "id1/text.m4a": "Invalid data found",
            "silent_film.mp4": "matches no streams",
        }
        for line, (name, message) in zip(report, sorted(expected.items()), strict=True):
            assert (
                line.startswith(f"{damaged}/{name}: ") and message in line and " @ 0x" not in line
            )
        made = {name: data for name, data in contents(damaged).items() if name.endswith(".wav")}
        assert (
            len(made) == 5
            and made.items() <= contents(wavs).items()
            and not [*damaged.rglob("*.part")]
        )
    for name in expected:
        (damaged / name).unlink()
    assert convert(damaged) == 0 and not (damaged / "convert_failed.txt").exists()


def test_torn_files_are_made_again_and_others_are_kept(speech, wavs, tmp_path, capsys):
    folder = writable_copy(speech, tmp_path / "a")
    torn, empty, music = sorted(path.with_suffix(".wav") for path in folder.rglob("*.m4a"))[:3]
    whole = wavs / torn.relative_to(folder)
    torn.write_bytes(whole.read_bytes()[:1000])
    empty.touch()
    soundfile.write(music, np.zeros((100, 2)), 44100)
    before = music.read_bytes()
    assert convert(folder) == 2
    assert (
        f"{music}: is there already, 44100 Hz, 2 channels" in capsys.readouterr().err
        and music.read_bytes() == before
    )
    assert (
        torn.read_bytes() == whole.read_bytes()
        and empty.read_bytes() == (wavs / empty.relative_to(folder)).read_bytes()
    )


# ---------------------------------------------------------------------- interruption
def killed_at(count, processes, folder, output):
    """A conversion that is killed when one of its processes is about to give its file number `count` its name; its workers live on a while."""
    main, replace, calls = os.getpid(), os.replace, []

    def replace_or_kill(part, target):
        calls.append(target)
        if len(calls) == count:
            os.kill(main, signal.SIGKILL)
        replace(part, target)

    os.replace = replace_or_kill
    conversion.convert(folder, output, processes=processes)


# a worker that is left goes on with its share of the files
@pytest.mark.parametrize("processes, kills", [(1, 4), (2, 1)])
def test_killed_at_random_and_run_again(processes, kills, speech, wavs, tmp_path):
    draw = random.Random(processes)
    for _ in range(kills):
        child = fork.Process(
            target=killed_at, args=(draw.randint(1, 6), processes, speech, tmp_path / "a")
        )
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        assert {
            name: data for name, data in contents(tmp_path / "a").items() if name.endswith(".wav")
        }.items() <= contents(wavs).items()
    # waits for workers that are left
    conversion.convert(speech, tmp_path / "a", processes=2)
    assert contents(tmp_path / "a") == contents(wavs)


def test_two_at_a_time_take_turns(speech, wavs, tmp_path):
    (tmp_path / "a").mkdir()
    with open(tmp_path / "a" / conversion.LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        other = threading.Thread(
            target=conversion.convert, args=(speech, tmp_path / "a"), kwargs={"processes": 1}
        )
        other.start()
        other.join(0.2)
        assert other.is_alive() and not [*(tmp_path / "a").rglob("*.wav")]
    other.join()
    assert contents(tmp_path / "a") == contents(wavs)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("processes", ["1", "2"])
def test_signals_leave_no_process_and_no_half_file(
    number, processes, speech, tmp_path, monkeypatch
):
    """SIGINT to all, as Ctrl-C is; SIGTERM to the main process alone. ffmpeg is one that never ends."""
    fake_ffmpeg(tmp_path / "bin", f"touch {tmp_path}/begun; exec sleep 1000", monkeypatch)

    def run():
        os.setsid()
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.default_int_handler)
        sys.exit(convert(speech, "--output", tmp_path / "a", "--processes", processes))

    child = fork.Process(target=run)
    child.start()
    while child.is_alive() and not (tmp_path / "begun").exists():
        time.sleep(0.01)
    (os.killpg if number == signal.SIGINT else os.kill)(child.pid, number)
    child.join(60)
    assert child.exitcode == 130
    with contextlib.suppress(ProcessLookupError):
        # until nobody is left of it
        while os.killpg(child.pid, 0) is None:
            time.sleep(0.01)
    assert [*contents(tmp_path / "a")] == [".convert.lock"]


# ---------------------------------------------------------------------- before it begins
def test_no_room(speech, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 5000, 5000)
    )
    assert convert(speech, "--output", tmp_path / "a") == 2
    err = capsys.readouterr().err
    assert (
        "GB for 26 files in WAV, got 5e-06 GB free" in err
        and "--format flac" in err
        and not [*(tmp_path / "a").rglob("*.wav")]
    )
    need = float(err.split("want ")[1].split()[0]) * 1e9
    assert need == pytest.approx(26 * 0.5 * 32000, rel=0.2)


def test_the_disk_fills_up(speech, tmp_path, monkeypatch, capsys):
    fake_ffmpeg(
        tmp_path / "bin",
        "echo 'Error writing trailer: No space left on device' >&2; exit 228",
        monkeypatch,
    )
    assert convert(speech, "--output", tmp_path / "a", "--processes", "2") == 2
    assert (
        "the disk is full; make room" in capsys.readouterr().err
        and not (tmp_path / "a" / "convert_failed.txt").exists()
    )


def test_which_ffmpeg(tmp_path, monkeypatch, capsys):
    fake_ffmpeg(tmp_path / "bin", "exit 1", monkeypatch)
    assert conversion.find_ffmpeg() == str(tmp_path / "bin" / "ffmpeg")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Path(conversion.find_ffmpeg()).is_file()
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    (tmp_path / "a.m4a").touch()
    assert convert(tmp_path) == 2 and not (tmp_path / ".convert.lock").exists()
    err = capsys.readouterr().err
    assert "found none; install it" in err and f"pip install {conversion.PACKAGE}" in err
    assert conversion.PACKAGE in (ROOT / "requirements-dev.txt").read_text().splitlines()


@pytest.mark.parametrize(
    "words, message",
    [
        (["nowhere"], "got no folder"),
        (["empty"], "want files to convert (.m4a, "),
        (["two"], "two/a.m4a and two/a.mp3: would both become out/a.wav"),
        ([], "is for --convert TREE"),
        (["two", "--extract"], "give --convert alone"),
        (["--save_path", "x"], "is for --convert TREE"),
    ],
)
def test_words_that_are_refused(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for path in ("empty/a.wav", "two/a.m4a", "two/a.mp3"):
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).touch()
    assert convert(*words, "--output", "out") == 2 and not Path("out").exists()
    err = capsys.readouterr().err
    assert (
        all(part in err for part in message.split("and")) if " and " in message else message in err
    )
