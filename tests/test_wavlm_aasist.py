"""WavLM_AASIST: what it computes, its weights from a file, and its training as a countermeasure.

pytest tests/test_wavlm_aasist.py
"""

import pytest
import torch
from conftest import small_run
from test_models import noise, small
from torch.nn import functional as F

from metrics.scores import read_scores
from models._wavlm import SIZES, WavLM
from network.components import build_model


@torch.no_grad()
def test_the_graphs_get_the_frames_of_all_layers():
    """Each step from the layers of WavLM to the maps, as the module describes it."""
    net = small("WavLM_AASIST").eval()
    shares = torch.tensor([0.1, 0.2, 0.3, 0.4])
    net.layer_weights.copy_(shares.log())
    wave = noise(2, 16000)
    layers = net.ssl(wave)
    # (16000 - 80) // 320 frames.
    assert layers.shape == (2, 4, 64, 49)
    frames = sum(share * layers[:, i] for i, share in enumerate(shares))
    numbers = torch.einsum("oc,nct->not", net.projection.weight, frames)
    numbers = numbers + net.projection.bias[:, None]
    # The largest of 3 x 3 numbers, without the last two of 128 and the last one of 49.
    blocks = numbers[:, :126, :48].unfold(1, 3, 3).unfold(2, 3, 3).amax((3, 4))
    entered = F.selu(blocks / (1 + net.first_bn.eps) ** 0.5).unsqueeze(1)
    maps = net.maps(wave)
    assert maps.shape == (2, 64, 42, 16)
    torch.testing.assert_close(maps, net.blocks(entered))
    torch.testing.assert_close(net(wave), net.graphs(maps.abs()))
    assert net(wave).shape == (2, 160)


@torch.no_grad()
def test_short_waves_are_repeated():
    net = small("WavLM_AASIST").eval()
    x = noise(2, 500)
    assert torch.equal(net(x), net(x.repeat(1, 3)[:, :1040]))
    assert net.maps(x).shape[3] == 1


def test_number_of_parameters():
    """The back end has the blocks and graphs of AASIST, and a layer from 64 to 128 numbers."""
    net = small("WavLM_AASIST")
    aasist = build_model("AASIST")
    count = sum(p.numel() for name, p in net.named_parameters() if not name.startswith("ssl."))
    # 42 bands instead of 23, the layer with its biases, and the weights of 4 layers.
    more = (42 - 23) * 64 + (64 + 1) * 128 + 4
    assert count == sum(p.numel() for p in aasist.parameters()) + more


@pytest.fixture
def spoofed(corpus, tmp_path):
    """A protocol of 12 files of the corpus, of which a third are spoofed."""
    lines = []
    files = (corpus / "train_list.txt").read_text().splitlines()[::4]
    for i, line in enumerate(files):
        lines.append(f"{line} - {'A01 spoof' if i % 3 == 2 else '- bonafide'}\n")
    path = tmp_path / "protocol.txt"
    path.write_text("".join(lines))
    return path


def test_training_from_a_file(corpus, spoofed, tmp_path, program):
    """A short training as a countermeasure, and its scores of a protocol."""
    torch.manual_seed(7)
    weights = WavLM(SIZES["tiny"]).state_dict()
    torch.save(weights, tmp_path / "tiny.pt")
    words = small_run(corpus, tmp_path / "run", "--model", "WavLM_AASIST")
    words += ["--trainfunc", "cm_softmax", "--ssl_weights", tmp_path / "tiny.pt"]
    words += ["--train_list", spoofed, "--ssl_lr", 1e-4, "--test_interval", 9]
    words += ["--test_list", spoofed, "--num_spk", 2, "--nPerSpeaker", 1, "--max_steps", 2]
    code, out, err = program(*words)
    assert code == 0, err
    assert f"--ssl_weights {tmp_path / 'tiny.pt'}: 64 weights were loaded." in out
    saved = torch.load(tmp_path / "run" / "model" / "last.model", weights_only=True)["model"]
    moved = [name for name in weights if not torch.equal(saved[f"ssl.{name}"], weights[name])]
    assert moved
    # The convolutions never learn.
    assert not any(name.startswith("feature_extractor") for name in moved)
    words = ["--eval", "--save_path", tmp_path / "run", "--output", tmp_path / "cm.txt"]
    words += ["--test_list", spoofed, "--test_path", corpus / "wav", "--eval_frames", 40]
    code, out, err = program(*words)
    assert code == 0, err
    assert read_scores(tmp_path / "cm.txt").are_of_files
