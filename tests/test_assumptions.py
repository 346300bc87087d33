"""The line about weights without options: the assumed values that the weights do not determine."""

import argparse

import numpy as np
import pytest
import soundfile as sf
import torch
from conftest import small_run

from network.assumptions import undetermined
from network.components import build_model
from network.names import computed_names, parts_of_file
from options.plugins import options_of_network


class Options(argparse.Namespace):
    """The options of a network at their defaults, none of which the user gave."""

    __slots__ = ()
    given: frozenset = frozenset()


def defaults_of(model):
    """The options of a model at their defaults."""
    options = options_of_network({"model": model})
    return Options(model=model, **{option.name: option.default for option in options})


def file_of(model, constants=True):
    """The weights of a model, with or without the filters and windows of its front end."""
    weights = model.state_dict()
    if not constants:
        weights = {name: v for name, v in weights.items() if name not in computed_names(model)}
    return weights


@pytest.mark.parametrize(
    ("name", "constants", "expected"),
    [
        ("ResNetSE34L", True, ["log_input", "norm", "wave_scale"]),
        ("ResNetSE34L", False, ["n_mels", "log_input", "window", "norm", "wave_scale"]),
        ("ECAPA_TDNN", False, ["log_input"]),
        ("RawNet3", True, ["sinc_stride"]),
        ("VGG4L", True, ["normalization"]),
        ("MyLinearNetv2", True, ["activation"]),
    ],
)
def test_options_that_weights_do_not_determine(name, constants, expected):
    model = build_model(name)
    state = parts_of_file(file_of(model, constants))
    assert undetermined(model, state, defaults_of(name)) == expected


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"log_input": False}, True),
        ({"norm": "mean"}, True),
        ({"wave_scale": 32768}, True),
        # The window of the file replaces the one of the option.
        ({"window": "hann"}, False),
    ],
)
def test_the_embedding_depends_on_what_is_undetermined(change, differs):
    torch.manual_seed(0)
    model = build_model("ResNetSE34L", nOut=8)
    wave = 1e-3 * torch.randn(1, 8000)
    other = build_model("ResNetSE34L", nOut=8, **change)
    other.load_state_dict(model.state_dict())
    with torch.inference_mode():
        distance = (model.eval()(wave) - other.eval()(wave)).norm() / model(wave).norm()
    assert (distance > 1e-5) == differs


@pytest.fixture
def weights(tmp_path):
    """A file with the weights of a small ResNetSE34L, as voxceleb_trainer names them."""
    state = build_model("ResNetSE34L", nOut=32).state_dict()
    path = tmp_path / "bare.model"
    torch.save({f"__S__.{n.replace('pooling.', '')}": v for n, v in state.items()}, path)
    return path


NETWORK = "--log_input --norm instance --wave_scale 1.0"
CUTS = "--eval_frames 300 --num_eval 10 --crop_margin 240 --short_files repeat"
SCORING = "--scoring similarity --trainfunc softmaxproto"


def line_about(out):
    """The assumed options in the output of the program, or None without such a line."""
    lines = [line for line in out.splitlines() if "the file has weights only" in line]
    assert len(lines) < 2
    return lines[0] if lines else None


@pytest.mark.parametrize(
    ("mode", "more", "expected"),
    [
        ("--verify", [], f"{NETWORK} {CUTS} {SCORING}"),
        ("--verify", ["--no-log_input", "--eval_frames", 0], None),
        ("--extract", [], f"{NETWORK} {CUTS}"),
    ],
)
def test_uses_name_what_they_assume(mode, more, expected, weights, tmp_path, program):
    files = [tmp_path / "a.wav", tmp_path / "b.wav"]
    for seed, file in enumerate(files):
        sf.write(file, 0.1 * np.random.default_rng(seed).standard_normal(16000), 16000)
    words = [mode, *files[: 2 if mode == "--verify" else 1], "--initial_model", weights]
    code, out, err = program(*words, "--nOut", 32, "--model", "ResNetSE34L", *more)
    assert code == 0, err
    line = line_about(out + err)
    if expected:
        assert line.startswith(f"{weights}: the file has weights only. Assumed: {expected}. Other")
        assert "--no-log_input for voxceleb_trainer without --log_input" in line
    else:
        given = f"--norm instance --wave_scale 1.0 --bucket_frames 0 {SCORING}"
        assert f"Assumed: {given}." in line and "log_input" not in line


def test_a_training_names_what_it_assumes(weights, corpus, tmp_path, program):
    words = small_run(corpus, tmp_path / "run", "--initial_model", weights, "--max_epoch", 1)
    code, out, err = program(*words, "--wave_scale", 1)
    assert code == 0, err
    assert "Assumed: --log_input --norm instance. Other" in line_about(out)


def test_a_checkpoint_with_options_needs_no_assumption(checkpoint, corpus, tmp_path, program):
    words = ["--eval", "--test_list", corpus / "trials.txt", "--test_path", corpus / "wav"]
    code, out, _ = program(*words, "--initial_model", checkpoint, "--save_path", tmp_path)
    assert code == 0 and line_about(out) is None
