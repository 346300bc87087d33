"""--export: an ONNX file of which onnxruntime and numpy alone make the same embeddings, for every model, batch and length.

Each export takes three to nine seconds.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from conftest import small_run
from test_models import MODELS, difference, noise, small

import trainSpeakerNet
from inference import export as exporting
from inference.export import OPSET, to_onnx
from models import _resnet
from network.checkpoints import read_checkpoint
from network.components import build

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason="not installed (requirements-dev.txt)")
ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/export.md").read_text()
EXAMPLE = re.search(r"^((?: {4}(?!python )[^\n]*\n)+)", PAGE, re.M | re.S)[1]
SMALLER = {
    "MFA_Conformer": {"num_blocks": 1},
    "SKA_TDNN": {"frt_c": 8, "eca_s": 2},
    "ECAPA_TDNN": {"eca_c": 64, "eca_s": 2},
    **{name: {"nOut": 16} for name in MODELS if name.startswith("MyLinear")},
}
pytestmark = pytest.mark.slow
# its logarithms of nearly empty bands amplify the last digit
TOLERANCES = {"RawNet3": 1e-4}


@pytest.mark.parametrize("name", MODELS)
def test_every_model(name, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(_resnet, "BLOCKS", (1, 1, 1, 1))
    net = small(name, **SMALLER.get(name, {})).eval()
    # as if it were trained
    for module in net.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
    run = onnxruntime.InferenceSession(to_onnx(net, {"sample_rate": "16000"}))
    assert run.get_modelmeta().custom_metadata_map == {"sample_rate": "16000"}
    for rows, samples in (
        ((1, 8000), (3, 20021), (3, 8000), (1, 160000))
        if net.takes == "waves"
        else ((1, net.dim), (3, net.dim))
    ):
        x = noise(rows, samples, seed=samples)
        with torch.inference_mode():
            want = net(x).numpy()
        (got,) = run.run(None, {net.takes: x.numpy()})
        assert got.shape == (rows, net.dim) and got.dtype == np.float32
        assert max(map(difference, got, want)) < TOLERANCES.get(name, 5e-6), (rows, samples)


@pytest.fixture(scope="module")
def demo(corpus, tmp_path_factory):
    """Folder in which the page's commands work, with a small network as exps/demo."""
    folder = tmp_path_factory.mktemp("export")
    words = small_run(
        corpus,
        folder / "exps" / "demo",
        "--model",
        "MFA_Conformer",
        "--num_blocks",
        1,
        "--output_size",
        16,
        "--attention_heads",
        2,
        "--linear_units",
        16,
        "--eval_frames",
        0,
        "--max_steps",
        2,
    )
    assert not trainSpeakerNet.main([str(word) for word in words])
    for name, wav in zip("ab", sorted((corpus / "wav").rglob("*.wav")), strict=False):
        (folder / f"{name}.wav").symlink_to(wav)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert not trainSpeakerNet.main(
            shlex.split(re.search(r"^ {4}python trainSpeakerNet.py (--export .*)", PAGE, re.M)[1])
        )
    return folder


