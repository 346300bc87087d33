"""--compile: the gradients and checkpoints of a run without it, and an error if it cannot work."""

import copy
import functools
import os
import shutil
import signal
import sysconfig
from pathlib import Path

import pytest
import torch
from conftest import small_run
from kill_resume import end_of, equal

from loss.softmax import LossFunction
from models import _resnet
from network.components import build_model
from SpeakerNet import SpeakerNet, Trainer

HEADER = Path(sysconfig.get_path("include"), "Python.h")
COMPILER = shutil.which(os.environ.get("CXX", "g++")) and HEADER.exists()


@pytest.fixture
def narrow(monkeypatch):
    """Makes ResNetSE34L a network with one block of 8 channels per layer.

    torch.compile does everything except for generating code, which takes half a minute for such a
    network.
    """
    torch.compiler.reset()
    monkeypatch.setattr(_resnet, "BLOCKS", (1, 1, 1, 1))
    monkeypatch.setattr(_resnet, "THIN", (8, 8, 8, 8))
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))


def relative_error(a, b):
    return ((a - b).norm() / b.norm()).item()


NETWORKS = {
    "ResNetSE34L": {"nOut": 16, "n_mels": 8, "encoder_type": "ASP"},
    # Dropout draws other numbers in compiled code.
    "WavLM_MHFA": {"ssl_size": "tiny", "ssl_dropout": 0.0, "ssl_layer_drop": 0.0},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("mixedprec", [False, True])
def test_gradients_of_a_network(mixedprec, name, narrow):
    x = torch.randn(4, 2, 4000, generator=torch.Generator().manual_seed(0))
    grads = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = build_model(name, **NETWORKS[name])
        trainer = Trainer(SpeakerNet(model, LossFunction(model.dim, 4)), mixedprec=mixedprec)
        if compiled:
            trainer.compile()
        with trainer.autocast:
            trainer.net({"x": x, "label": torch.arange(4)})["loss"].backward()
        trained = [(key, p) for key, p in model.named_parameters() if p.requires_grad]
        grads.append({key: p.grad for key, p in trained})
    assert model._compiled_call_impl
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 1
    for key, grad in grads[0].items():
        # The gradient of a bias of attention keys is 0 up to rounding.
        if grad.norm() > 1e-6:
            assert relative_error(grads[1][key], grad) < 1e-3, key


@pytest.mark.skipif(not COMPILER, reason="no C++ compiler or no Python.h")
@pytest.mark.slow
def test_gradients_of_a_block():
    """With the code generator, but without vector instructions.

    The generator would look for vector instructions for twenty seconds.
    """
    torch.compiler.reset()
    torch.manual_seed(0)
    plain = _resnet.Block(8, 16, 2)
    compiled = copy.deepcopy(plain)
    compiled.compile(dynamic=False, options={"cpp.vec_isa_ok": False})
    x = torch.randn(4, 8, 9, 21)
    weight = torch.randn(4, 16, 5, 11)
    for block in (plain, compiled):
        (block(x) * weight).sum().backward()
    for p, q in zip(plain.parameters(), compiled.parameters(), strict=True):
        assert relative_error(q.grad, p.grad) < 1e-4


@pytest.mark.slow
def test_runs_go_on_with_and_without(narrow, corpus, tmp_path, program):
    """A run that changes to or from --compile on its way ends as an undisturbed run does."""
    assert program(*small_run(corpus, tmp_path / "plain", "--ema", 0.9))[0] == 0
    plain, log = end_of(tmp_path / "plain")
    half = plain["step"] // 2 + 1
    for name, first, then in (("to", [], ["--compile"]), ("from", ["--compile"], [])):
        words = small_run(corpus, tmp_path / name, "--ema", 0.9)
        assert program(*words, "--max_steps", half, *first)[0] == 0
        code, out, err = program(*words, *then)
        assert code == 0, err
        assert "Resuming " in out
        state, other = end_of(tmp_path / name)
        for key in ("model", "loss", "trained", "optimizer", "step", "rng"):
            assert equal(state[key], plain[key]), key
        assert [line["loss"] for line in other] == [line["loss"] for line in log]


def test_stopped_at_work(corpus, tmp_path, program, monkeypatch):
    """Ctrl-C also reaches the compilers, which then fail."""

    def compile_and_update(self, group):
        signal.raise_signal(signal.SIGINT)
        raise torch._dynamo.exc.TorchDynamoException("C++ compile error")

    monkeypatch.setattr(Trainer, "compile", lambda self: None)
    monkeypatch.setattr(Trainer, "_update", compile_and_update)
    code, out, err = program(*small_run(corpus, tmp_path, "--compile"))
    assert code == 130
    assert "Stopped while --compile was compiling." in out
    assert not err
    assert not (tmp_path / "model" / "last.model").exists()


def test_no_compiler(corpus, tmp_path, program, monkeypatch):
    torch.compiler.reset()
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    code, _, err = program(*small_run(corpus, tmp_path / "run", "--compile"))
    assert code == 2
    assert "--compile does not work here" in err
    assert "No working C++ compiler" in err
    assert not (tmp_path / "run").exists()
