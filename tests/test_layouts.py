"""Published weights in the layout of each project: they need no option, and give its embeddings.

pytest tests/test_layouts.py
"""

import json
import logging
import re

import numpy as np
import pytest
import torch
import yaml
from conftest import small_run
from reference import golden
from test_models import REFERENCE, difference, filled, small
from torch import nn

from inference.networks import build_net
from network.checkpoints import load_weights, read_checkpoint
from network.components import build_model
from options.parser import parse

WESPEAKER = "hamming", 32768.0
THREE_D_SPEAKER = "povey", 1.0
# File and case of a fixture, and the window and the scale of the front end.
CASES = [
    ("wespeaker_resnet", "resnet34_ASTP", WESPEAKER),
    ("wespeaker_resnet", "resnet34_TAP", WESPEAKER),
    ("wespeaker_resnet", "resnet18_two_emb", WESPEAKER),
    ("wespeaker_resnet", "resnet50_TSTP", WESPEAKER),
    ("wespeaker_simam", "simam34_ASP_32", WESPEAKER),
    ("campplus", "wespeaker_512_TSTP", WESPEAKER),
    ("campplus", "campplus_40bands", THREE_D_SPEAKER),
    ("eres2netv2", "v2_base", THREE_D_SPEAKER),
    ("eres2netv2", "v2_small_w24s4ep4", THREE_D_SPEAKER),
    ("redimnet", "b0_pt", None),
    ("redimnet", "b2_pt", None),
    ("redimnet", "wespeaker_b0", None),
    ("redimnet2", "b2_tf", None),
    ("redimnet2", "b0_gnorm_dual", None),
    ("redimnet2", "b0_att", None),
]
# Cases that take more than a second.
SLOW = ("resnet34_TAP", "resnet50_TSTP", "simam34_ASP_32", "v2_base", "b2_pt", "b2_tf", "b0_att")


def marked(case):
    marks = [pytest.mark.slow] if case[1] in SLOW else []
    return pytest.param(*case, id=case[1], marks=marks)


def case_of(file, name):
    cases = golden.load_cases(REFERENCE / f"model_{file}.npz")
    return next(case for case in cases if case.name == name)


