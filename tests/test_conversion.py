"""Conversion of compressed speech by dataprep.py.

The tests compare samples, convert damaged files, resume after kills and signals, and check what is
refused before the conversion begins.
"""

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
from corpus.ffmpeg import PACKAGE
from prep import conversion
from prep.output import LOCK

ROOT = Path(__file__).parent.parent
FFMPEG = conversion.find_ffmpeg()
fork = multiprocessing.get_context("fork")


def run_ffmpeg(*words):
    subprocess.run([FFMPEG, "-v", "error", "-nostdin", "-y", *words], check=True)


@pytest.fixture(scope="module")
def speech(corpus, tmp_path_factory):
    """A read-only folder m4a/ with 26 files of half a second.

    24 are .m4a files in two folders, one of them with 44.1 kHz and two channels. The others are an
    .mp3 and an .opus file.
    """
    folder = tmp_path_factory.mktemp("speech") / "m4a"
    wav = next((corpus / "wav").rglob("*.wav"))
    words = ["-i", wav]
    for i in range(24):
        path = folder / f"id{i % 2}" / f"{i:05d}.m4a"
        path.parent.mkdir(parents=True, exist_ok=True)
        words += ["-ss", f"{i / 16}", "-t", "0.5"]
        if i == 7:
            words += ["-ac", "2", "-ar", "44100"]
        words.append(path)
    for name in ("a.mp3", "b.opus"):
        words += ["-t", "0.5", folder / name]
    run_ffmpeg(*words)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    return folder


def convert(*words):
    """Runs --convert, with one process by default. Returns the exit code."""
    if "--processes" not in words:
        words += ("--processes", "1")
    return dataprep.main(["--convert", *map(str, words)])


def writable_copy(speech, folder):
    """Copies five of the files to a writable folder."""
    for path in sorted(speech.rglob("*.m4a"))[::5]:
        target = folder / path.relative_to(speech)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return folder


@pytest.fixture(scope="module")
def wavs(speech, tmp_path_factory):
    """The converted files of `speech`."""
    folder = tmp_path_factory.mktemp("wavs") / "wav"
    before = contents(speech)
    assert convert(speech, "--output", folder, "--processes", "2") == 0
    assert contents(speech) == before
    return folder


def wav_files(folder):
    """The contents of the .wav files below a folder."""
    return {name: data for name, data in contents(folder).items() if name.endswith(".wav")}


