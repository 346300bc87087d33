"""Transmission codecs for training crops."""

import io
import json
import os
import sys

import numpy as np
import pytest
import soundfile
from conftest import small_run
from kill_resume import end_of, equal
from scipy.signal import correlate

from common.errors import InputError
from corpus import codecs
from corpus.codecs import CODECS, CodecAugment, companded, transmitted
from corpus.ffmpeg import output_of
from corpus.lists import Utterance
from corpus.rawboost import RawBoost
from DatasetLoader import TrainDataset, batches, train_loader
from inference.sources import effects_of
from options.parser import parse

ALL_SAMPLES = np.arange(-32768, 32768).astype(np.int16)
# Correlation of the result at the lowest bit rate with the speech. AMR changes the phase.
CORRELATIONS = {
    **{"mulaw": 0.99, "alaw": 0.99, "gsm": 0.95, "amr": 0.6, "g722": 0.99},
    **{"opus": 0.8, "vorbis": 0.95, "mp3": 0.95, "aac": 0.9},
}


def voice(samples):
    """A voice-like signal below 3 kHz: harmonics of a gliding pitch, in syllables."""
    seconds = np.arange(samples) / 16000
    phase = 2 * np.pi * (140 * seconds + 8 * np.sin(2 * np.pi * 0.9 * seconds))
    x = np.zeros(samples)
    for harmonic in range(1, 18):
        x += np.cos(harmonic * phase + harmonic**2) / (1 + (harmonic - 4) ** 2 / 9)
    return (0.1 * x * (0.55 - 0.45 * np.cos(2 * np.pi * 3 * seconds))).astype(np.float32)


VOICE = voice(24001)


def codec_of(name):
    """A codec. Skips the test if ffmpeg was built without AMR, as in Debian."""
    if name == "amr" and codecs.problem_of(name):
        pytest.skip("this ffmpeg does not encode AMR")
    return CODECS[name]


# ---------------------------------------------------------------------- G.711
def alaw_of_the_standard(x):
    """Encodes and decodes one 16-bit sample by the bits of the A-law of G.711."""
    size = (~x if x < 0 else x) >> 4
    segment = 0
    if size > 15:
        segment = 1
        while size > 31:
            size >>= 1
            segment += 1
    decoded = (size << 4) + 8
    if segment > 1:
        decoded <<= segment - 1
    return -decoded if x < 0 else decoded


def by_libsndfile(subtype):
    file = io.BytesIO()
    soundfile.write(file, ALL_SAMPLES, 8000, format="WAV", subtype=subtype)
    file.seek(0)
    return soundfile.read(file, dtype="int16")[0]


def test_mu_law():
    assert np.array_equal(companded("mulaw")[ALL_SAMPLES.view(np.uint16)], by_libsndfile("ULAW"))


def test_a_law():
    got = companded("alaw")[ALL_SAMPLES.view(np.uint16)]
    assert got.tolist() == [alaw_of_the_standard(int(x)) for x in ALL_SAMPLES]
    # libsndfile decides otherwise for negative samples on the border of two steps.
    assert np.array_equal(got[32768:], by_libsndfile("ALAW")[32768:])


# ---------------------------------------------------------------------- all codecs
@pytest.mark.parametrize("name", CODECS)
def test_length_and_alignment(name):
    codec = codec_of(name)
    for rate in codec.rates:
        got = transmitted(VOICE, codec, rate, min(codec.kbits))
        assert got.dtype == np.float32
        assert got.shape == VOICE.shape
        assert not np.array_equal(got, VOICE)
        lag = correlate(got, VOICE, method="fft").argmax() - (len(VOICE) - 1)
        assert abs(lag) <= 1
        assert np.corrcoef(got, VOICE)[0, 1] > CORRELATIONS[name]
        # The end is there too, and the level is the same.
        energies = [(x[-4000:].astype(float) ** 2).sum() for x in (got, VOICE)]
        assert 0.35 < energies[0] / energies[1] < 2


@pytest.mark.parametrize("name", [name for name in CODECS if len(CODECS[name].kbits) > 1])
def test_a_higher_bit_rate_changes_less(name):
    codec = codec_of(name)
    errors = []
    for kbit in (min(codec.kbits), max(codec.kbits)):
        got = transmitted(VOICE, codec, codec.rates[0], kbit)
        errors.append(1 - np.corrcoef(got, VOICE)[0, 1])
    assert errors[1] < 0.9 * errors[0]


@pytest.mark.parametrize("name", ["opus", "vorbis", "mp3"])
def test_bit_rates_of_libsndfile(name, monkeypatch):
    """Files have about the drawn size. Their headers count too."""
    files = []

    class File(io.BytesIO):
        def __init__(self):
            super().__init__()
            files.append(self)

    monkeypatch.setattr(codecs.io, "BytesIO", File)
    noisy = voice(64000) + np.random.default_rng(0).normal(0, 0.02, 64000).astype(np.float32)
    for kbit in (40, 56):
        transmitted(noisy, CODECS[name], 16000, kbit)
        assert 8 * len(files[-1].getvalue()) / 4000 == pytest.approx(kbit, rel=0.3)


