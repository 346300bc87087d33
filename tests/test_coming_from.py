"""The "Coming from" tables of the docs: each of our commands in them runs as it is written.

The files of the test corpus have the names that the commands use; only sizes change. Commands of
dataprep.py that need a server are tested with the servers, and commands with ASVspoof 2019 in
test_sasv.py.
"""

import argparse
import pickle
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from conftest import small_run
from test_docs import DOCS, PROGRAMS, ROOT, embeddings, words_of
from test_models import model
from test_sasv import published

from network.checkpoints import read_checkpoint
from options import VALUES
from options.parser import parse

SECTION = DOCS.partition("## Coming from")[2].partition("\n## ")[0]
# The commands of the tables. One needs a server, see above.
COMMANDS = [
    command
    for command in re.findall(r"`python (\w+\.py [^`]+)`", SECTION)
    if not command.startswith("dataprep.py --save_path")
]
# Options with which a training takes about a second.
SIZES = words_of(
    {
        "batch_size": 4,
        "max_frames": 30,
        "eval_frames": 30,
        "num_eval": 1,
        "nDataLoaderThread": 0,
        "device": "cpu",
        "max_steps": 2,
    }
)
# Settings as the double-attention project pickles them.
SETTINGS = {
    "front_end": "VGG3L",
    "kernel_size": 32,
    "embedding_size": 24,
    "heads_number": 4,
    "pooling_method": "MHA",
    "mask_prob": 0.3,
    "normalization": "cmvn",
    "out_dir": "elsewhere",
    "num_spkrs": 5,
}
# {loss of the enhancement project: config that trains with it, configs/enhance_<...>.yaml}
LOSSES = {
    "MSE": "mse_cs",
    "MAE": "mse_cs",
    "CS": "mse_cs",
    "MSE_CS": "mse_cs",
    "Softmax": "mse_softmax",
    "MSE_Softmax": "mse_softmax",
    "MyTriplet_CS": "triplet",
    "DA": "da",
    "DA_MSE": "da",
}


def run(command, *more):
    """Run a command line without `python`, and further words. Returns the exit code."""
    script, *words = shlex.split(command)
    return PROGRAMS[script].main([*words, *map(str, more)]) or 0


def enhance(config, *more):
    """Train the enhancement network of a config for a few steps. Returns the exit code."""
    command = f"trainSpeakerNet.py --config configs/enhance_{config}.yaml --nOut 16"
    return run(command, *SIZES, *more)


def double_attention():
    """Make the network of the double-attention project with the sizes in SETTINGS."""
    net = model(
        "VGG3L", encoder_type="MHA", kernel_size=32, nOut=24, heads_number=4, normalization="cmvn"
    )
    return net.eval()


def link_files(root, corpus, store):
    """Link the audio, the lists and two checkpoints to the names that the commands use.

    store: the folder of the checkpoints, which have the format of the published ones.
    """
    wav = corpus / "wav"
    links = {
        "data/voxceleb1": wav,
        "data/voxceleb2": wav,
        "data/voxceleb/voxceleb1": wav,
        "data/voxceleb/voxceleb2": wav,
        "data/features": wav,
        "data/train_list.txt": corpus / "train_list.txt",
        "data/veri_test.txt": corpus / "trials.txt",
        "data/librispeech.txt": corpus / "trials.txt",
        "configs": ROOT / "configs",
    }
    torch.manual_seed(0)
    networks = {
        "baseline_lite_ap": model("ResNetSE34L"),
        "baseline_v2_smproto": model("ResNetSE34V2", encoder_type="ASP"),
    }
    for name, net in networks.items():
        links[f"{name}.model"] = store / f"{name}.model"
        torch.save(published({"model": net.state_dict(), "loss": {}}), store / f"{name}.model")
    for link, file in links.items():
        (root / link).parent.mkdir(parents=True, exist_ok=True)
        (root / link).symlink_to(file)


def write_double_attention_files(root, corpus):
    """Write the lists, the pickled settings and the checkpoint of the double-attention project."""
    numbers = {}
    train_lines = ""
    for line in (corpus / "train_list.txt").read_text().splitlines():
        speaker, file = line.removesuffix(".wav").split()
        numbers.setdefault(speaker, len(numbers))
        train_lines += f"{file} {numbers[speaker]} None\n"
    (root / "data/train.lst").write_text(train_lines)
    first_file = train_lines.split()[0]
    shutil.copy(corpus / "wav" / f"{first_file}.wav", root / "a.wav")
    (root / "files.lst").write_text("a\n")
    pairs = {"0": "", "1": ""}
    for line in (corpus / "trials.txt").read_text().splitlines():
        label, pair = line.replace(".wav", "").split(" ", 1)
        pairs[label] += f"{pair}\n"
    (root / "data/clients.lst").write_text(pairs["1"])
    (root / "data/impostors.lst").write_text(pairs["0"])
    settings = argparse.Namespace(**SETTINGS)
    (root / "config.pkl").write_bytes(pickle.dumps(settings))
    state = {
        "model": double_attention().state_dict(),
        "settings": settings,
        "optimizer": {},
        "epoch": 3,
        "step": 7,
    }
    torch.save(state, root / "model.chkpt")


