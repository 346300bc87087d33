"""README's "Coming from" tables: each of our commands in them runs as it stands, on files of the test corpus that have the names in it; sizes alone change.
Those of dataprep.py that want a server are run where their servers are, those of ASVspoof 2019 in test_sasv.py."""

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
from test_docs import DOCS, ROOT, embeddings, words_of
from test_models import model
from test_sasv import published

import dataprep
import trainSpeakerNet
import tuneThreshold
from network.checkpoints import read_checkpoint
from options import VALUES
from options.parser import parse

SECTION = DOCS.partition("## Coming from")[2].partition("\n## ")[0]
COMMANDS = [
    command
    for command in re.findall(r"`python (\w+\.py [^`]+)`", SECTION)
    if not command.startswith("dataprep.py --save_path")
]
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
    """A command line without `python`, and further words -> exit code."""
    script, *words = shlex.split(command)
    return {
        "dataprep.py": dataprep,
        "trainSpeakerNet.py": trainSpeakerNet,
        "tuneThreshold.py": tuneThreshold,
    }[script].main([*words, *map(str, more)]) or 0


def enhance(config, *more):
    return run(
        f"trainSpeakerNet.py --config configs/enhance_{config}.yaml --nOut 16", *SIZES, *more
    )


@pytest.fixture(scope="module")
def world(corpus, tmp_path_factory):
    """A folder with all the files that the commands name."""
    root, store = tmp_path_factory.mktemp("world"), tmp_path_factory.mktemp("store")
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
    for name, net in {
        "baseline_lite_ap": model("ResNetSE34L"),
        "baseline_v2_smproto": model("ResNetSE34V2", encoder_type="ASP"),
    }.items():
        links[f"{name}.model"] = store / f"{name}.model"
        torch.save(published({"model": net.state_dict(), "loss": {}}), store / f"{name}.model")
    for link, file in links.items():
        (root / link).parent.mkdir(parents=True, exist_ok=True)
        (root / link).symlink_to(file)

    number = {}
    rows = [
        line.removesuffix(".wav").split()
        for line in (corpus / "train_list.txt").read_text().splitlines()
    ]
    (root / "data/train.lst").write_text(
        "".join(
            f"{file} {number.setdefault(speaker, len(number))} None\n" for speaker, file in rows
        )
    )
    trials = [
        line.replace(".wav", "").split(" ", 1)
        for line in (corpus / "trials.txt").read_text().splitlines()
    ]
    for name, key in (("clients", "1"), ("impostors", "0")):
        (root / f"data/{name}.lst").write_text(
            "".join(f"{pair}\n" for label, pair in trials if label == key)
        )
    shutil.copy(wav / f"{rows[0][1]}.wav", root / "a.wav")
    (root / "files.lst").write_text("a\n")
    (root / "config.pkl").write_bytes(pickle.dumps(argparse.Namespace(**SETTINGS)))
    state = double_attention().state_dict()
    torch.save(
        {
            "model": state,
            "settings": argparse.Namespace(**SETTINGS),
            "optimizer": {},
            "epoch": 3,
            "step": 7,
        },
        root / "model.chkpt",
    )

    for name, part in (("voxceleb2", "train"), ("voxceleb1", "test"), ("librispeech", "test")):
        shutil.copytree(embeddings(corpus, 16) / part, root / "data/embeddings" / name)
    for words in (
        "--combine_embeddings data/embeddings/voxceleb1",
        "--embedding_lists data/embeddings/voxceleb1 --name valid",
    ):
        assert run("dataprep.py " + words.replace("data/", f"{root}/data/")) == 0
    assert run("trainSpeakerNet.py", *small_run(corpus, root / "exps/test", "--max_steps", 1)) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert enhance("mse_cs") == 0
    return root


@pytest.fixture
def place(world, tmp_path, monkeypatch):
    shutil.copytree(world, tmp_path / "world", symlinks=True)
    monkeypatch.chdir(tmp_path / "world")


def double_attention():
    return model(
        "VGG3L", encoder_type="MHA", kernel_size=32, nOut=24, heads_number=4, normalization="cmvn"
    ).eval()


