"""CAM++: the numbers of 3D-Speaker and wespeaker, the sizes, and the released weights.

pytest tests/test_campplus.py
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from reference import golden
from test_models import REFERENCE, difference, filled, model, noise, record_outputs, small
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import trainSpeakerNet
from metrics.rates import error_rates, min_dcf
from models import _campplus

CASES = golden.load_cases(REFERENCE / "model_campplus.npz")
RENAMED = {"feat_dim": "n_mels", "embedding_size": "nOut", "embed_dim": "nOut"}


def network_of(case):
    """Returns our network without its front end, with the weights of a case."""
    options = {RENAMED.get(key, key): value for key, value in case.hparams["init"].items()}
    # An option that saves memory in training, and changes the running statistics.
    assert not options.pop("memory_efficient", False)
    wespeaker = options.pop("pooling_func", None)
    if wespeaker:
        options["encoder_type"] = "plain_" + wespeaker
    net = model("CAMPPlus", **options)
    net.torchfb = nn.Identity()
    net.load_state_dict({net.new_name(entry["name"]): filled(entry) for entry in case.state})
    return net


def features_of(case, key):
    return torch.from_numpy(case.inputs[case.hparams[key]]).transpose(1, 2)


@pytest.mark.parametrize("case", CASES[:-1], ids=lambda case: case.name)
@torch.no_grad()
def test_parity(case):
    net = network_of(case).eval()
    assert sum(map(torch.numel, net.parameters())) == case.hparams["parameters"]
    outputs = record_outputs(net)
    # The fixture contains outputs of modules for the last key.
    for key in ("input_short", "input_long", "input"):
        if key in case.hparams:
            embedding = net(features_of(case, key)).numpy()
            assert difference(embedding, case.arrays["embedding" + key[5:]]) < 2e-5, key
    for key, want in case.arrays.items():
        if key.startswith("probe:"):
            output = outputs[net.new_name(key[6:] + ".").rstrip(".")]
            # Means over all axes of frames and maps.
            got = output.flatten(2).mean(-1) if output.dim() > 2 else output
            assert difference(got.numpy(), want) < 2e-5, key


def test_training_parity():
    """Gradients amplify rounding: the reference in float32 is 0.7 % away from float64.

    Its norms are 0.5 % away at most, and 0.03 % usually. So they are compared together, too.
    """
    case = CASES[-1]
    net = network_of(case).train()
    embedding = net(features_of(case, "input"))
    loss = (embedding * torch.from_numpy(case.arrays["coefficients"])).sum() / len(embedding)
    loss.backward()
    assert difference(embedding.detach().numpy(), case.arrays["embedding"]) < 5e-5
    assert loss.item() == pytest.approx(float(case.arrays["loss"]), rel=1e-4)
    gradients = {name: parameter.grad for name, parameter in net.named_parameters()}
    names = [net.new_name(name) for name in case.arrays["grad_names"]]
    assert sorted(names) == sorted(gradients)
    norms = np.array([gradients[name].norm().item() for name in names])
    expected = case.arrays["grad_norms"]
    assert difference(norms, expected) < 1e-3
    assert np.median(np.abs(norms / expected - 1)) < 1e-3
    np.testing.assert_allclose(norms, expected, rtol=0.01)
    (key,) = [key for key in case.arrays if key.startswith("grad:")]
    assert difference(gradients[net.new_name(key[5:])].numpy(), case.arrays[key]) < 0.01
    state = net.state_dict()
    sums = [state[net.new_name(name)].double().sum() for name in case.arrays["running_names"]]
    np.testing.assert_allclose(sums, case.arrays["running_sums"], rtol=1e-4, atol=1e-4)


# Million parameters as published. 1.13 billion multiply-adds were counted in the published program,
# which computes the 52 masks in each of 100 frames: 52 * 100 * (128 * 64 + 64 * 32). They are the
# same in all frames of a segment, so one frame is enough.
@pytest.mark.parametrize("size, millions", [(512, 7.18), (192, 6.85)])
@torch.no_grad()
def test_sizes_are_the_published_ones(size, millions):
    net = model("CAMPPlus", nOut=size).eval()
    net.torchfb = nn.Identity()
    assert sum(map(torch.numel, net.parameters())) / 1e6 == pytest.approx(millions, abs=0.005)
    with FlopCounterMode(display=False) as counter:
        net(noise(1, 80, 200))
    saved = 52 * 99 * (128 * 64 + 64 * 32)
    billions = (counter.get_total_flops() / 2 + saved) / 1e9
    assert billions == pytest.approx(1.13, abs=0.005)


@pytest.mark.parametrize("frames", [1, 99, 100, 101, 250])
def test_context_is_its_definition(frames):
    """The mean of the utterance plus the mean of the segment that contains a frame."""
    x = noise(2, 3, frames)
    segments = x.split(100, -1)
    expected = [x.mean(-1) + segment.mean(-1) for segment in segments]
    torch.testing.assert_close(_campplus.context(x), torch.stack(expected, -1))
    half = _campplus.context(x.bfloat16())
    assert half.dtype is torch.float32


@pytest.mark.slow
def test_compiled_network_has_the_same_gradients(monkeypatch):
    """torch.compile does everything except for generating code. The front end is not compiled."""
    monkeypatch.setattr(_campplus, "LAYERS", (2, 1, 1))
    torch.compiler.reset()
    gradients = []
    for compiled in (False, True):
        net = small("CAMPPlus", fbank="kaldi").train()
        if compiled:
            net.compile(backend="aot_eager")
        net(noise(4, 20000)).square().sum().backward()
        gradients.append({name: value.grad for name, value in net.named_parameters()})
    for name, gradient in gradients[0].items():
        assert difference(gradients[1][name].numpy(), gradient.numpy()) < 1e-3, name


# ---------------------------------------------------------------------- released weights
WEIGHTS = Path(os.environ.get("SPEAKER_WEIGHTS", "/nonexistent"), "campplus_cn_en_common.pt")
SPEECH = Path(os.environ.get("SPEECH_DATA", "/nonexistent"))
NETWORK = ["--model", "CAMPPlus", "--nOut", "192", "--initial_model", str(WEIGHTS)]
needs_weights = pytest.mark.skipif(not WEIGHTS.is_file(), reason="no SPEAKER_WEIGHTS")
needs_speech = pytest.mark.skipif(not SPEECH.is_dir(), reason="no SPEECH_DATA")
RELEASED = golden.load_cases(REFERENCE / "pretrained_campplus_cn_en.npz")


def eer_of_the_closest_point(threshold, p_miss, p_fa):
    """The mean of the two rates where they differ least, in per cent, as in the fixture."""
    closest = np.argmin(np.abs(p_miss - p_fa))
    return 50 * (p_miss[closest] + p_fa[closest])


@needs_weights
@needs_speech
@pytest.mark.slow
@pytest.mark.parametrize("case", RELEASED, ids=lambda case: case.name)
def test_released_weights_have_the_published_scores(case, tmp_path):
    folder = SPEECH / case.name
    words = ["--test_list", folder / "trials.txt", "--test_path", folder / "test"]
    words += ["--eval", "--eval_frames", 0, "--output", tmp_path / "scores.txt", *NETWORK]
    assert not trainSpeakerNet.main([str(word) for word in words])
    rows = [line.split() for line in (tmp_path / "scores.txt").read_text().splitlines()]
    scores = np.array([float(row[3]) for row in rows])
    labels = np.array([int(row[0]) for row in rows])
    places = case.arrays["trial_index"]
    assert np.array_equal(labels[places], case.arrays["trial_labels"])
    assert np.abs(scores[places] - case.arrays["trial_scores"]).max() < 1e-5
    rates = error_rates(scores, labels)
    eer = eer_of_the_closest_point(*rates)
    assert eer == pytest.approx(float(case.arrays["eer_percent"]), abs=1e-6)
    cost, _ = min_dcf(*rates, 0.05, 1, 1)
    assert cost == pytest.approx(float(case.arrays["mindcf_005"]), abs=1e-6)


@needs_weights
@needs_speech
@pytest.mark.slow
def test_verification_with_released_weights(capsys):
    """Two recordings of one speaker, and their score in the fixture."""
    case = RELEASED[0]
    root = SPEECH / case.name
    lines = (root / "trials.txt").read_text().splitlines()
    targets = np.flatnonzero(case.arrays["trial_labels"])
    files = lines[case.arrays["trial_index"][targets[0]]].split()[1:]
    words = ["--verify", *[str(root / "test" / file) for file in files], "--threshold", "0.45"]
    words += ["--eval_frames", "0"]
    assert not trainSpeakerNet.main([*words, *NETWORK])
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert float(shown["Score"]) == pytest.approx(case.arrays["trial_scores"][targets[0]], abs=1e-4)
    assert shown["Decision"] == "same speaker"