def write_published(folder, file, case, front):
    """Writes the weights of a case as its project does. Returns the path of the checkpoint."""
    path = folder / "avg_model.pt"
    weights = {}
    for entry in case.state:
        if entry["name"] not in case.skipped:
            weights[entry["name"]] = filled(entry)
    if file.startswith("redimnet") and "wespeaker" not in case.name:
        torch.save({"model_config": case.hparams["init"], "state_dict": weights}, path)
        return path
    if front is WESPEAKER:
        # Averaged files of wespeaker have the classifier and counters that are no whole numbers.
        for name in weights:
            if name.endswith("num_batches_tracked"):
                weights[name] = weights[name].float()
        weights["projection.weight"] = torch.ones(7, case.arrays["embedding"].shape[-1])
        settings = {"model": case.hparams["model"], "model_args": case.hparams["init"]}
        (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    torch.save(weights, path)
    return path


def loaded(path):
    """Returns the options of the command `--eval --initial_model PATH`, and its network."""
    options, state = parse(["--eval", "--initial_model", str(path)], {}, "", read_checkpoint)
    net = build_net(options, 1)
    load_weights(net, state, path, head="unused")
    return options, net.model.eval()


@pytest.mark.parametrize(("file", "name", "front"), [marked(case) for case in CASES])
@torch.no_grad()
def test_a_published_file_needs_no_option(file, name, front, tmp_path):
    case = case_of(file, name)
    path = write_published(tmp_path, file, case, front)
    options, model = loaded(path)
    x = torch.from_numpy(case.inputs[case.hparams["input"]])
    if case.hparams["input"].startswith("x"):
        # The fixture has features.
        model.torchfbank = model.torchfb = nn.Identity()
        x = x.transpose(1, 2)
        if hasattr(model, "shape"):
            model.features = nn.Identity()
    else:
        x = x.float() * case.hparams["wave_scale"]
    if front:
        assert (options.window, options.wave_scale) == front
    assert options.eval_frames == 0
    assert difference(model(x).numpy(), case.arrays["embedding"]) < 2e-5


@torch.no_grad()
def test_speechbrain(tmp_path):
    """The fixture was computed with speechbrain 1.1.2: names, features and embeddings."""
    fixture = np.load(REFERENCE / "model_speechbrain_ecapa.npz")
    weights = {}
    for name, shape in zip(fixture["names"], fixture["shapes"], strict=True):
        weights[str(name)] = torch.from_numpy(golden.fill(str(name), json.loads(shape)))
    path = tmp_path / "embedding_model.ckpt"
    torch.save(weights, path)
    options, model = loaded(path)
    assert (options.model, options.eca_c, options.nOut) == ("ECAPA_SpeechBrain", 64, 32)
    wave = torch.from_numpy(fixture["wave"])
    features = model.torchfb(wave).transpose(1, 2).numpy()
    assert difference(features, fixture["features"]) < 1e-5
    assert difference(model(wave).numpy(), fixture["embedding"]) < 2e-5
    model.torchfb = nn.Identity()
    short = torch.from_numpy(fixture["short"]).transpose(1, 2)
    assert difference(model(short).numpy(), fixture["embedding_short"]) < 2e-5
    full = build_model("ECAPA_SpeechBrain")
    assert sum(map(torch.numel, full.parameters())) == fixture["parameters"]


# ---------------------------------------------------------------------- the command line
@pytest.fixture
def published(tmp_path):
    """A small network in the layout of 3D-Speaker."""
    path = tmp_path / "campplus.pt"
    weights = small("CAMPPlus", nOut=24).state_dict()
    torch.save({re.sub(r"^stem\.", "head.", name): w for name, w in weights.items()}, path)
    return path


def test_another_model_is_refused_with_the_name_of_the_right_one(published, program):
    code, _, err = program("--eval", "--initial_model", published, "--model", "ECAPA_TDNN")
    assert code == 2
    assert "a file of 3D-Speaker with --model CAMPPlus" in err


def test_a_yaml_file_next_to_the_weights_gives_the_rest(published):
    published.with_suffix(".yaml").write_text("model: CAMPPlus\nwindow: hamming\nthreshold: 0.25\n")
    options, state = parse(["--eval", "--initial_model", str(published)], {}, "", read_checkpoint)
    assert (options.model, options.nOut, options.n_mels) == ("CAMPPlus", 24, 16)
    assert (options.window, options.wave_scale) == ("hamming", 1.0)
    assert state["result"] == {"threshold": 0.25}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("model: CAMPPlus\nwindow: square\n", "window"),
        ("model: CAMPPlus\nthreshold: high\n", "threshold"),
        ("{", "as YAML"),
    ],
)
def test_a_wrong_yaml_file_is_named(published, program, text, problem):
    path = published.with_suffix(".yaml")
    path.write_text(text)
    code, _, err = program("--eval", "--initial_model", published)
    assert code == 2
    assert str(path) in err and problem in err


def test_options_that_the_weights_do_not_decide_can_be_changed(published):
    words = ["--eval", "--initial_model", str(published), "--window", "hamming"]
    options, _ = parse(words, {}, "", read_checkpoint)
    assert options.window == "hamming"


def test_the_assumptions_are_printed_with_the_project(published, program, corpus, caplog):
    caplog.set_level(logging.INFO)
    wave = next((corpus / "wav").rglob("*.wav"))
    code, out, err = program("--verify", wave, wave, "--initial_model", published)
    assert code == 0, err
    assert "weights for CAMPPlus of 3D-Speaker" in out
    assert "--window povey --wave_scale 1.0" in out


def test_a_training_starts_from_a_published_file(published, corpus, tmp_path, program):
    words = small_run(corpus, tmp_path / "run", "--initial_model", published, "--nOut", 24)
    code, _, err = program(*words, "--max_epoch", 1)
    assert code == 0, err
    stored = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (stored["model"], stored["nOut"], stored["n_mels"]) == ("CAMPPlus", 24, 16)
