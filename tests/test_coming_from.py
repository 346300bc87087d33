"""The pages of the five systems: all commands run, and the published ones do what they did.

Every command of a page runs in the order of the page, in a folder with small data that have the
names of the pages. Only sizes change. Commands of dataprep.py that need a server are tested with
the servers, and the published commands with ASVspoof 2019 in test_sasv.py.
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
from pages import ROOT, SYSTEM_PAGES, SYSTEMS, commands_of, section_lines
from small_world import (
    PUBLISHED_SECTION,
    SETTINGS,
    SIZES,
    double_attention,
    place_asvspoof,
    run,
    run_command,
    write_asvspoof,
    write_world,
)
from test_docs import embeddings

from network.checkpoints import read_checkpoint
from options import VALUES
from options.parser import parse

# The same second-level headings on every page of a system.
HEADINGS = [
    "Data",
    "Train",
    "Evaluate",
    "Use",
    PUBLISHED_SECTION,
    "What differs from the original",
    "Results",
]
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


def enhance(config, *more):
    """Trains the enhancement network of a config for a few steps. Returns the exit code."""
    command = f"trainSpeakerNet.py --config configs/enhance_{config}.yaml --nOut 16"
    return run(command, *SIZES, *more)


@pytest.fixture
def place(corpus, checkpoint, tmp_path, monkeypatch):
    """A folder with all files that the pages assume. It is the working directory."""
    write_world(tmp_path, corpus, checkpoint.parent.parent)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPEECH_DATA", "data")
    return tmp_path


@pytest.fixture
def embedded(place, corpus):
    """The same with embeddings of 16 numbers, their targets and lists, and a trained network."""
    for name, part in (("voxceleb2", "train"), ("voxceleb1", "test")):
        tree = place / "data" / "embeddings" / name
        shutil.copytree(embeddings(corpus, 16) / part, tree)
    assert run("dataprep.py --combine_embeddings", tree) == 0
    assert run("dataprep.py --embedding_lists", tree, "--name", "valid") == 0
    return place


# ---------------------------------------------------------------------- the pages
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("system", SYSTEMS)
def test_commands_of_the_page(system, place, tmp_path_factory, capsys, caplog):
    commands = commands_of(SYSTEM_PAGES[system])
    published = commands_of(SYSTEM_PAGES[system], [PUBLISHED_SECTION])
    if system == "spoofing":
        la = tmp_path_factory.mktemp("LA")
        write_asvspoof(tmp_path_factory.mktemp("made"), la)
        place_asvspoof(place, la)
        # test_sasv.py runs these.
        commands = [command for command in commands if command not in published]
    failures = []
    for command in commands:
        caplog.clear()
        capsys.readouterr()
        code = run_command(command)
        printed = "".join(capsys.readouterr())
        warned = "no effect" in printed + caplog.text
        if code or (warned and command in published):
            failures.append(f"{command}\n{printed[-600:]}")
    assert not failures, "\n\n".join(failures)
    assert len(commands) > 8


@pytest.mark.parametrize("system", SYSTEMS)
def test_pages_have_the_same_sections(system):
    lines = SYSTEM_PAGES[system].read_text().splitlines()
    assert [line[3:] for line in lines if line.startswith("## ")] == HEADINGS


@pytest.mark.parametrize("system", SYSTEMS)
def test_published_commands_are_quoted_and_translated(system):
    section = "\n".join(section_lines(SYSTEM_PAGES[system], [PUBLISHED_SECTION]))
    assert "```text\n" in section
    assert "```bash\npython " in section


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_of_enhancement_by_its_config(loss, embedded):
    assert enhance(LOSSES[loss], "--trainfunc", loss, "--save_path", "exps/new") == 0
    options = read_checkpoint("exps/new/model/last.model")["options"]
    assert options["trainfunc"] == VALUES["trainfunc"].get(loss, loss)
    section = section_lines(SYSTEM_PAGES["embedding_enhancement"], [PUBLISHED_SECTION])
    rows = [line for line in section if f"`configs/enhance_{LOSSES[loss]}.yaml`" in line]
    assert any(line.startswith("| ") and f"`{loss}`" in line for line in rows)


def test_the_published_enhancement_of_session_alignment():
    """MyLinearNetv2_Exp6-4.yaml trains DA_MSE on pairs of one speaker in each batch."""
    page = SYSTEM_PAGES["embedding_enhancement"].read_text()
    quoted = page.index("--config configs/MyLinearNetv2_Exp6-4.yaml")
    command = re.search("```bash\n(.*?)```", page[quoted:], re.S)[1]
    words = " ".join(command.replace("\\\n", "").split())
    assert "--trainfunc DA_MSE --sigma 1 --batch_size 1 --nPerSpeaker 40" in words


# ---------------------------------------------------------------------- checkpoints of the commands
def test_a_run_folder_means_its_last_checkpoint(embedded, capsys):
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
            "trainer, found something else (it contains builtins.exec). No code",
        ),
        (
            pickle.dumps(argparse.Namespace(**SETTINGS))[:40],
            "config.pkl: expected pickled settings",
        ),
        (pickle.dumps([1, 2]), "config.pkl: expected pickled settings"),
        (
            pickle.dumps(argparse.Namespace(front_end="VGG9L")),
            "config.pkl: front_end: expected one of ",
        ),
        (None, "--modelConfig config.pkl: there is no such file."),
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
