"""The synthetic corpus of dataprep.py.

The tests check the layout, the lists, determinism, levels, pitch, formants and spoofed copies. They
also check that nothing is overwritten.
"""

import hashlib
import json
import re

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import soundfile

import dataprep
from corpus.files import check_files
from corpus.lists import read_train_list, read_trials
from prep import synthetic
from synthesis import speech, vocoders

SMALL = ["--speakers", "3", "--files", "4", "--test_speakers", "3", "--trials", "20"]


def make(folder, *words):
    """Makes a small corpus, and returns the exit code."""
    return dataprep.main(["--synthetic", str(folder), *SMALL, *map(str, words)])


def contents(folder):
    """Returns {relative path: SHA-256} of all files below the folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def words_of_lines(path):
    """Returns the words of every line of a text file."""
    return [line.split() for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small corpus with spoofed copies; read-only."""
    folder = tmp_path_factory.mktemp("small") / "corpus"
    assert make(folder, "--spoof", "--processes", 1) == 0
    return folder


def pitch_of(x):
    """Returns the median pitch of the voiced frames in Hz, by autocorrelation."""
    frames = np.lib.stride_tricks.sliding_window_view(x, 800)[::160] * np.hanning(800)
    frames = frames[frames.std(1) > 0.5 * x.std()]
    r = np.fft.irfft(np.abs(np.fft.rfft(frames, 2048)) ** 2)[:, :400]
    lags = r[:, 40:270] / r[:, :1]
    voiced = lags.max(1) > 0.4
    assert voiced.sum() > 20
    return 16000 / np.median(40 + lags[voiced].argmax(1))


