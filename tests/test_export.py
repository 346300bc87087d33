"""--export: an ONNX file that onnxruntime and numpy alone make the same embeddings of, for every model, batch and length."""
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Tiny
from test_models import MODELS, difference, noise, small

import use.checkpoint
from models import _resnet
from use.export import OPSET, to_onnx

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason="not installed (requirements-dev.txt)")
ROOT = Path(__file__).parent.parent
SMALLER = {"MFA_Conformer": {"num_blocks": 1}, "SKA_TDNN": {"frt_c": 8, "eca_s": 2}, "ECAPA_TDNN": {"eca_c": 64, "eca_s": 2}, "MyLinearNet": {"nOut": 16}}
TOLERANCES = {"RawNet3": 1e-4}                                                   # its logarithms of nearly empty bands amplify the last digit


def session(data):
    import onnxruntime
    return onnxruntime.InferenceSession(data)


@pytest.mark.parametrize("name", [name for name in MODELS if not re.match("MyLinearNetv", name)])
def test_every_model(name, monkeypatch):
    monkeypatch.setattr(_resnet, "BLOCKS", (1, 1, 1, 1))
    net = small(name, **SMALLER.get(name, {})).eval()
    for module in net.modules():                                                 # batch statistics as if it were trained
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
    run = session(to_onnx(net, {"sample_rate": "16000"}))
    assert run.get_modelmeta().custom_metadata_map == {"sample_rate": "16000"}
    for rows, samples in ((1, 8000), (3, 20021), (3, 8000), (1, 160000)) if net.takes == "waves" else ((1, net.dim), (3, net.dim)):
        x = noise(rows, samples, seed=samples)
        with torch.inference_mode():
            want = net(x).numpy()
        got, = run.run(None, {net.takes: x.numpy()})
        assert got.shape == (rows, net.dim) and got.dtype == np.float32
        assert max(map(difference, got, want)) < TOLERANCES.get(name, 5e-6), (rows, samples)