def write_embeddings(root, corpus):
    """Write the trees of embeddings that the commands use."""
    for name, part in (("voxceleb2", "train"), ("voxceleb1", "test"), ("librispeech", "test")):
        shutil.copytree(embeddings(corpus, 16) / part, root / "data/embeddings" / name)
    tree = root / "data/embeddings/voxceleb1"
    assert run("dataprep.py --combine_embeddings", tree) == 0
    assert run("dataprep.py --embedding_lists", tree, "--name", "valid") == 0


@pytest.fixture(scope="module")
def world(corpus, tmp_path_factory):
    """A folder with all files that the commands name."""
    root = tmp_path_factory.mktemp("world")
    link_files(root, corpus, tmp_path_factory.mktemp("store"))
    write_double_attention_files(root, corpus)
    write_embeddings(root, corpus)
    assert run("trainSpeakerNet.py", *small_run(corpus, root / "exps/test", "--max_steps", 1)) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert enhance("mse_cs") == 0
    return root


@pytest.fixture
def place(world, tmp_path, monkeypatch):
    """A copy of the folder, which is the working directory."""
    shutil.copytree(world, tmp_path / "world", symlinks=True)
    monkeypatch.chdir(tmp_path / "world")


def sizes_of(command):
    """Return options with which a command takes about a second."""
    if command.startswith("dataprep.py"):
        return ["--processes", "1"] if "--embedding_lists" not in command else []
    if command.startswith("tuneThreshold.py") or "--modelConfig" in command:
        return []
    words = [*SIZES]
    if "enhance_" in command:
        words += ["--nOut", "16"]
    if "DoubleMHA" in command:
        words += ["--kernel_size", "64"]
    if "--randomSlicing" in command:
        words += ["--max_frames", "200"]
    return words


@pytest.mark.parametrize("command", COMMANDS)
def test_command_of_the_tables(command, place, capsys, caplog):
    if not re.search(" --(eval|check|generate|plot) |scores.txt", f"{command} "):
        # A finished run would only say that it is finished.
        shutil.rmtree("exps")
    if " --extract " in command:
        shutil.rmtree("data/embeddings/voxceleb1")
    capsys.readouterr()
    assert run(command, *sizes_of(command)) == 0, capsys.readouterr().err
    assert "no effect" not in caplog.text + "".join(capsys.readouterr())


def test_the_tables_have_all_kinds_of_command():
    assert len(COMMANDS) > 20
    assert {command.split()[0] for command in COMMANDS} == {*PROGRAMS}


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_of_enhancement_by_its_config(loss, place):
    assert enhance(LOSSES[loss], "--trainfunc", loss, "--save_path", "exps/new") == 0
    options = read_checkpoint("exps/new/model/last.model")["options"]
    assert options["trainfunc"] == VALUES["trainfunc"].get(loss, loss)
    assert f"`{loss}`" in SECTION


# ---------------------------------------------------------------------- checkpoints of the commands
def test_a_run_folder_means_its_last_checkpoint(place, capsys):
    assert enhance("mse_cs", "--max_steps", 6) == 0
    # The best checkpoint becomes an older one.
    folder = Path("exps/enhance_mse_cs/model")
    shutil.copy(folder / "model000000001.model", folder / "best.model")
    want = Path("exps/enhance_mse_cs/result/scores.txt").read_text()
    assert enhance("mse_cs", "--eval", "--output", "scores.txt") == 0
    used = "--initial_model exps/enhance_mse_cs/model/last.model"
    assert used in capsys.readouterr().out
    assert Path("scores.txt").read_text() == want
    assert enhance("mse_cs", "--eval", "--save_path", "exps/nothing") == 2
    assert "or the --save_path of a run" in capsys.readouterr().err


def test_embedding_of_one_file(place, capsys):
    """The example of the double-attention project: its settings, its checkpoint, a whole file."""
    command = (
        "trainSpeakerNet.py --audioPath a.wav --modelConfig config.pkl "
        "--modelCheckpoint model.chkpt --device cpu --nDataLoaderThread 0"
    )
    assert run(command) == 0
    got = np.array(capsys.readouterr().out.split(), float)
    x, _ = sf.read("a.wav", dtype="float32")
    with torch.no_grad():
        want = double_attention()(torch.from_numpy(x)[None])[0].numpy()
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    assert run(command, "--output", "embeddings") == 0
    assert np.load("embeddings/a.npy").shape == (1, 24)
    assert run("trainSpeakerNet.py --extract files.lst --save_path exps/test") == 2
    assert "Give --output DIR" in capsys.readouterr().err