@pytest.mark.parametrize("name", CODECS)
def test_loud_silent_and_short_crops(name):
    codec = codec_of(name)
    loud = transmitted(40 * VOICE[:8000], codec, codec.rates[0], max(codec.kbits))
    assert abs(loud).max() > 1.2
    assert np.corrcoef(loud, VOICE[:8000])[0, 1] > CORRELATIONS[name] - 0.1
    silence = transmitted(np.zeros(1600, np.float32), codec, codec.rates[0], codec.kbits[0])
    assert abs(silence).max() < 0.002
    assert transmitted(VOICE[:401], codec, codec.rates[0], codec.kbits[0]).shape == (401,)


def test_draws():
    """All codecs and rates are drawn, and half of the crops stay as they are."""
    augment = CodecAugment(["mulaw", "gsm"])
    assert augment.names == ["mulaw", "gsm"]
    ways = []
    for rate in (8000, 16000):
        ways.append(transmitted(VOICE, CODECS["mulaw"], rate, 64))
    ways += [transmitted(VOICE, CODECS["gsm"], 8000, 13), VOICE]
    counts = [0] * 4
    for seed in range(120):
        got = augment(VOICE, np.random.default_rng(seed))
        counts[[np.array_equal(got, way) for way in ways].index(True)] += 1
    # The averages are 15, 15, 30 and 60.
    assert all(
        low < n < high
        for n, low, high in zip(counts, (6, 6, 17, 45), (26, 26, 43, 75), strict=True)
    )


def test_all_codecs():
    codec_of("amr")
    assert CodecAugment(["mp3", "all"]).names == [*CODECS]


