"""Updates on a simulated GPU, torch's device "meta", whose tensors have shapes and no values.

What would fail or be slow on a real GPU fails here: operations on tensors of different devices, and
operations that wait until the device has computed a number.
"""

import sys

import numpy as np
import pytest
import soundfile as sf
import torch
from kill_resume import noise_corpus
from test_losses import loss_function
from test_models import MODELS, small
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from corpus.augment import Augment
from corpus.lists import Utterance, classes_of
from DatasetLoader import TrainDataset
from options import components
from options.plugins import find, options_of
from SpeakerNet import SpeakerNet, Trainer

GPU = torch.device("meta")


class Autocast(torch.autocast):
    """torch.autocast does not support the device "meta". Use the CPU's settings for it."""

    def __init__(self, device_type, *args, **kwargs):
        super().__init__("cpu" if device_type == GPU.type else device_type, *args, **kwargs)


def devices_of(values):
    """Returns the types of the devices of all tensors, except for single numbers on the CPU."""
    devices = set()
    for x in tree_leaves(values):
        if isinstance(x, torch.Tensor) and (x.dim() or x.device.type == GPU.type):
            devices.add(x.device.type)
    return devices


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of two devices, and copies that wait for the device.

    Single numbers on the CPU may be used with tensors of the device.
    """

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        devices = devices_of((args, kwargs))
        # This operation does not support tensors without values.
        if function is torch.ops.aten._fused_sgd_.default:
            return None
        out = function(*args, **kwargs)
        if len(devices | devices_of(out)) > 1:
            assert function is torch.ops.aten._to_copy.default, f"{function} of {devices}"
            assert devices == {"cpu"} and kwargs.get("non_blocking"), f"{function} is waited for"
        return out


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    monkeypatch.setattr(torch, "autocast", Autocast)
    # The fused optimizers do not support the device "meta" either.
    for where in ("torch.optim.optimizer", "torch.utils._foreach_utils"):
        monkeypatch.setattr(
            sys.modules[where], "_get_fused_kernels_supported_devices", lambda: ["cpu", GPU.type]
        )


def update(model, loss, batch, optimizer="adam", **options):
    """Makes one update as Trainer._update does, and does not read its losses back."""
    made = Trainer(SpeakerNet(model, loss).to(GPU), device=GPU, **options)
    made.optimizer = find("optimizer", optimizer)(made.net.parameters())
    made.scheduler = torch.optim.lr_scheduler.LambdaLR(made.optimizer, lambda step: 1.0)
    made.net.train()
    with OneDevice():
        if not made.optimizer.defaults.get("fused"):
            for p in made.net.parameters():
                p.grad = torch.zeros_like(p)
            # This makes the state of the optimizer. Without the state, an update waits.
            made.optimizer.step()
        made._update([batch])
    assert made.pending[0].terms.device == GPU
    assert all(p.device == GPU for p in made.net.parameters())


def embeddings(spoofed=0):
    """A batch of 8 groups of 4 utterances, with every entry that a loss may read."""
    return {
        "x": torch.randn(8, 4, 6),
        "label": torch.arange(8),
        "spoof": torch.arange(8) >= 8 - spoofed,
        "index": torch.arange(32).view(8, 4),
        "target": torch.randn(8, 6),
        "other": torch.randn(8, 6),
        "session": torch.tensor([0, 0, 0, 1]).expand(8, 4),
    }


def speech(net):
    """A batch of 4 groups of 2 utterances, as waves or as embeddings."""
    return {
        "x": torch.randn(4, 2, 16000 if net.takes == "waves" else net.dim),
        "label": torch.arange(4),
        "spoof": torch.zeros(4, dtype=torch.bool),
        "index": torch.arange(8).view(4, 2),
    }


@pytest.mark.parametrize("name", MODELS)
def test_models(name):
    augments = "spec_augment" in {option.name for option in options_of("model", name)}
    net = small(name, **({"spec_augment": True} if augments else {}))
    update(net, loss_function("softmax", dim=net.dim, num_classes=4), speech(net))


@pytest.mark.parametrize("encoder_type", components("encoder_type"))
def test_poolings(encoder_type):
    net = small("VGGVox", encoder_type=encoder_type)
    update(net, loss_function("proto", global_clf=True, dim=net.dim, num_classes=4), speech(net))


@pytest.mark.parametrize("name", components("trainfunc"))
def test_losses(name):
    loss = loss_function(name, dim=6, num_classes=8)
    # Losses for enhancement refuse spoofed speech.
    spoofed = 0 if loss.reads else 2
    update(small("MyLinearNetv3", nOut=6), loss, embeddings(spoofed))


@pytest.mark.parametrize("optimizer", components("optimizer"))
def test_optimizers(optimizer):
    update(
        small("MyLinearNetv3", nOut=6),
        loss_function("aamsoftmax", dim=6, num_classes=8),
        embeddings(),
        optimizer,
        clip=1.0,
        skip_nonfinite=2,
        ema=0.99,
    )


def test_augmentation(tmp_path):
    noise_corpus(tmp_path)
    for i in range(8):
        wave = 0.1 * np.random.default_rng(i).standard_normal(16000)
        sf.write(tmp_path / f"{i}.wav", wave, 16000)
    utterances = [Utterance(str(i // 2), f"{i}.wav") for i in range(8)]
    data = TrainDataset(
        utterances,
        str(tmp_path),
        classes_of(utterances),
        max_frames=50,
        seed=0,
        augment_later=True,
        augment=Augment(str(tmp_path / "musan"), str(tmp_path / "rir")),
    )
    net = small("ResNetSE34L")
    batch = data[1, [[0, 1], [2, 3], [4, 5], [6, 7]]]
    assert len(batch["noise"]) and len(batch["rir"])
    update(net, loss_function("softmax", dim=net.dim, num_classes=4), batch)


def test_the_guard():
    """OneDevice and the device "meta" refuse these operations."""
    x = torch.randn(3, device=GPU)
    y = torch.randn(3)
    for wrong in (
        lambda: x + y,
        lambda: x[y > 0],
        lambda: y.to(GPU),
        lambda: x.nonzero(),
        lambda: bool(x.sum()),
        lambda: x.masked_fill(y > 0, 0),
        x.cpu,
    ):
        with pytest.raises((AssertionError, RuntimeError, NotImplementedError)), OneDevice():
            wrong()