def fake_ffmpeg(folder, script, monkeypatch):
    """Puts another program called ffmpeg first in PATH.

    When it is called for a conversion, it runs the script. Otherwise it runs the real ffmpeg.
    """
    folder.mkdir()
    program = [
        "#!/bin/sh",
        f"""case "$*" in *'-v error'*) {script};; esac""",
        f'exec {FFMPEG} "$@"',
    ]
    (folder / "ffmpeg").write_text("\n".join(program) + "\n")
    (folder / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


# ---------------------------------------------------------------------- samples
def test_files_equal_those_of_the_published_command(speech, wavs, tmp_path):
    """The command of voxceleb_trainer gives the same samples."""
    sources = [path for path in speech.rglob("*") if path.is_file()]
    names = [str(path.relative_to(speech).with_suffix(".wav")) for path in sources]
    assert sorted(contents(wavs)) == sorted(names)
    for source in sources:
        converted = wavs / source.relative_to(speech).with_suffix(".wav")
        expected = tmp_path / "a.wav"
        published = ["-ac", "1", "-vn", "-acodec", "pcm_s16le", "-ar", "16000"]
        run_ffmpeg("-i", source, *published, expected)
        np.testing.assert_array_equal(
            soundfile.read(converted, dtype="int16")[0],
            soundfile.read(expected, dtype="int16")[0],
        )
        # The samples begin after a header of 44 bytes: ffmpeg has added no metadata, and the
        # trainer can read the file in the fastest way.
        assert find_pcm16(converted.read_bytes(), converted.stat().st_size)[0] == 44


def test_flac_has_the_same_samples(speech, wavs, tmp_path):
    folder = tmp_path / "flac"
    assert convert(speech, "--output", folder, "--format", "flac", "--processes", "2") == 0
    flacs = sorted(folder.rglob("*.flac"))
    assert len(flacs) == 26
    for flac in flacs:
        assert soundfile.info(flac).subtype == "PCM_16"
        wav = wavs / flac.relative_to(folder).with_suffix(".wav")
        with Audio(flac) as a, Audio(wav) as b:
            np.testing.assert_array_equal(a.read(0, a.frames), b.read(0, b.frames))


def test_published_command_converts_in_place_and_only_once(speech, wavs, tmp_path, capsys):
    folder = writable_copy(speech, tmp_path / "voxceleb2")
    for count in (5, 0):
        assert dataprep.main(["--save_path", str(tmp_path), "--convert"]) == 0
        out = capsys.readouterr().out
        assert f"Converting 5 files of {folder} to WAV by ffmpeg (16 kHz, mono, 16 bits)." in out
        assert f"{folder} contains 5 converted WAV files ({count} converted now)." in out
    for path in folder.rglob("*.m4a"):
        name = path.relative_to(folder)
        wav = path.with_suffix(".wav")
        assert path.read_bytes() == (speech / name).read_bytes()
        assert wav.read_bytes() == (wavs / name).with_suffix(".wav").read_bytes()


def test_strange_names(speech, tmp_path):
    names = ["-y.m4a", "a b%03d:c'd\".M4A", "é*?[x].m4a"]
    folder = tmp_path / "http:" / "x"
    folder.mkdir(parents=True)
    for name in names:
        shutil.copyfile(speech / "id0" / "00000.m4a", folder / name)
    assert convert(tmp_path / "http:") == 0
    for name in names:
        assert (folder / name).with_suffix(".wav").is_file()


# ---------------------------------------------------------------------- damage
@pytest.fixture
def damaged(speech, tmp_path):
    """Five good files and five bad ones in the same folders."""
    folder = writable_copy(speech, tmp_path / "damaged")
    good = speech / "id0" / "00000.m4a"
    data = good.read_bytes()
    (folder / "cut.m4a").write_bytes(data[: len(data) // 2])
    # With the header at its beginning, a file can be opened although its end is missing.
    run_ffmpeg("-i", good, "-c", "copy", "-movflags", "+faststart", tmp_path / "x.m4a")
    data = (tmp_path / "x.m4a").read_bytes()
    (folder / "id0" / "cut_after_its_header.m4a").write_bytes(data[:-2000])
    (folder / "empty.m4a").touch()
    (folder / "id1" / "text.m4a").write_text("<html>404 Not Found</html>")
    run_ffmpeg("-f", "lavfi", "-i", "color=s=16x16:d=0.1", folder / "silent_film.mp4")
    return folder


# Sorted by name, as the report is. The text is a part of ffmpeg's message.
DAMAGED = {
    "cut.m4a": "moov atom not found",
    "empty.m4a": "moov atom not found",
    "id0/cut_after_its_header.m4a": "partial file",
    "id1/text.m4a": "Invalid data found",
    "silent_film.mp4": "matches no streams",
}


def test_damaged_files_are_reported_and_stop_nothing(damaged, wavs, capsys):
    for _ in range(2):
        assert convert(damaged, "--processes", "2") == 2
        assert "skipped 5 of 10 files, which cannot be used." in capsys.readouterr().err
        report = (damaged / "convert_failed.txt").read_text().splitlines()
        for line, (name, message) in zip(report, DAMAGED.items(), strict=True):
            assert line.startswith(f"{damaged}/{name}: ")
            assert message in line
            assert " @ 0x" not in line
        converted = wav_files(damaged)
        assert len(converted) == 5
        assert converted.items() <= contents(wavs).items()
        assert not list(damaged.rglob("*.part"))
    for name in DAMAGED:
        (damaged / name).unlink()
    assert convert(damaged) == 0
    assert not (damaged / "convert_failed.txt").exists()


def test_cut_files_are_converted_again_and_foreign_files_are_kept(speech, wavs, tmp_path, capsys):
    folder = writable_copy(speech, tmp_path / "a")
    cut, empty, music = sorted(path.with_suffix(".wav") for path in folder.rglob("*.m4a"))[:3]
    complete = (wavs / cut.relative_to(folder)).read_bytes()
    cut.write_bytes(complete[:1000])
    empty.touch()
    soundfile.write(music, np.zeros((100, 2)), 44100)
    before = music.read_bytes()
    assert convert(folder) == 2
    assert (
        f"{music}: expected 16000 Hz and 1 channel, but this existing file has 44100"
        in capsys.readouterr().err
    )
    assert music.read_bytes() == before
    assert cut.read_bytes() == complete
    assert empty.read_bytes() == (wavs / empty.relative_to(folder)).read_bytes()


# ---------------------------------------------------------------------- interruption
def killed_at(count, processes, folder, output):
    """Converts, and kills the main process when a process renames its file number `count`.

    The workers live on for a while.
    """
    main_process = os.getpid()
    replace = os.replace
    calls = []

    def replace_or_kill(part, target):
        calls.append(target)
        if len(calls) == count:
            os.kill(main_process, signal.SIGKILL)
        replace(part, target)

    os.replace = replace_or_kill
    conversion.convert(folder, output, processes=processes)


# One kill with two processes: a worker that outlives the kill may convert all the rest.
@pytest.mark.parametrize("processes, kills", [(1, 4), (2, 1)])
def test_killed_at_random_and_run_again(processes, kills, speech, wavs, tmp_path):
    draw = random.Random(processes)
    for _ in range(kills):
        arguments = (draw.randint(1, 6), processes, speech, tmp_path / "a")
        child = fork.Process(target=killed_at, args=arguments)
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        assert wav_files(tmp_path / "a").items() <= contents(wavs).items()
    # This call waits for the workers that are still alive.
    conversion.convert(speech, tmp_path / "a", processes=2)
    assert contents(tmp_path / "a") == contents(wavs)


def test_two_conversions_into_one_folder_wait_for_each_other(speech, wavs, tmp_path):
    (tmp_path / "a").mkdir()
    with open(tmp_path / "a" / LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        other = threading.Thread(
            target=conversion.convert, args=(speech, tmp_path / "a"), kwargs={"processes": 1}
        )
        other.start()
        other.join(0.2)
        assert other.is_alive()
        assert not list((tmp_path / "a").rglob("*.wav"))
    other.join()
    assert contents(tmp_path / "a") == contents(wavs)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("processes", ["1", "2"])
def test_signals_leave_no_process_and_no_half_file(
    number, processes, speech, tmp_path, monkeypatch
):
    """SIGINT goes to all processes, like Ctrl-C. SIGTERM goes only to the main process.

    The fake ffmpeg never ends by itself.
    """
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
    send = os.killpg if number == signal.SIGINT else os.kill
    send(child.pid, number)
    child.join(60)
    assert child.exitcode == 130
    # killpg raises ProcessLookupError when no process of the group is left.
    with contextlib.suppress(ProcessLookupError):
        while os.killpg(child.pid, 0) is None:
            time.sleep(0.01)
    assert not contents(tmp_path / "a")


# ---------------------------------------------------------------------- refused commands
def test_no_room(speech, tmp_path, monkeypatch, capsys):
    usage = shutil._ntuple_diskusage(10**9, 10**9 - 5000, 5000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert convert(speech, "--output", tmp_path / "a") == 2
    errors = capsys.readouterr().err
    assert "GB of free disk space for 26 WAV files, found 5e-06 GB." in errors
    assert "or use --format flac." in errors
    assert not list((tmp_path / "a").rglob("*.wav"))
    needed = float(errors.split("expected ")[1].split()[0]) * 1e9
    # 26 files of 0.5 s, 32,000 bytes per second
    assert needed == pytest.approx(26 * 0.5 * 32000, rel=0.2)


def test_the_disk_fills_up(speech, tmp_path, monkeypatch, capsys):
    script = "echo 'Error writing trailer: No space left on device' >&2; exit 228"
    fake_ffmpeg(tmp_path / "bin", script, monkeypatch)
    assert convert(speech, "--output", tmp_path / "a", "--processes", "2") == 2
    assert (
        "the disk is full. Free some space and run the same command again."
        in capsys.readouterr().err
    )
    assert not (tmp_path / "a" / "convert_failed.txt").exists()


def test_which_ffmpeg(tmp_path, monkeypatch, capsys):
    fake_ffmpeg(tmp_path / "bin", "exit 1", monkeypatch)
    assert conversion.find_ffmpeg() == str(tmp_path / "bin" / "ffmpeg")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Path(conversion.find_ffmpeg()).is_file()
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    (tmp_path / "a.m4a").touch()
    assert convert(tmp_path) == 2
    assert not (tmp_path / LOCK).exists()
    errors = capsys.readouterr().err
    assert "it is not installed. Install it with" in errors
    assert f"pip install {PACKAGE}" in errors
    assert PACKAGE in (ROOT / "requirements-dev.txt").read_text().splitlines()


@pytest.mark.parametrize(
    "words, message",
    [
        (["nowhere"], "nowhere: this folder does not exist. Choose the folder"),
        (["empty"], "expected compressed audio (.m4a, "),
        (["two"], "two/a.mp3: this file and two/a.m4a would both become out/a.wav"),
        ([], "expected the folder to convert too"),
        (["--save_path", "x"], "expected the folder to convert too"),
    ],
)
def test_words_that_are_refused(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for path in ("empty/a.wav", "two/a.m4a", "two/a.mp3"):
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).touch()
    assert convert(*words, "--output", "out") == 2
    assert not Path("out").exists()
    assert message in capsys.readouterr().err