class Code:
    """An object whose pickle runs code when it is loaded."""

    def __reduce__(self):
        return exec, ("raise SystemExit('code of a pickle was run')",)


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            pickle.dumps(argparse.Namespace(kernel_size=Code())),
            "trainer, got something else (it holds builtins.exec); nothing",
        ),
        (pickle.dumps(argparse.Namespace(**SETTINGS))[:40], "config.pkl: want pickled settings"),
        (pickle.dumps([1, 2]), "config.pkl: want pickled settings"),
        (
            pickle.dumps(argparse.Namespace(front_end="VGG9L")),
            "config.pkl: front_end: argument --model/--front_end: invalid choice: 'VGG9L'",
        ),
        (None, "--modelConfig config.pkl: No such file"),
    ],
)
def test_unusable_settings(settings, message, tmp_path, monkeypatch, program):
    monkeypatch.chdir(tmp_path)
    if settings:
        Path("config.pkl").write_bytes(settings)
    code, _, err = program(
        "--audioPath", "a.wav", "--modelConfig", "config.pkl", "--modelCheckpoint", "model.chkpt"
    )
    assert code == 2
    assert message in err


# ---------------------------------------------------------------------- defaults
# {our options: options whose values are the defaults of the published trainer}
PUBLISHED = {
    "": "--max_frames 200 --eval_frames 300 --batch_size 200 --max_seg_per_spk 500 --seed 10 "
    "--test_interval 10 --max_epoch 500 --optimizer adam --scheduler steplr --lr 0.001 "
    "--lr_decay 0.95 --weight_decay 0 --nPerSpeaker 1 --dcf_p_target 0.05 --dcf_c_miss 1 "
    "--dcf_c_fa 1 --save_path exps/exp1 --n_mels 40 --encoder_type SAP --nOut 512",
    "--trainfunc triplet": "--hard_prob 0.5 --hard_rank 10 --margin 0.1",
    "--trainfunc aamsoftmax": "--margin 0.1 --scale 30",
    "--model RawNet3": "--sinc_stride 10",
    "--config configs/DoubleMHA.yaml": "--front_end VGG4L --window_size 3.5 --normalization cmn "
    "--kernel_size 1024 --embedding_size 400 --heads_number 32 --pooling_method DoubleMHA "
    "--mask_prob 0.3 --scalingFactor 30.0 --marginFactor 0.4 --annealing --optimizer Adam "
    "--learning_rate 0.0001 --weight_decay 0.001 --batch_size 64 --gradientAccumulation 2 "
    "--max_epochs 1000000 --early_stopping 25 --print_every 1000 --requeue --validate_every 10000 "
    "--num_workers 2",
    "--config configs/enhance_mse_cs.yaml": "--batch_size 1000 --optimizer adam --lr 1e-5 "
    "--lr_decay 0.99 --test_interval 1 --max_epoch 40 --activation ELU --nOut 512 "
    "--multiple_embedding_flag B",
    "--config configs/enhance_da.yaml": "--sigma 1 --lr 1e-5 --lr_decay 0.99 --test_interval 1 "
    "--max_epoch 40 --activation ELU --nOut 512",
    "--config configs/sasv_stage3.yaml --initial_model=": "--max_frames 500 --num_spk 40 "
    "--num_utt 2 --batch_size 160 --trainfunc sasv_e2e_v1 --optimizer adamW "
    "--scheduler cosine_annealing_warmup_restarts --lr_t0 8 --lr_tmul 1.0 --lr_max 1e-4 "
    "--lr_min 0 --lr_wstep 0 --lr_gamma 0.8 --margin 0.2 --scale 30 --num_mels 80 --log_input "
    "--pooling_type ASP --num_out 192 --eca_c 1024 --eca_s 8 --weight_decay 1e-7 "
    "--max_seg_per_spk 10000 --test_interval 1 --max_epoch 100 --model SKA_TDNN",
}


@pytest.mark.parametrize("ours", PUBLISHED)
def test_published_defaults_equal_our_defaults(ours, monkeypatch):
    """The published defaults change nothing: they are our defaults, or values of the config."""
    monkeypatch.chdir(ROOT)
    words = shlex.split(ours)
    published_words = shlex.split(PUBLISHED[ours])
    options = parse(words, {}, "", read_checkpoint)[0]
    assert options == parse([*words, *published_words], {}, "", read_checkpoint)[0]
