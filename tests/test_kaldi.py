"""Filter banks of Kaldi: the numbers of torchaudio, and what the front end adds.

pytest tests/test_kaldi.py
"""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from reference import golden

from models._frontend import FrontEnd
from models._kaldi import WESPEAKER, FbankOptions, KaldiFilterBanks, front_end

REFERENCE = Path(__file__).with_name("reference")
PUBLISHED = {"3dspeaker": FbankOptions(), "wespeaker": WESPEAKER}
# torchaudio offers windows that reach beyond the ends of the wave. No recipe uses them.
CASES = [
    case
    for case in golden.load_cases(REFERENCE / "features_kaldi_fbank.npz")
    if case.hparams["fbank"].get("snip_edges", True)
]


def noise(*shape, seed=0):
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def front(**options):
    return front_end(FbankOptions(**options))


def difference(got, expected):
    """The relative difference of a tensor and an array. The array may be zero."""
    error = np.linalg.norm(got.numpy() - expected)
    return error / max(np.linalg.norm(expected), 1e-30)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_features_equal_those_of_torchaudio(case):
    bands = case.hparams["fbank"]["num_mel_bins"]
    options = dataclasses.replace(PUBLISHED[case.hparams["recipe"]], n_mels=bands)
    # The samples have 16 bits, and a reader of files divides them.
    wave = torch.from_numpy(case.inputs[case.hparams["input"]] / np.float32(32768)).unsqueeze(0)
    want = case.arrays["fbank_mean_normalised"].T
    filter_banks = KaldiFilterBanks(options)
    assert difference(filter_banks(wave)[0], want) < 1e-5
    plain = KaldiFilterBanks(options, norm="none")
    assert difference(plain(wave)[0], case.arrays["fbank"].T) < 1e-5
    # The reference computes its weights in float32.
    if "mel_matrix" in case.arrays:
        assert np.allclose(filter_banks.filters, case.arrays["mel_matrix"], atol=3e-5)
        window = case.arrays["window_" + options.window]
        assert np.allclose(filter_banks.window[:400], window, atol=1e-6)


def test_float32_without_gradient_under_autocast():
    x = noise(2, 16000).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        features = front()(x)
    assert features.shape == (2, 80, 98)
    assert features.dtype is torch.float32
    assert not features.requires_grad
    assert torch.equal(features, front()(x))
    assert features.mean(-1).abs().max() < 1e-5


@pytest.mark.parametrize("window", ["hamming", "hann", "povey"])
def test_rows_and_offsets_do_not_matter(window):
    """The mean of every window is subtracted, also a mean that is a hundred times the speech."""
    filter_banks = front(window=window)
    x = noise(3, 8000)
    together = filter_banks(x)
    assert torch.allclose(together[1:2], filter_banks(x[1:2]), atol=1e-5)
    assert torch.allclose(together, filter_banks(x + 10.0), atol=0.05)


@pytest.mark.parametrize("samples", [1, 160, 399, 400])
def test_a_short_wave_has_one_frame(samples):
    """The mean over one frame is that frame."""
    features = front()(noise(2, samples))
    assert features.shape == (2, 80, 1)
    assert not features.any()
    padded = torch.nn.functional.pad(noise(1, samples), (0, 400 - samples))
    bare = KaldiFilterBanks(FbankOptions(), norm="none")
    assert torch.equal(bare(noise(1, samples)), bare(padded))


def test_digital_silence_is_the_floor():
    bare = KaldiFilterBanks(FbankOptions(), norm="none")
    assert torch.allclose(bare(torch.zeros(1, 8000)), torch.tensor(-15.942385))


def test_noise_and_masks_are_for_training_alone():
    x = noise(2, 16000)
    plain = front()(x)
    for options in ({"spec_augment": True}, {"dither": 0.01}):
        torch.manual_seed(1)
        trained = front(**options)
        first = trained(x)
        assert not torch.allclose(first, plain, atol=0.1)
        torch.manual_seed(1)
        assert torch.equal(trained(x), first)
        assert torch.equal(trained.eval()(x), plain)
    # The noise has the unit of the scaled samples.
    scaled = front_end(dataclasses.replace(WESPEAKER, dither=1.0))
    assert torch.allclose(scaled(x), scaled.eval()(x), atol=0.5)


def test_a_mel_spectrogram_is_the_other_choice():
    x = noise(2, 16000)
    expected = FrontEnd(40, window="hann", norm="mean", scale=2.0)
    got = front(n_mels=40, fbank="mel", window="hann", wave_scale=2.0)
    assert torch.equal(got(x), expected(x))


@pytest.mark.parametrize("options, expected", [({}, "at least 0"), ({"fbank": "mel"}, "0 with")])
def test_dither_that_has_no_meaning_is_refused(options, expected):
    with pytest.raises(ValueError, match=f"--dither: expected {expected}.*, found -1"):
        front(dither=-1.0, **options)
