"""Attacks of copy synthesis that change the voice or the phases, mixtures, and neural plug-ins.

The tests check what each attack changes and what it keeps, that its draws follow the generator, and
that a neural vocoder is used when its package is installed. The packages here are small fakes.
"""

import sys

import numpy as np
import pytest
import soundfile
import torchaudio
from test_copy_synthesis import NAMES, copy, needs_pyworld, words_of_lines
from test_synthetic import pitch_of
from torch import from_numpy, hamming_window

from prep import copy_synthesis
from synthesis import conversion, neural
from synthesis import speech as synthesiser
from synthesis.copies import COPIES, SPEECHBRAIN, VOCOS

MEL = torchaudio.transforms.MelSpectrogram(
    16000, n_fft=512, win_length=400, hop_length=160, n_mels=80, window_fn=hamming_window
)


def draws(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def voice():
    """Two seconds of one man."""
    rng = draws(3)
    speaker = synthesiser.draw_speaker(rng, False)
    session = synthesiser.draw_session(rng)
    return synthesiser.record(rng, session, synthesiser.synthesize(rng, speaker, session, 2))


@pytest.fixture(scope="module")
def speech(voice, tmp_path_factory):
    """wav/ with three speakers of one file of a second, and train_list.txt; read-only."""
    folder = tmp_path_factory.mktemp("speech")
    for i in range(3):
        path = folder / "wav" / f"id{i}" / "a.wav"
        path.parent.mkdir(parents=True)
        soundfile.write(path, voice[7000 * i :][: 16000 + 37 * i], 16000)
    (folder / "train_list.txt").write_text("id0 id0/a.wav\nid1 id1/a.wav\nid2 id2/a.wav\n")
    return folder


def mel_distance(x, y):
    """Returns the mean difference of the mel powers in dB, 50 dB below the maximum at most."""
    power = [10 * np.log10(MEL(from_numpy(z.astype(np.float32))).numpy() + 1e-10) for z in (x, y)]
    return np.abs(power[0] - power[1])[power[0] > power[0].max() - 50].mean()


def phase_agreement(x, y):
    """Returns 1 for two waves with equal phases, and nearly 0 for unrelated phases."""
    a, b = (synthesiser.short_time_spectra(z[: len(z) // 128 * 128]) for z in (x, y))
    return np.abs(np.sum(a.conj() * b)) / np.sum(np.abs(a) * np.abs(b))


def vowel(formant, pitch=125):
    """Returns one second of pulses through a resonance at `formant` Hz."""
    pulses = np.zeros(16000)
    pulses[:: 16000 // pitch] = 1
    time = np.arange(800) / 16000
    ringing = np.exp(-np.pi * 150 * time) * np.sin(2 * np.pi * formant * time)
    return (np.convolve(pulses, ringing)[:16000] * 0.1).astype(np.float32)


def formant_of(x):
    """Returns the frequency in Hz where the mean power, smoothed over 150 Hz, is highest."""
    power = np.abs(np.fft.rfft(x[1600:-1600])) ** 2
    hertz = np.fft.rfftfreq(len(x) - 3200, 1 / 16000)
    width = int(150 / hertz[1])
    smooth = np.convolve(power, np.hanning(2 * width), "same")
    return hertz[smooth.argmax()]


# ---------------------------------------------------------------------- phases
@pytest.mark.parametrize(
    "name, most", [("phase", 1.5), ("griffin_lim", 1.5), ("griffin_lim_drawn", 4)]
)
def test_phases_change_and_mel_powers_stay(name, most, voice):
    y = copy_synthesis.apply_vocoder(COPIES[name], draws(), voice)
    assert mel_distance(voice, y) < most
    assert phase_agreement(voice, y) < 0.35
    assert pitch_of(y) == pytest.approx(pitch_of(voice), rel=0.03)


def test_independent_phases_would_change_the_mel_powers(voice):
    """This is why the random phases change slowly."""
    spectra = synthesiser.short_time_spectra(voice[: len(voice) // 128 * 128])
    random = np.exp(2j * np.pi * draws().random(spectra.shape))
    y = synthesiser.overlap_add((spectra * random).astype(np.complex64))
    y *= voice.std() / y.std()
    assert mel_distance(voice[: len(y)], y) > 4


# ---------------------------------------------------------------------- voices
@needs_pyworld
@pytest.mark.parametrize("factor", [0.75, 1.4])
def test_pitch_moves_by_the_factor(factor, voice):
    y = conversion.world_voice(draws(), vowel(1500), pitch=factor, formants=1.0)
    assert len(y) == 16000
    assert pitch_of(y) == pytest.approx(125 * factor, rel=0.02)
    # The highest harmonic is the harmonic that is closest to the formant.
    assert formant_of(y) == pytest.approx(1500, abs=125 * factor / 2)
    z = conversion.world_voice(draws(), voice, pitch=factor, formants=1.0)
    assert pitch_of(z) / pitch_of(voice) == pytest.approx(factor, rel=0.06)


@needs_pyworld
@pytest.mark.parametrize("factor", [0.87, 1.15])
def test_world_moves_formants_by_the_factor(factor):
    x = vowel(1500)
    y = conversion.world_voice(draws(), x, pitch=1.0, formants=factor)
    assert formant_of(x) == pytest.approx(1500, rel=0.03)
    assert formant_of(y) == pytest.approx(1500 * factor, rel=0.04)
    assert pitch_of(y) == pytest.approx(125, rel=0.02)


@pytest.mark.parametrize("factor", [0.87, 1.15])
def test_formants_move_and_pitch_and_phases_stay(factor, voice):
    x = vowel(1500)
    y = conversion.move_formants(draws(), x, factor)
    assert formant_of(y) == pytest.approx(1500 * factor, rel=0.04)
    assert pitch_of(y) == pytest.approx(125, rel=0.02)
    z = conversion.move_formants(draws(), voice, factor)
    assert phase_agreement(voice, z) > 0.95 and mel_distance(voice, z) > 1


def test_a_factor_of_one_moves_no_formant(voice):
    y = conversion.move_formants(draws(), voice, 1.0)
    np.testing.assert_allclose(y, voice, atol=1e-5)


def test_factors_are_drawn_from_the_whole_range():
    rng = draws()
    factors = np.array([conversion.draw_factor(rng, 1.7) for _ in range(500)])
    assert 1 / 1.7 <= factors.min() < 0.62 and 1.6 < factors.max() <= 1.7
    assert np.mean(factors < 1) == pytest.approx(0.5, abs=0.07)


def test_the_pitch_of_another_speaker():
    """Means near 118 Hz (men) and 205 Hz (women) are equally frequent.

    The spread of the log pitch changes by a factor of at most 2. A higher pitch comes with higher
    formants. 150 Hz is the middle of the means of women and men.
    """
    source = 150 * np.exp(0.1 * np.sin(np.arange(400) / 10))
    source[100:150] = 0
    means = []
    spreads = []
    formants = []
    for seed in range(200):
        pitch, factor = conversion.other_pitch(draws(seed), source)
        assert (pitch > 0).tolist() == (source > 0).tolist()
        log_pitch = np.log(pitch[source > 0])
        means.append(log_pitch.mean())
        spreads.append(log_pitch.std() / np.log(source[source > 0]).std())
        formants.append(factor)
    means = np.exp(means)
    women = means > 155
    assert women.mean() == pytest.approx(0.5, abs=0.1)
    assert np.median(means[women]) == pytest.approx(205, rel=0.06)
    assert np.median(means[~women]) == pytest.approx(118, rel=0.06)
    assert 0.49 < min(spreads) < 0.6 and 1.7 < max(spreads) < 2.01
    assert np.corrcoef(np.log(means), formants)[0, 1] > 0.98


def test_speech_without_pitch_stays_unvoiced():
    pitch, formants = conversion.other_pitch(draws(), np.zeros(20))
    assert not pitch.any() and formants == 1


@needs_pyworld
def test_world_gives_the_pitch_of_another_speaker():
    """For a constant pitch, the drawn mean is the new pitch."""
    x = vowel(1500)
    for seed in (1, 2):
        expected = conversion.other_pitch(draws(seed), np.full(200, 125.0))[0][0]
        y = conversion.world_convert(draws(seed), x)
        assert len(y) == len(x) and pitch_of(y) == pytest.approx(expected, rel=0.03)


@needs_pyworld
def test_the_frame_period_limits_how_fast_sound_can_change():
    """Noise whose level changes 40 times a second: frames of 2.5 ms follow, of 20 ms do not."""
    time = np.arange(32000) / 16000
    x = draws().standard_normal(32000) * (1 + 0.9 * np.sin(2 * np.pi * 40 * time)) / 30
    depth = {}
    for period in (2.5, 20):
        level = np.convolve(conversion.world_drawn(draws(), x, period) ** 2, np.ones(64), "same")
        depth[period] = np.abs(np.mean(level * np.exp(2j * np.pi * 40 * time))) / level.mean()
    assert depth[2.5] > 0.5 > 0.2 > depth[20]


# ---------------------------------------------------------------------- mixtures
@needs_pyworld
def test_another_voice_then_griffin_lim(voice):
    """The second stage keeps the mel powers of the first stage, but not its phases."""
    first = conversion.world_voice(draws(5), voice)
    y = conversion.voice_griffin_lim(draws(5), voice)
    assert mel_distance(first, y) < 4 and phase_agreement(first, y) < 0.35
    assert mel_distance(voice, y) > mel_distance(first, y) + 1


def test_segments_of_bona_fide_and_spoofed_speech(voice):
    x = np.tile(voice, 2)
    y = conversion.mix_segments(draws(), x)
    spoofed = np.abs(y - x) > 1e-9
    # Silent samples of the original can equal the copy by chance.
    edges = np.flatnonzero(np.diff(np.convolve(spoofed, np.ones(80), "same") > 40))
    lengths = np.diff(edges) / 16000
    assert len(lengths) > 4 and lengths.min() > 0.15 and lengths.max() < 0.9
    assert 0.3 < spoofed.mean() < 0.7


def test_short_files_are_spoofed_too():
    for seed in range(20):
        assert conversion.draw_segments(draws(seed), 1600).all()


# ---------------------------------------------------------------------- draws
@pytest.mark.parametrize("name", NAMES)
def test_the_same_draws_give_the_same_samples(name, voice):
    x = voice[:8000]
    first, again, other = (COPIES[name].copy(draws(seed), x) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert len(first) == len(x)
    # Plain WORLD draws nothing.
    assert np.array_equal(first, other) == (name in ("world", "world_coded"))


def test_attacks_have_names_of_their_own():
    attacks = [vocoder.attack for vocoder in COPIES.values()]
    assert len(set(attacks)) == len(attacks)


def test_attacks_from_the_command_line(speech, tmp_path):
    words = ["--vocoders", "phase", "segments"]
    assert copy(speech, tmp_path / "a", *words) == 0
    lines = words_of_lines(tmp_path / "a" / "cm.train.trn.txt")
    assert {words[3] for words in lines} == {"-", "P01", "M02"}
    assert copy(speech, tmp_path / "b", *words) == 0
    for path in (tmp_path / "a" / "P01").rglob("*.wav"):
        twin = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert path.read_bytes() == twin.read_bytes()


# ---------------------------------------------------------------------- neural vocoders
FAKE_VOCOS = """
class Vocos:
    @classmethod
    def from_pretrained(cls, repository):
        assert repository == "charactr/vocos-mel-24khz"
        return cls()
    def eval(self):
        return self
    def __call__(self, wave):
        assert wave.ndim == 2 and wave.shape[0] == 1
        # Whole frames of 256 samples.
        return -wave[:, : wave.shape[1] // 256 * 256]
"""
FAKE_HIFIGAN = """
import torch
class HIFIGAN:
    @classmethod
    def from_hparams(cls, source):
        assert source == "speechbrain/tts-hifigan-libritts-16kHz"
        return cls()
    def decode_batch(self, mel):
        assert mel.ndim == 3 and mel.shape[:2] == (1, 80)
        # The lowest value is the logarithm of 1e-5.
        assert mel.min() >= -11.6
        return torch.arange((mel.shape[2] + 10) * 256)[None, None].float()
"""


@pytest.fixture
def fakes(tmp_path, monkeypatch):
    """Packages vocos and speechbrain on the path, for one test."""
    folder = tmp_path / "packages"
    files = {"vocos": FAKE_VOCOS, "speechbrain": "", "speechbrain/inference": ""}
    for name, text in files.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(text)
    (folder / "speechbrain" / "inference" / "vocoders.py").write_text(FAKE_HIFIGAN)
    for name in list(sys.modules):
        if name.split(".")[0] in ("vocos", "speechbrain"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(folder)
    loaders = (neural.load_vocos, neural.load_hifigan)
    for loader in loaders:
        loader.cache_clear()
    yield folder
    for loader in loaders:
        loader.cache_clear()
    for name in list(sys.modules):
        if name.split(".")[0] in ("vocos", "speechbrain"):
            del sys.modules[name]


def test_a_plug_in_is_used_when_its_package_is_installed(fakes, speech, tmp_path):
    words = ["--vocoders", "vocos"]
    assert copy(speech, tmp_path / "a", *words) == 0
    lines = words_of_lines(tmp_path / "a" / "cm.train.trn.txt")
    spoofed = [words[1] for words in lines if words[3] == "N01"]
    assert len(spoofed) == 3
    for name in spoofed:
        y = soundfile.read(tmp_path / "a" / name)[0]
        x = soundfile.read(tmp_path / "a" / "bonafide" / name.split("/", 1)[1])[0]
        # The fake returns the negative wave, without its incomplete frame.
        assert len(y) == len(x) and np.corrcoef(x[:-400], y[:-400])[0, 1] < -0.98


def test_frames_of_hifigan_are_aligned(fakes):
    """The network repeats the first and the last frame five times."""
    y = COPIES["hifigan"].copy(draws(), np.sin(np.arange(5000)))
    assert len(y) == 5000 and list(y[:3]) == [1280, 1281, 1282]


@pytest.mark.parametrize(
    "name, other, package", [("vocos", "hifigan", VOCOS), ("hifigan", "vocos", SPEECHBRAIN)]
)
def test_a_package_that_is_missing(name, other, package, speech, tmp_path, monkeypatch, capsys):
    """The error names the vocoders of this package alone."""
    monkeypatch.setitem(sys.modules, "vocos", None)
    monkeypatch.setitem(sys.modules, "speechbrain", None)
    assert copy(speech, tmp_path / "a", "--vocoders", "phase", name, other) == 2
    err = capsys.readouterr().err
    assert f"--vocoders: {name} needs the package {package.module} (" in err
    assert f"'pip install {package.requirement}', or choose --vocoders phase." in err
    assert not (tmp_path / "a").exists()


def test_weights_that_cannot_be_loaded(fakes, speech, tmp_path, capsys):
    text = FAKE_VOCOS.replace("return cls()", "raise OSError('no route to host')")
    (fakes / "vocos" / "__init__.py").write_text(text)
    assert copy(speech, tmp_path / "a", "--vocoders", "vocos") == 2
    err = capsys.readouterr().err
    assert "vocos cannot load its network (OSError: no route to host)" in err
    assert "check the connection" in err and not (tmp_path / "a").exists()