# ---------------------------------------------------------------------- missing codecs
def ffmpeg_script(folder, text):
    """A program in place of ffmpeg: lines of Python."""
    path = folder / "ffmpeg"
    path.write_text(f"#!{sys.executable}\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_ffmpeg_is_missing(monkeypatch):
    def find():
        raise InputError("ffmpeg: it is not installed.")

    monkeypatch.setattr(codecs, "find_ffmpeg", find)
    with pytest.raises(InputError) as error:
        CodecAugment(["mulaw", "aac"])
    assert str(error.value) == (
        "--codec_augment: expected codecs that work on this machine, found aac, which does not "
        "work (ffmpeg: it is not installed). Available codecs: mulaw alaw gsm opus vorbis mp3. "
        "Install what is missing, or leave out aac."
    )
    CodecAugment(["mulaw", "opus"])


def test_an_encoder_is_missing(monkeypatch, tmp_path, corpus, program):
    """The program ends before it creates the folder of the run."""
    script = ffmpeg_script(tmp_path, "import sys; sys.exit(\"Unknown encoder 'x' @ 0x12af\")")
    monkeypatch.setattr(codecs, "find_ffmpeg", lambda: script)
    run = tmp_path / "run"
    words = small_run(corpus, run, "--codec_augment", "gsm", "amr")
    code, _, err = program(*map(str, words))
    assert code == 2
    assert "found amr, which does not work (Unknown encoder 'x')" in err
    assert not run.exists()


def test_libsndfile_has_no_mp3(monkeypatch):
    def fail(*args, **kwargs):
        raise TypeError("unexpected keyword argument 'bitrate_mode'")

    monkeypatch.setattr(codecs.soundfile, "SoundFile", fail)
    with pytest.raises(InputError, match=r"found mp3, .*\(libsndfile .*bitrate_mode'\)\. Avail"):
        CodecAugment(["mp3"])


def test_a_codec_fails_later(monkeypatch, tmp_path):
    augment = CodecAugment(["aac"], 1)
    script = ffmpeg_script(tmp_path, "raise SystemExit('killed')")
    monkeypatch.setattr(codecs, "find_ffmpeg", lambda: script)
    with pytest.raises(InputError, match="--codec_augment aac: the codec failed .*killed"):
        augment(VOICE, np.random.default_rng(0))


def test_ctrl_c_does_not_reach_ffmpeg(tmp_path):
    script = ffmpeg_script(tmp_path, "import os; print(os.getsid(0))")
    session, messages = output_of(script, [])
    assert int(session) != os.getsid(0)
    assert not messages


# ---------------------------------------------------------------------- training
def test_batches_do_not_depend_on_workers(tmp_path):
    for i in range(6):
        soundfile.write(tmp_path / f"{i}.wav", voice(12000 + 1000 * i), 16000)
    utterances = [Utterance(str(i), f"{i}.wav") for i in range(6)]
    effects = [CodecAugment(["mulaw", "gsm", "mp3", "aac"], 0.8), RawBoost([1, 7], 0.8)]
    data = TrainDataset(utterances, str(tmp_path), max_frames=40, seed=3, effects=effects)
    items = [(epoch, [[i], [i + 1]]) for epoch in (1, 2) for i in range(0, 6, 2)]
    found = []
    for workers in (0, 2):
        found.append(list(batches(train_loader(data, items, workers=workers))))
    for one, other in zip(*found, strict=True):
        assert np.array_equal(one["x"], other["x"])
    plain = TrainDataset(utterances, str(tmp_path), max_frames=40, seed=3)
    assert not np.array_equal(data[items[0]]["x"], plain[items[0]]["x"])


class AddedNoise:
    """Adds a drawn number, in place of Augment."""

    def plan(self, length, rng):
        return np.float32(rng.random())

    def mix(self, x, plan):
        x += plan


def test_effects_follow_the_noise(tmp_path):
    """Each effect gets the crop of the one before it, and draws after it."""
    soundfile.write(tmp_path / "a.wav", voice(9000), 16000)

    def double(x, rng):
        return 2 * x

    def draw(x, rng):
        return x + np.float32(rng.random())

    def crop(**options):
        utterances = [Utterance("a", "a.wav")]
        data = TrainDataset(utterances, str(tmp_path), max_frames=40, seed=3, **options)
        return data[1, [[0]]]["x"].numpy()

    rng = np.random.default_rng((3, 1, 0))
    _, noise, last = rng.random(3).astype(np.float32)
    got = crop(augment=AddedNoise(), effects=[double, draw])
    assert np.array_equal(got, 2 * (crop() + noise) + last)


def test_codecs_come_before_rawboost():
    options, _ = parse(["--rawboost", "4", "--codec_augment", "gsm"], {}, "", lambda path: {})
    assert [type(effect) for effect in effects_of(options)] == [CodecAugment, RawBoost]


@pytest.mark.slow
def test_runs(corpus, tmp_path, program):
    """A run that is stopped and resumed with a worker equals an uninterrupted one."""
    options = ["--codec_augment", "mulaw", "gsm", "--rawboost", "0", "4", "--max_epoch", "1"]
    options += ["--test_list", "", "--valid_list", ""]
    for name, *more in (
        ["whole"],
        ["parts", "--max_steps", "3"],
        ["parts", "--nDataLoaderThread", "1"],
        ["plain", "--rawboost", "0", "--codec_probability", "0"],
    ):
        words = small_run(corpus, tmp_path / name, *options, *more)
        code, _, err = program(*map(str, words))
        assert code == 0, err
    (state, log), (whole, whole_log) = end_of(tmp_path / "parts"), end_of(tmp_path / "whole")
    assert all(equal(state[key], whole[key]) for key in ("model", "loss", "optimizer", "step"))
    assert log == whole_log
    assert end_of(tmp_path / "plain")[1] != whole_log
    text = (tmp_path / "whole" / "config.yaml").read_text()
    assert "codec_augment:\n- mulaw\n- gsm\ncodec_probability: 0.5\nrawboost:\n- 0\n- 4\n" in text


@pytest.mark.slow
def test_validation_is_not_changed(corpus, tmp_path, program):
    """The untrained networks are the same, and so are their validation losses."""
    options = ["--valid_list", corpus / "train_list.txt", "--valid_path", corpus / "wav"]
    options += ["--eval_first", "--max_steps", 1, "--test_list", ""]
    losses = []
    for more in ([], ["--codec_augment", "gsm", "--codec_probability", 1, "--rawboost", 4]):
        run = tmp_path / str(len(more))
        code, _, err = program(*map(str, small_run(corpus, run, *options, *more)))
        assert code == 0, err
        first = json.loads((run / "log.jsonl").read_text().splitlines()[0])
        losses.append(first["valid_loss"])
    assert losses[0] == losses[1]


def test_noise_that_comes_later(corpus, tmp_path, program):
    words = ["--rawboost", "3", "--augment", "--gpu_augment"]
    code, _, err = program(*map(str, small_run(corpus, tmp_path / "run", *words)))
    assert code == 2
    assert "--rawboost: expected noise that the loader mixes, found --gpu_augment" in err


@pytest.mark.parametrize(
    "words, message",
    [
        ("--rawboost_probability 0.5", "--rawboost_probability has no effect without --rawboost"),
        ("--codec_probability 1", "--codec_probability has no effect without --codec_augment"),
        ("--augment_probability 0.6", "--augment_probability has no effect without --augment"),
        ("--eval --rawboost 4", "--rawboost has no effect with --eval. It changes training crops"),
        ("--eval --codec_augment gsm", "--codec_augment has no effect with --eval. It changes"),
    ],
)
def test_warnings(words, message, caplog):
    parse(words.split(), {}, "", lambda path: {})
    assert message in caplog.text