def sizes_of(command):
    """What makes a command a matter of a second."""
    if command.startswith("dataprep.py"):
        return ["--processes", "1"] if "--embedding_lists" not in command else []
    if command.startswith("tuneThreshold.py") or "--modelConfig" in command:
        return []
    return (
        SIZES
        + ["--nOut", "16"] * ("enhance_" in command)
        + ["--kernel_size", "64"] * ("DoubleMHA" in command)
        + ["--max_frames", "200"] * ("--randomSlicing" in command)
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_command_of_the_tables(command, place, capsys, caplog):
    if not re.search(" --(eval|check|generate|plot) |scores.txt", f"{command} "):
        # of a run that is there already it would only say that it is done
        shutil.rmtree("exps")
    if " --extract " in command:
        shutil.rmtree("data/embeddings/voxceleb1")
    capsys.readouterr()
    assert run(command, *sizes_of(command)) == 0, capsys.readouterr().err
    assert "no effect" not in caplog.text + "".join(capsys.readouterr())


def test_the_tables_have_all_kinds_of_command():
    assert len(COMMANDS) > 20 and {command.split()[0] for command in COMMANDS} == {
        "trainSpeakerNet.py",
        "dataprep.py",
        "tuneThreshold.py",
    }


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_of_enhancement_by_its_config(loss, place):
    assert enhance(LOSSES[loss], "--trainfunc", loss, "--save_path", "exps/new") == 0
    assert read_checkpoint("exps/new/model/last.model")["options"]["trainfunc"] == VALUES[
        "trainfunc"
    ].get(loss, loss)
    assert f"`{loss}`" in SECTION


# ---------------------------------------------------------------------- checkpoints that the published commands mean
def test_a_run_folder_stands_for_its_last_checkpoint(place, capsys):
    assert enhance("mse_cs", "--max_steps", 6) == 0
    # an older one
    shutil.copy(
        "exps/enhance_mse_cs/model/model000000001.model", "exps/enhance_mse_cs/model/best.model"
    )
    want = Path("exps/enhance_mse_cs/result/scores.txt").read_text()
    assert (
        enhance("mse_cs", "--eval", "--output", "scores.txt") == 0
        and "--initial_model exps/enhance_mse_cs/model/last.model" in capsys.readouterr().out
    )
    assert Path("scores.txt").read_text() == want
    assert (
        enhance("mse_cs", "--eval", "--save_path", "exps/nothing") == 2
        and "or the --save_path of a run" in capsys.readouterr().err
    )


def test_embedding_of_one_file(place, capsys):
    """As the example of the double-attention project: its pickled settings, its checkpoint, the whole file."""
    command = "trainSpeakerNet.py --audioPath a.wav --modelConfig config.pkl --modelCheckpoint model.chkpt --device cpu --nDataLoaderThread 0"
    assert run(command) == 0
    got = np.array(capsys.readouterr().out.split(), float)
    x, _ = sf.read("a.wav", dtype="float32")
    with torch.no_grad():
        want = double_attention()(torch.from_numpy(x)[None])[0].numpy()
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    assert run(command, "--output", "embeddings") == 0 and np.load("embeddings/a.npy").shape == (
        1,
        24,
    )
    assert (
        run("trainSpeakerNet.py --extract files.lst --save_path exps/test") == 2
        and "--extract: want --output FOLDER" in capsys.readouterr().err
    )


class Code:
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
def test_settings_that_are_none(settings, message, tmp_path, monkeypatch, program):
    monkeypatch.chdir(tmp_path)
    if settings:
        Path("config.pkl").write_bytes(settings)
    code, _, err = program(
        "--audioPath", "a.wav", "--modelConfig", "config.pkl", "--modelCheckpoint", "model.chkpt"
    )
    assert code == 2 and message in err


# ---------------------------------------------------------------------- defaults
PUBLISHED = {
    "": "--max_frames 200 --eval_frames 300 --batch_size 200 --max_seg_per_spk 500 --seed 10 --test_interval 10 --max_epoch 500 --optimizer adam "
    "--scheduler steplr --lr 0.001 --lr_decay 0.95 --weight_decay 0 --nPerSpeaker 1 "
    "--dcf_p_target 0.05 --dcf_c_miss 1 --dcf_c_fa 1 --save_path exps/exp1 --n_mels 40 "
    "--encoder_type SAP --nOut 512",
    "--trainfunc triplet": "--hard_prob 0.5 --hard_rank 10 --margin 0.1",
    "--trainfunc aamsoftmax": "--margin 0.1 --scale 30",
    "--model RawNet3": "--sinc_stride 10",
    "--config configs/DoubleMHA.yaml": "--front_end VGG4L --window_size 3.5 --normalization cmn --kernel_size 1024 --embedding_size 400 --heads_number 32 --pooling_method DoubleMHA "
    "--mask_prob 0.3 --scalingFactor 30.0 --marginFactor 0.4 --annealing --optimizer Adam --learning_rate 0.0001 --weight_decay 0.001 --batch_size 64 "
    "--gradientAccumulation 2 --max_epochs 1000000 --early_stopping 25 --print_every 1000 --requeue --validate_every 10000 --num_workers 2",
    "--config configs/enhance_mse_cs.yaml": "--batch_size 1000 --optimizer adam --lr 1e-5 --lr_decay 0.99 --test_interval 1 --max_epoch 40 --activation ELU "
    "--nOut 512 --multiple_embedding_flag B",
    "--config configs/enhance_da.yaml": "--sigma 1 --lr 1e-5 --lr_decay 0.99 --test_interval 1 --max_epoch 40 --activation ELU --nOut 512",
    "--config configs/sasv_stage3.yaml --initial_model=": "--max_frames 500 --num_spk 40 --num_utt 2 --batch_size 160 --trainfunc sasv_e2e_v1 --optimizer adamW --scheduler cosine_annealing_warmup_restarts "
    "--lr_t0 8 --lr_tmul 1.0 --lr_max 1e-4 --lr_min 0 --lr_wstep 0 --lr_gamma 0.8 --margin 0.2 --scale 30 --num_mels 80 --log_input --pooling_type ASP "
    "--num_out 192 --eca_c 1024 --eca_s 8 --weight_decay 1e-7 --max_seg_per_spk 10000 --test_interval 1 --max_epoch 100 --model SKA_TDNN",
}


@pytest.mark.parametrize("ours", PUBLISHED)
def test_published_defaults_are_ours_or_those_of_the_config(ours, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert (
        parse(shlex.split(ours), {}, "", read_checkpoint)[0]
        == parse(shlex.split(f"{ours} {PUBLISHED[ours]}"), {}, "", read_checkpoint)[0]
    )