def log_envelope(x, floor):
    """Returns the smoothed log spectrogram of x [T], flattened."""
    spectra = speech.short_time_spectra(x[: len(x) // 128 * 128])
    return scipy.ndimage.gaussian_filter(np.log(np.abs(spectra) + floor), (2, 6)).ravel()


# ---------------------------------------------------------------------- corpus
def test_lists_and_files(small):
    train = read_train_list(small / "train_list.txt")
    trials = read_trials(small / "trials.txt")
    check_files(small / "wav", [u.path for u in train], "train_list.txt")
    check_files(small / "wav", trials.paths(), "trials.txt")
    assert [u.speaker for u in train] == ["id10001"] * 4 + ["id10002"] * 4 + ["id10003"] * 4
    assert all(re.fullmatch(rf"{u.speaker}/rec\d\d/0000\d\.wav", u.path) for u in train)
    # Three speakers with two recordings.
    assert len({u.path.rsplit("/", 1)[0] for u in train}) == 6
    test_speakers = {path.split("/")[0] for path in trials.paths()}
    assert test_speakers <= {"id10004", "id10005", "id10006"}
    assert not test_speakers & {u.speaker for u in train}

    lines = (small / "trials.txt").read_text().splitlines()
    assert len(set(lines)) == len(lines) == 20 and trials.label.sum() == 10
    for line in lines:
        label, a, b = line.split()
        speaker, recording, _ = a.split("/")
        other_speaker, other_recording, _ = b.split("/")
        assert (speaker == other_speaker) == (label == "1")
        if label == "1":
            assert recording != other_recording
        else:
            assert int(speaker[2:]) % 2 == int(other_speaker[2:]) % 2
    assert len(list(small.rglob("*.wav"))) == 2 * 24


def test_fewer_trials_than_requested():
    lists = synthetic.corpus_lists(synthetic.SyntheticOptions(1, 4, 3, 1000, 0, False))
    labels = [line[0] for line in lists["trials.txt"]]
    # All trials that exist: 2 x 2 utterances of 3 speakers, and 4 x 4 of one pair of speakers.
    assert labels.count("1") == 3 * 4 and labels.count("0") == 16
    assert len(set(lists["trials.txt"])) == len(labels)


def test_recordings_of_about_four_files():
    for files, recordings in [(2, 2), (3, 2), (6, 2), (8, 2), (20, 5)]:
        utterances = synthetic.utterances_of_speaker(files)
        assert len({recording for recording, _ in utterances}) == recordings
    for files in range(2, 40):
        assert len(set(synthetic.utterances_of_speaker(files))) == files


def test_levels(small):
    for path in small.rglob("*.wav"):
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
        assert 1.9 < info.duration < 4.1
        x = soundfile.read(path)[0]
        assert np.abs(x).max() < 0.96 and 0.01 < x.std() < 0.15 and abs(x.mean()) < 0.01, path


def test_protocols(small):
    cm = words_of_lines(small / "cm.train.trn.txt")
    assert len(cm) == 24 and all(len(words) == 5 and words[2] == "-" for words in cm)
    kinds = [(words[3], words[4]) for words in cm]
    assert kinds.count(("-", "bonafide")) == 12
    assert kinds.count(("A01", "spoof")) == 6
    assert kinds.count(("A02", "spoof")) == 6
    for speaker, file, _, attack, key in cm:
        assert (attack in file) == (key == "spoof") and file.startswith(speaker)

    enrolment = words_of_lines(small / "asv.eval.trn.txt")
    assert [speaker for speaker, _ in enrolment] == ["id10004", "id10005", "id10006"]
    enrolled = set()
    for _, files in enrolment:
        enrolled |= set(files.split(","))
    trials = words_of_lines(small / "asv.eval.trl.txt")
    keys = [key for *_, key in trials]
    assert (keys.count("target"), keys.count("nontarget"), keys.count("spoof")) == (6, 4, 6)
    for speaker, file, attack, key in trials:
        assert file not in enrolled and (attack == "bonafide") == (key != "spoof")
        assert file.startswith(speaker) == (key != "nontarget")
    assert {attack for *_, attack, key in trials if key == "spoof"} == {"A01", "A02"}
    named = {words[1] for words in cm} | {words[1] for words in trials} | enrolled
    assert all((small / "wav" / name).exists() for name in named)


# ---------------------------------------------------------------------- determinism
def test_same_seed_same_bytes_for_any_number_of_processes(small, tmp_path):
    assert make(tmp_path / "a", "--spoof", "--processes", 2) == 0
    assert contents(tmp_path / "a") == contents(small)


def test_other_seed_other_speech(small, tmp_path):
    assert make(tmp_path / "a", "--seed", 1) == 0
    ours, theirs = contents(tmp_path / "a"), contents(small)
    assert not any(ours[name] == theirs[name] for name in ours if name.endswith(".wav"))


def test_more_speakers_do_not_change_the_others(small, tmp_path):
    assert make(tmp_path / "a", "--speakers", 4) == 0
    ours, theirs = contents(tmp_path / "a"), contents(small)
    first_speakers = ("wav/id10001", "wav/id10002", "wav/id10003")
    shared = [name for name in ours if name.startswith(first_speakers)]
    assert len(shared) == 12 and all(ours[name] == theirs[name] for name in shared)


def test_second_call_does_nothing(small, capsys):
    before = {path: path.stat().st_mtime_ns for path in small.rglob("*")}
    assert make(small, "--spoof") == 0
    assert f"{small} already contains this corpus." in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in small.rglob("*")}


def test_interrupted_run_is_completed(small, tmp_path, monkeypatch):
    folder = tmp_path / "a"
    calls = []
    write = synthetic.write_audio

    def interrupted(path, x):
        calls.append(path)
        if len(calls) == 9:
            raise KeyboardInterrupt
        write(path, x)

    monkeypatch.setattr(synthetic, "write_audio", interrupted)
    assert make(folder, "--spoof", "--processes", 1) == 130
    calls[-1].parent.mkdir(parents=True)
    # SIGKILL leaves such a file.
    (calls[-1].parent / f"{calls[-1].name}.0123abcd.part").write_text("half a file")
    assert len(list(folder.rglob("*.wav"))) == 8 and not (folder / "synthetic.json").exists()
    # An unfinished corpus is not mixed with another one.
    assert make(folder, "--spoof", "--seed", 5) == 2
    assert make(folder, "--spoof", "--processes", 1) == 0
    assert contents(folder) == contents(small) and len(calls) == 9 + 40


# ---------------------------------------------------------------------- errors
@pytest.mark.parametrize(
    "words, message", [(["--spoof", "--seed", 3], "seed 0 (now 3)"), ([], "spoof True (now False)")]
)
def test_other_options_do_not_overwrite(small, words, message, capsys):
    before = contents(small)
    assert make(small, *words) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and message in err and err.count("\n") == 1
    assert contents(small) == before


@pytest.mark.parametrize("content", ["hello", "[1]", "{}"])
def test_a_foreign_record_is_an_error(content, tmp_path, capsys):
    (tmp_path / "synthetic.json").write_text(content)
    assert make(tmp_path) == 2
    assert capsys.readouterr().err.startswith("error: ") and len(list(tmp_path.iterdir())) == 1


def test_a_folder_with_other_files_is_not_changed(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("x")
    assert make(tmp_path) == 2 and make(tmp_path / "thesis.tex") == 2
    assert capsys.readouterr().err.count("error: ") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    "words",
    [
        ["--speakers", "0"],
        ["--files", "1"],
        ["--test_speakers", "2"],
        ["--trials", "x"],
        ["--seed", "-1"],
        ["--processes", "0"],
        ["--speaker_count", "3"],
    ],
)
def test_bad_words(words, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        dataprep.main(["--synthetic", str(tmp_path / "a"), *words])
    assert stop.value.code == 2
    assert words[0] in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_options_are_recorded(small):
    assert json.loads((small / "synthetic.json").read_text())["files"] == 4
    assert not list(small.glob("*.part"))


# ---------------------------------------------------------------------- the speech itself
@pytest.mark.parametrize("female", [False, True])
def test_pitch(female):
    rng = np.random.default_rng(3)
    speaker = speech.draw_speaker(rng, female)
    session = speech.draw_session(rng)._replace(pitch=1.0)
    x = speech.synthesize(rng, speaker, session, 4)
    assert pitch_of(x) == pytest.approx(speaker.pitch, rel=0.12)
    # Noise and room do not change the pitch.
    assert pitch_of(speech.record(rng, session, x)) == pytest.approx(speaker.pitch, rel=0.15)


def test_women_and_men():
    """Speakers spread around the means of their sex.

    Neither pitch nor vocal-tract length alone separates all women from all men.
    """
    women = [speech.draw_speaker(np.random.default_rng(i), True) for i in range(200)]
    men = [speech.draw_speaker(np.random.default_rng(i), False) for i in range(200)]
    assert np.median([s.pitch for s in women]) == pytest.approx(205, rel=0.05)
    assert np.median([s.pitch for s in men]) == pytest.approx(118, rel=0.05)
    ratio = np.mean([s.tract for s in women]) / np.mean([s.tract for s in men])
    assert ratio == pytest.approx(1.15, abs=0.02)
    assert 0.1 < np.std(np.log([s.pitch for s in women])) < 0.3


def test_formants():
    """The peaks of the response are at the formants, and the gain at 0 Hz is one."""
    formants = np.array([[500.0, 1500, 2500]])
    gain = np.abs(speech.tract_response(formants, np.full((1, 3), 60.0)))[0]
    peaks = speech.HERTZ[scipy.signal.argrelmax(gain)[0]]
    np.testing.assert_allclose(peaks, formants[0], atol=16)
    assert gain[0] == pytest.approx(1)


def test_frames_add_up():
    x = np.random.default_rng(0).standard_normal(speech.SHIFT * 20).astype(np.float32)
    y = speech.overlap_add(speech.short_time_spectra(x))
    np.testing.assert_allclose(y, x, atol=1e-5)


def test_filter_rings_over_frames():
    """Overlap-add with a fixed filter equals convolution."""
    x = np.random.default_rng(0).standard_normal(speech.SHIFT * 20).astype(np.float32)
    h = np.random.default_rng(1).standard_normal(200).astype(np.float32)
    y = speech.overlap_add(speech.short_time_spectra(x) * np.fft.rfft(h, speech.FFT))
    np.testing.assert_allclose(y, np.convolve(x, h)[: len(x)], atol=1e-3)


def test_levels_of_speech_and_noise():
    rng = np.random.default_rng(0)
    session = speech.draw_session(rng)._replace(snr=10.0, level=-26.0, room=np.ones(1))
    silence = np.zeros(16000)
    tone = np.sin(np.arange(16000) * 0.3)
    x = speech.record(rng, session, np.concatenate([silence, tone]).astype(np.float32))
    assert 20 * np.log10(np.sqrt(np.mean(x**2))) == pytest.approx(-26, abs=0.1)
    noise_power = np.var(x[:16000])
    # The tone lasts half of the time.
    speech_power = (np.var(x[16000:]) - noise_power) / 2
    assert 10 * np.log10(speech_power / noise_power) == pytest.approx(10, abs=0.5)


def test_attacks():
    """Both attacks keep the spectral envelope and change the phases. The vocoder has one pitch."""
    rng = np.random.default_rng(0)
    speaker = speech.draw_speaker(rng, False)
    session = speech.draw_session(rng)
    x = speech.record(rng, session, speech.synthesize(rng, speaker, session, 3))
    a01, a02 = vocoders.vocode(x, 130.0), vocoders.griffin_lim(rng, x)
    assert pitch_of(a01) == pytest.approx(130, rel=0.02)
    for y in (a01, a02):
        assert len(y) == pytest.approx(len(x), abs=128)
        # A longer copy is cut, so that both envelopes have the same frames.
        envelopes = log_envelope(x, 1e-4), log_envelope(y[: len(x)], 1e-4)
        assert np.corrcoef(*envelopes)[0, 1] > 0.85
        assert abs(np.corrcoef(x[: len(y)], y)[0, 1]) < 0.5
