"""Copy synthesis of dataprep.py, and wrong command lines.

The tests check lists, resumption, determinism, length and level of the copies. They also check that
copies sound like the original, but differ from it.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
from test_synthetic import contents, log_envelope, pitch_of, words_of_lines

import dataprep
from common.errors import InputError
from corpus.audio import Audio
from corpus.lists import Utterance
from prep import copy_synthesis
from synthesis import speech as synthesiser
from synthesis.copies import COPIES, PYWORLD, Vocoder

ROOT = Path(__file__).parent.parent
needs_pyworld = pytest.mark.skipif(
    find_spec("pyworld") is None, reason="pyworld is not installed (requirements-optional.txt)"
)
# All vocoders without a network: the tests of plug-ins are in test_copy_attacks.py.
NAMES = [
    pytest.param(name, marks=needs_pyworld) if vocoder.needs else name
    for name, vocoder in COPIES.items()
    if not vocoder.load
]
# Vocoders that keep the voice, and change the whole waveform.
FAITHFUL = [
    pytest.param("world", marks=needs_pyworld),
    pytest.param("world_coded", marks=needs_pyworld),
    pytest.param("world_drawn", marks=needs_pyworld),
    "griffin_lim",
    "griffin_lim_mel",
    "griffin_lim_drawn",
    "phase",
]


@pytest.fixture(scope="module")
def speech(corpus, tmp_path_factory):
    """wav/ with three speakers of two utterances of a second, and train_list.txt; read-only.

    One of the files is FLAC.
    """
    folder = tmp_path_factory.mktemp("speech")
    # Files 0 and 3 of id10001, id10002 and id10003.
    for i, (speaker, name) in enumerate(words_of_lines(corpus / "train_list.txt")[:18:3]):
        x = soundfile.read(corpus / "wav" / name, dtype="int16")[0][4000 : 20000 + 37 * i]
        path = folder / "wav" / (name if i else name.replace(".wav", ".flac"))
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, x, 16000)
        with (folder / "train_list.txt").open("a") as file:
            file.write(f"{speaker} {path.relative_to(folder / 'wav')}\n")
    for path in (folder / "wav").rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    return folder


def copy(speech, output, *words):
    """Makes copies in one process, and returns the exit code."""
    return dataprep.main(
        [
            "--copy_synthesis",
            str(speech / "train_list.txt"),
            "--path",
            str(speech / "wav"),
            "--output",
            str(output),
            "--processes",
            "1",
            *map(str, words),
        ]
    )


def made(folder):
    """Returns the contents of the copies, the protocol and the record."""
    return {
        name: data for name, data in contents(folder).items() if not name.startswith("bonafide")
    }


@pytest.fixture(scope="module")
def copies(speech, tmp_path_factory):
    """Copies by both Griffin-Lim vocoders; read-only."""
    folder = tmp_path_factory.mktemp("copies") / "data"
    before = contents(speech)
    assert copy(speech, folder, "--vocoders", "griffin_lim", "griffin_lim_mel") == 0
    assert contents(speech) == before
    return folder


# ---------------------------------------------------------------------- files and lists
def test_protocol(speech, copies):
    lines = words_of_lines(copies / "cm.train.trn.txt")
    expected = []
    for speaker, name in words_of_lines(speech / "train_list.txt"):
        expected.append([speaker, f"bonafide/{name}", "-", "-", "bonafide"])
        expected.append([speaker, f"G01/{name}", "-", "G01", "spoof"])
        expected.append([speaker, f"G02/{name}", "-", "G02", "spoof"])
    assert lines == expected and len(lines) == 18
    spoofed = {words[1] for words in lines if words[4] == "spoof"}
    audio = [path for path in copies.rglob("*.*") if path.suffix in (".wav", ".flac")]
    assert {str(path.relative_to(copies)) for path in audio} == spoofed
    assert all((copies / words[1]).is_file() for words in lines)
    assert (copies / "bonafide").resolve() == (speech / "wav").resolve()


def test_length_level_and_format(copies):
    for _, name, *_ in words_of_lines(copies / "cm.train.trn.txt"):
        info = soundfile.info(copies / name)
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
        assert info.format.lower() == name.rsplit(".")[-1]
        x = soundfile.read(copies / name)[0]
        original = soundfile.read(copies / "bonafide" / name.split("/", 1)[1])[0]
        assert len(x) == len(original)
        assert x.std() == pytest.approx(original.std(), rel=0.01)
        assert np.abs(x).max() <= 0.991
        # Training reads the file in this way.
        with Audio(copies / name) as audio:
            assert audio.frames == len(x)


def test_loud_originals_are_not_clipped():
    rng = np.random.default_rng(0)
    loud = 4 * np.sin(np.arange(8000) * 0.05) + 0.1 * rng.standard_normal(8000)
    x = np.clip(loud, -1, 1).astype(np.float32)
    y = copy_synthesis.apply_vocoder(COPIES["griffin_lim"], rng, x)
    # No wave of this level has lower peaks than a clipped wave.
    assert np.abs(y).max() <= 0.99 + 1e-6 and y.std() > 0.3 * x.std()


def test_some_files_of_each_speaker(speech, tmp_path):
    """The limit is on the copies, not on the bona fide lines.

    A higher limit keeps the copies of the lower limit.
    """
    assert copy(speech, tmp_path / "a", "--vocoders", "griffin_lim", "--limit_per_speaker", 1) == 0
    first = made(tmp_path / "a")
    lines = words_of_lines(tmp_path / "a" / "cm.train.trn.txt")
    assert [words[4] for words in lines].count("bonafide") == 6
    copied_speakers = sorted(words[0] for words in lines if words[4] == "spoof")
    assert copied_speakers == ["id10001", "id10002", "id10003"]
    assert copy(speech, tmp_path / "a", "--vocoders", "griffin_lim", "--limit_per_speaker", 2) == 0
    second = made(tmp_path / "a")
    assert all(second[name] == first[name] for name in first if name.startswith("G01"))
    assert sum(name.startswith("G01") for name in second) == 6


def test_choice_depends_on_seed_and_names_alone():
    utterances = [Utterance(f"s{i % 5}", f"{i}.wav") for i in range(100)]
    few = copy_synthesis.select_paths(utterances, 0, 3)
    more = copy_synthesis.select_paths(utterances, 0, 7)
    assert len(few) == 15 and few < more and len(more) == 35
    assert copy_synthesis.select_paths(utterances[::-1], 0, 3) == few
    assert copy_synthesis.select_paths(utterances, 1, 3) != few
    assert len(copy_synthesis.select_paths(utterances, 0, None)) == 100


def write_protocol(speech, folder):
    """Writes a train list in which the last two files are spoofed by A01, next to wav/."""
    (folder / "wav").symlink_to(speech / "wav")
    with (folder / "train_list.txt").open("w") as file:
        for i, (speaker, name) in enumerate(words_of_lines(speech / "train_list.txt")):
            kind = "- bonafide" if i < 4 else "A01 spoof"
            file.write(f"{speaker} {name.rsplit('.')[0]} - {kind}\n")


def test_spoofed_speech_of_a_protocol_is_left_out(speech, copies, tmp_path):
    """Names without an extension are found as in training.

    The bytes of the copies are the same as from a plain list.
    """
    write_protocol(speech, tmp_path)
    assert copy(tmp_path, tmp_path / "a", "--vocoders", "griffin_lim", "griffin_lim_mel") == 0
    written = (copies / "cm.train.trn.txt").read_text().splitlines()
    assert (tmp_path / "a" / "cm.train.trn.txt").read_text().splitlines() == written[:12]
    ours, theirs = made(tmp_path / "a"), made(copies)
    assert all(ours[name] == theirs[name] for name in ours if name.startswith("G0"))


def test_spoofed_speech_of_a_protocol_is_listed_but_not_copied(speech, copies, tmp_path):
    write_protocol(speech, tmp_path)
    words = ["--vocoders", "griffin_lim", "griffin_lim_mel", "--keep_spoofed"]
    assert copy(tmp_path, tmp_path / "a", *words) == 0
    lines = (tmp_path / "a" / "cm.train.trn.txt").read_text().splitlines()
    expected = (copies / "cm.train.trn.txt").read_text().splitlines()[:12]
    for speaker, name in words_of_lines(speech / "train_list.txt")[4:]:
        expected.append(f"{speaker} bonafide/{name} - A01 spoof")
        assert not (tmp_path / "a" / "G01" / name).exists()
    assert lines == expected


# ---------------------------------------------------------------------- repeated commands
def test_same_bytes_for_any_number_of_processes(speech, copies, tmp_path):
    words = ["--vocoders", "griffin_lim", "griffin_lim_mel", "--processes", 2]
    assert copy(speech, tmp_path / "a", *words) == 0
    assert made(tmp_path / "a") == made(copies)


def test_other_seed_other_copies(speech, copies, tmp_path, capsys):
    assert copy(speech, tmp_path / "a", "--vocoders", "griffin_lim", "--seed", 1) == 0
    ours, theirs = made(tmp_path / "a"), made(copies)
    assert not any(ours[name] == theirs[name] for name in ours if name.startswith("G01"))
    assert copy(speech, tmp_path / "a", "--vocoders", "griffin_lim", "--seed", 2) == 2
    assert "seed 1 (now 2)" in capsys.readouterr().err
    assert made(tmp_path / "a") == ours


def test_second_call_makes_only_damaged_files_again(speech, copies, tmp_path, capsys):
    folder = tmp_path / "a"
    shutil.copytree(copies, folder, symlinks=True)
    stamp = {path: path.stat().st_mtime_ns for path in folder.rglob("*.wav")}
    assert copy(speech, folder, "--vocoders", "griffin_lim", "griffin_lim_mel") == 0
    assert "(0 made now)" in capsys.readouterr().out
    assert stamp == {path: path.stat().st_mtime_ns for path in stamp}
    wav = sorted((folder / "G01").rglob("*.wav"))[0]
    flac = next((folder / "G02").rglob("*.flac"))
    wav.write_bytes(b"")
    flac.write_bytes(flac.read_bytes()[:5000])
    assert copy(speech, folder, "--vocoders", "griffin_lim", "griffin_lim_mel") == 0
    assert "(2 made now)" in capsys.readouterr().out and made(folder) == made(copies)


def test_interrupted_run_is_completed(speech, copies, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "a"
    calls = []
    write = copy_synthesis.write_audio

    def interrupted(path, x):
        calls.append(path)
        if len(calls) == 5:
            raise KeyboardInterrupt
        write(path, x)

    monkeypatch.setattr(copy_synthesis, "write_audio", interrupted)
    assert copy(speech, folder, "--vocoders", "griffin_lim", "griffin_lim_mel") == 130
    assert "the same command" in capsys.readouterr().out
    assert not (folder / "cm.train.trn.txt").exists()
    calls[-1].parent.mkdir(parents=True, exist_ok=True)
    # SIGKILL leaves such a file.
    (calls[-1].parent / f"{calls[-1].name}.0123abcd.part").write_text("half a file")
    assert copy(speech, folder, "--vocoders", "griffin_lim", "griffin_lim_mel") == 0
    assert made(folder) == made(copies) and len(calls) == 5 + 8


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM]
)
def test_signals_leave_whole_files_and_no_workers(number, corpus, tmp_path):
    """SIGINT is sent to all processes, as Ctrl-C does. SIGTERM is sent to the main process."""
    (tmp_path / "wav").mkdir()
    # Far more work than the program can do before the signal.
    lines = []
    for k in range(9):
        (tmp_path / "wav" / str(k)).symlink_to(corpus / "wav")
        for speaker, file in words_of_lines(corpus / "train_list.txt"):
            lines.append(f"{speaker} {k}/{file}\n")
    (tmp_path / "list").write_text("".join(lines))
    words = [
        "--copy_synthesis",
        tmp_path / "list",
        "--path",
        tmp_path / "wav",
        "--output",
        tmp_path / "a",
        "--vocoders",
        "griffin_lim",
        "--processes",
        2,
    ]
    run = subprocess.Popen(
        [sys.executable, "dataprep.py", *map(str, words)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Background jobs of a script ignore SIGINT, and so would the program.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        while run.poll() is None and not any((tmp_path / "a").rglob("*.wav")):
            time.sleep(0.02)
        if number == signal.SIGINT:
            os.killpg(run.pid, number)
        else:
            os.kill(run.pid, number)
        out = run.communicate(timeout=60)[0]
        assert "Run the same command again" in out and run.returncode == 130
        # No process of the program is left.
        with pytest.raises(ProcessLookupError):
            os.killpg(run.pid, 0)
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
    attack = tmp_path / "a" / "G01"
    whole = list(attack.rglob("*.wav"))
    assert 0 < len(whole) < 9 * 48
    for path in whole:
        original = tmp_path / "wav" / path.relative_to(attack)
        assert soundfile.info(path).frames == soundfile.info(original).frames


def test_originals_that_moved(speech, copies, tmp_path, capsys):
    """The link follows the originals. Another folder of speech is an error.

    A copy of the originals in place of the link is accepted.
    """
    folder = tmp_path / "a"
    words = ["--vocoders", "griffin_lim", "griffin_lim_mel"]
    shutil.copytree(copies, folder, symlinks=True)
    (folder / "bonafide").unlink()
    (folder / "bonafide").symlink_to(tmp_path / "away")
    assert copy(speech, folder, *words) == 0
    assert (folder / "bonafide").resolve() == (speech / "wav").resolve()
    (folder / "bonafide").unlink()
    (folder / "bonafide").symlink_to(tmp_path)
    capsys.readouterr()
    assert copy(speech, folder, *words) == 2
    assert "this folder contains copies of the speech in" in capsys.readouterr().err
    (folder / "bonafide").unlink()
    shutil.copytree(speech / "wav", folder / "bonafide")
    assert copy(speech, folder, *words) == 0 and not (folder / "bonafide").is_symlink()


# ---------------------------------------------------------------------- errors
def test_bad_files_are_left_out_and_named(speech, tmp_path, capsys):
    folder = tmp_path / "speech"
    shutil.copytree(speech, folder)
    for path in folder.rglob("*"):
        path.chmod(0o755)
    shutil.copytree(folder / "wav" / "id10001", folder / "wav" / "id9")
    speaker = folder / "wav" / "id9"
    good = sorted(path.relative_to(folder / "wav") for path in speaker.rglob("*.*"))
    soundfile.write(speaker / "silent.wav", np.zeros(16000), 16000)
    soundfile.write(speaker / "short.wav", np.ones(100) / 9, 16000)
    soundfile.write(speaker / "stereo.wav", np.ones((16000, 2)) / 9, 16000)
    (speaker / "text.flac").write_text("hello")
    bad = ["id9/silent.wav", "id9/short.wav", "id9/stereo.wav", "id9/text.flac"]
    names = (bad[0], good[0], *bad[1:], good[1])
    (folder / "train_list.txt").write_text("".join(f"id9 {name}\n" for name in names))
    assert copy(folder, tmp_path / "a", "--vocoders", "griffin_lim") == 2
    err = capsys.readouterr().err
    assert ": skipped 4 of 6 files, which cannot be used." in err and all(
        name in err for name in bad
    )
    report = (tmp_path / "a" / "failed.txt").read_text().splitlines()
    assert len(report) == 4 and all(name in line for name, line in zip(bad, report, strict=True))
    assert "silence" in report[0] and "100 samples" in report[1] and "2 channels" in report[2]
    listed = [words[1] for words in words_of_lines(tmp_path / "a" / "cm.train.trn.txt")]
    expected = []
    for name in good:
        expected += [f"bonafide/{name}", f"G01/{name}"]
    assert listed == expected
    (folder / "train_list.txt").write_text("".join(f"id9 {name}\n" for name in good))
    assert copy(folder, tmp_path / "a", "--vocoders", "griffin_lim") == 0
    assert not (tmp_path / "a" / "failed.txt").exists()


def test_silent_copies(speech, tmp_path, monkeypatch, capsys):
    silent = Vocoder("G01", "", lambda rng, x: np.zeros_like(x))
    monkeypatch.setitem(COPIES, "griffin_lim", silent)
    assert copy(speech, tmp_path / "a", "--vocoders", "griffin_lim", "--limit_per_speaker", 1) == 2
    assert "3 of 3 files" in capsys.readouterr().err
    for line in (tmp_path / "a" / "failed.txt").read_text().splitlines():
        assert re.match(
            rf"{speech}/wav/id1000\d/.*: expected speech, but the copy G01 of this file is silent",
            line,
        )


def test_a_disk_that_cannot_be_written_stops_the_run(speech, tmp_path, capsys):
    assert copy(speech, tmp_path / "a", "--vocoders", "griffin_lim") == 0
    shutil.rmtree(tmp_path / "a" / "G01")
    (tmp_path / "a" / "G01").write_text("in the way")
    capsys.readouterr()
    assert copy(speech, tmp_path / "a", "--vocoders", "griffin_lim") == 2
    assert "found a file in its place" in capsys.readouterr().err
    assert not (tmp_path / "a" / "failed.txt").exists()


@pytest.mark.parametrize(
    "line, message",
    [
        ("id1 nowhere.wav", "the file is missing"),
        ("id1 a.m4a", "expected .wav or .flac files inside --path"),
        ("id1 ../a.wav", "inside --path"),
        ("id1 ./b.wav", "inside --path"),
        ("id1", "train_list.txt:1: expected"),
        ("id1 b.wav - A01 spoof", "found only spoofed speech"),
    ],
)
def test_bad_lists(line, message, speech, tmp_path, capsys):
    (tmp_path / "train_list.txt").write_text(f"{line}\n")
    (tmp_path / "wav").mkdir()
    for name in ("a.m4a", "../a.wav", "b.wav"):
        (tmp_path / "wav" / name).touch()
    assert copy(tmp_path, tmp_path / "a", "--vocoders", "griffin_lim") == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and message in err and not (tmp_path / "a").exists()


def test_bad_folders(speech, tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("x")
    assert copy(speech, tmp_path, "--vocoders", "griffin_lim") == 2
    assert "new or empty folder" in capsys.readouterr().err
    output = tmp_path / "new"
    with pytest.raises(InputError, match="--path .*/none: this folder does not exist. Give the"):
        copy_synthesis.prepare_output(
            copy_synthesis.CopyOptions("list", tmp_path / "none", output, (), 0, None)
        )
    assert not output.exists()
    for output in (speech / "wav", speech / "wav" / "copies"):
        assert copy(speech, output, "--vocoders", "griffin_lim") == 2
        assert "outside of --path" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    assert not (speech / "wav" / "copies").exists()


def test_without_pyworld(speech, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyworld", None)
    assert copy(speech, tmp_path / "a") == 2 and not (tmp_path / "a").exists()
    err = capsys.readouterr().err
    assert PYWORLD.requirement in (ROOT / "requirements-optional.txt").read_text().splitlines()
    assert f"pip install {PYWORLD.requirement}" in err
    assert "world and world_coded need the package pyworld" in err
    assert "choose --vocoders griffin_lim griffin_lim_mel." in err


# ---------------------------------------------------------------------- the copies themselves
@pytest.mark.parametrize("name", FAITHFUL)
@pytest.mark.parametrize("female", [False, True])
def test_copies_sound_like_the_original_and_differ_from_it(name, female):
    rng = np.random.default_rng(3)
    speaker = synthesiser.draw_speaker(rng, female)
    session = synthesiser.draw_session(rng)
    x = synthesiser.record(rng, session, synthesiser.synthesize(rng, speaker, session, 3))
    y = copy_synthesis.apply_vocoder(COPIES[name], np.random.default_rng(0), x)
    assert np.corrcoef(log_envelope(x, 1e-3), log_envelope(y, 1e-3))[0, 1] > 0.95
    assert pitch_of(y) == pytest.approx(pitch_of(x), rel=0.05)
    assert len(y) == len(x)
    assert abs(np.corrcoef(x, y)[0, 1]) < 0.5
    assert y.std() == pytest.approx(x.std(), rel=1e-3)
    again = copy_synthesis.apply_vocoder(COPIES[name], np.random.default_rng(0), x)
    np.testing.assert_array_equal(y, again)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [copy_synthesis.SHORTEST, 1679, 5001])
def test_any_length(name, count):
    half_silent = np.sin(np.arange(count) * 0.1).astype(np.float32)
    half_silent[: count // 2] = 0
    noise = np.random.default_rng(0).standard_normal(count, np.float32) / 100
    for x in (half_silent, noise):
        y = copy_synthesis.apply_vocoder(COPIES[name], np.random.default_rng(0), x)
        assert len(y) == count


@needs_pyworld
def test_world_from_the_command_line(speech, copies, tmp_path):
    """Another command can add vocoders to a folder. WORLD gives the same bytes in any process."""
    shutil.copytree(copies, tmp_path / "a", symlinks=True)
    assert copy(speech, tmp_path / "a") == 0
    assert copy(speech, tmp_path / "b", "--vocoders", "world_coded", "world", "--processes", 2) == 0
    ours, theirs = made(tmp_path / "a"), made(tmp_path / "b")
    for attack in ("W01", "W02"):
        names = [name for name in ours if name.startswith(attack)]
        assert len(names) == 6 and all(ours[name] == theirs[name] for name in names)
    attacks = [words[3] for words in words_of_lines(tmp_path / "a" / "cm.train.trn.txt")]
    assert attacks == ["-", "W01", "W02", "G01", "G02"] * 6


# ---------------------------------------------------------------------- wrong command lines
@pytest.mark.parametrize(
    "words, message",
    [
        (["--speakers", "3"], "expected a sub-command before it, such as synthetic"),
        (
            ["--synthetic", "a", "--vocoders", "world"],
            "--vocoders: the option belongs to copy-synthesis, not to synthetic",
        ),
        (
            ["--copy_synthesis", "a", "--path", "b", "--output", "c", "--spoof"],
            "--spoof: the option belongs to synthetic, not to copy-synthesis",
        ),
        (["--synthetic", "a", "--copy_synthesis=b"], "--copy_synthesis"),
        (["--copy_synthesis", "a", "--path", "b"], "--output"),
        (
            ["--copy_synthesis", "a", "--path", "b", "--output", "c", "--vocoders", "wavenet"],
            "wavenet",
        ),
        (["--synthetic", "a", "--speaker", "3"], "--speaker"),
    ],
)
def test_options_without_a_mode_or_of_another_mode(words, message, capsys):
    with pytest.raises(SystemExit) as stop:
        dataprep.main(words)
    assert stop.value.code == 2 and message in capsys.readouterr().err