def test_metadata_and_embeddings_of_whole_files(demo, corpus, tmp_path, program):
    """As --extract makes them, of real speech where there is any."""
    import onnx
    import onnxruntime

    path, best = demo / "exps" / "demo.onnx", demo / "exps" / "demo" / "model" / "best.model"
    model, run, state = (
        onnx.load(path),
        onnxruntime.InferenceSession(path),
        torch.load(best, weights_only=True),
    )
    onnx.checker.check_model(model)
    assert [opset.version for opset in model.opset_import if not opset.domain] == [OPSET]
    # nothing of this machine
    assert not any(place.encode() in path.read_bytes() for place in (str(ROOT), "site-packages"))
    facts = run.get_modelmeta().custom_metadata_map
    assert facts["sample_rate"] == "16000" and (
        facts["model"],
        facts["trainfunc"],
        facts["scoring"],
    ) == ("MFA_Conformer", "softmaxproto", "similarity")
    assert (
        float(facts["threshold"]) == state["result"]["threshold"]
        and float(facts["EER"]) == state["result"]["EER"]
    )
    assert (
        json.loads(facts["options"]).items() <= state["options"].items()
        and json.loads(facts["options"])["output_size"] == 16
    )
    speech = Path(os.environ.get("SPEECH_DATA", "none"), "librispeech_mini")
    root, trials = (
        (speech / "test", speech / "trials.txt")
        if speech.exists()
        else (corpus / "wav", corpus / "trials.txt")
    )
    names = sorted({word for line in trials.read_text().splitlines() for word in line.split()[1:]})[
        ::6
    ]
    (tmp_path / "list.txt").write_text("".join(f"{name}\n" for name in names))
    assert (
        program(
            "--extract",
            tmp_path / "list.txt",
            "--test_path",
            root,
            "--output",
            tmp_path / "npy",
            "--initial_model",
            best,
        )[0]
        == 0
    )
    for name in names:
        x, _ = sf.read(root / name, dtype="float32")
        assert (
            difference(
                run.run(None, {"waves": x[None]})[0],
                np.load((tmp_path / "npy" / name).with_suffix(".npy")),
            )
            < 5e-6
        ), name


def test_example_of_readme(demo, program, monkeypatch):
    """Without torch and this program, what --verify says."""
    monkeypatch.chdir(demo)
    script = (
        textwrap.dedent(EXAMPLE) + "import sys\nprint(*{'torch', 'SpeakerNet'} & {*sys.modules})"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ""},
        check=True,
    )
    score, same = run.stdout.split()
    _, out, _ = program(
        "--verify", "a.wav", "b.wav", "--initial_model", "exps/demo/model/best.model"
    )
    assert float(out.split()[1]) == pytest.approx(float(score), abs=1.1e-4) and (
        "same speaker" in out
    ) is (same == "True")


def test_what_cannot_be_exported(demo, corpus, tmp_path, program, monkeypatch):
    best, path = demo / "exps" / "demo" / "model" / "best.model", tmp_path / "x.onnx"
    words = ["--export", path, "--initial_model"]
    monkeypatch.setattr(
        "inference.actions.to_onnx", lambda model, facts: facts["threshold"].encode()
    )
    for found in (2e-4, float("nan")):
        monkeypatch.setattr("inference.actions.largest_difference", lambda model, data, found=found: found)
        code, _, err = program(*words, best)
        assert (
            code == 2
            and f"want a relative difference of at most 0.0001, got {found:.1e}" in err
            and not path.exists()
        )
    monkeypatch.setattr("inference.actions.largest_difference", lambda model, data: 1e-5)
    code, out, _ = program(*words, best, "--threshold", 0.25)
    assert (
        code == 0
        and "largest relative difference to PyTorch: 1.0e-05" in out
        and path.read_bytes() == b"0.25"
    )
    code, _, err = program(*words, best)
    assert code == 2 and "is there already" in err and path.read_bytes() == b"0.25"
    path.unlink()
    monkeypatch.undo()
    with pytest.raises(ValueError, match="two utterances together"):
        to_onnx(small("ResNetSE34L", encoder_type="CAP"), {})
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    code, _, err = program(*words, tmp_path / "none.model")
    assert code == 2 and "no such checkpoint" in err
    code, _, err = program(*words, best)
    assert (
        code == 2
        and "onnxscript is not installed here: pip install -r requirements-optional.txt" in err
        and not path.exists()
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda out: out * 1.001,
        lambda out: out + out.abs().mean() * (torch.arange(len(out)) == 1).unsqueeze(1) * 1e-3,
    ],
)
def test_the_check_sees_a_difference(change, demo):
    """Of a tenth of a per cent, in one row too."""
    state, data = (
        read_checkpoint(demo / "exps" / "demo" / "model" / "best.model"),
        (demo / "exps" / "demo.onnx").read_bytes(),
    )
    net = build("model", argparse.Namespace(**state["options"])).eval()
    net.load_state_dict(state["model"])
    assert exporting.largest_difference(net, data) < 5e-6
    net.register_forward_hook(lambda module, args, out: change(out))
    assert exporting.largest_difference(net, data) > 5e-4
