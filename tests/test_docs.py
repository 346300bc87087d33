"""The commands of README and docs and the shipped configs run.

The first losses of each config on fixed data stay what they were, and the files that the docs name
exist.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from kill_resume import noise_corpus
from pages import PAGES, ROOT, SYSTEM_PAGES, commands_of

import dataprep
import trainSpeakerNet
import tuneThreshold
from network.components import build_model
from options import components
from prep import conversion

PROGRAMS = {
    "dataprep.py": dataprep,
    "trainSpeakerNet.py": trainSpeakerNet,
    "tuneThreshold.py": tuneThreshold,
}
CONFIGS = sorted(path.name for path in (ROOT / "configs").glob("*.yaml"))
# The losses are written by `python tests/test_docs.py`, after a change that is meant to move them.
GOLDEN = ROOT / "tests" / "reference" / "golden_losses.json"
# Other tests run some commands: test_sasv.py commands with lists of ASVspoof 2019, test_export.py
# commands with --export, test_voxblink2.py commands with VoxBlink2, test_spoofing_corpora.py
# commands with the other corpora of spoofed speech, and test_extending.py the commands of
# docs/extending.md.
TESTED_ELSEWHERE = re.compile("ASVspoof|asvspoof2021|asvspoof5|spoofceleb|--export|voxblink2")
# Channels that a dense layer of CAM++ adds, in tests.
GROWTH_RATE = "8"
COMMAND = re.compile(r"(SPEECH_DATA=\S+ )?python (\./)?\w+\.py ")
# Paths of modules and YAML files, such as corpus/lists.py.
PATH = re.compile(r"(?<![\w./-])(?:\./)?((?:\w+/)+\w+\.(?:py|yaml))\b")
# Paths in the repositories of other projects, whose commands the docs quote.
FOREIGN_PATHS = {
    "configs/ResNetSE34L_AM.yaml",
    "scripts/getEmbeddingExample.py",
    "scripts/train.py",
}
# Options that select a trained network instead of a training.
USES_OF_NETWORKS = {"--eval", "--extract", "--verify", "--check", "--all_pairs"}
USES_OF_NETWORKS |= {"--average", "--publish"}


# Commands that depend on each other: (page, titles of its sections). One test runs all commands of
# an entry in their order.
SCRIPTS = (
    ("docs/evaluation.md", ("From a checkpoint to the final number",)),
    ("docs/evaluation.md", ("Score normalisation, calibration, fusion",)),
    ("docs/evaluation.md", ("Back ends",)),
    ("docs/evaluation.md", ("Several speeds",)),
    ("docs/checkpoints.md", ("Publish a network",)),
)


def single_commands():
    """Return the commands that belong neither to SCRIPTS nor to the pages of the systems."""
    in_scripts = [line for page, titles in SCRIPTS for line in commands_of(ROOT / page, titles)]
    commands = []
    for page in PAGES:
        # test_extending.py and test_coming_from.py run these.
        if page.name == "extending.md" or page in SYSTEM_PAGES.values():
            continue
        for line in commands_of(page):
            ours = COMMAND.match(line) and not TESTED_ELSEWHERE.search(line)
            if ours and line not in in_scripts and line not in commands:
                commands.append(line)
    return commands


def slow_if(condition):
    """Return the marks of a test case that is slow under a condition."""
    return [pytest.mark.slow] if condition else []


# ---------------------------------------------------------------------- files of the docs
def missing_files(page):
    """Return the paths of modules and YAML files in a text file that do not exist."""
    named = {*PATH.findall(page.read_text())} - FOREIGN_PATHS
    missing = []
    for path in sorted(named):
        # X in models/X.py is a placeholder, and a run or a download writes exps/ and data/.
        placeholder = Path(path).stem == "X" or Path(path).parts[0] in ("exps", "data")
        if not placeholder and not (ROOT / path).is_file():
            missing.append(path)
    return missing


def test_files_named_in_the_docs_exist():
    pages = [*PAGES, ROOT / "Makefile", *ROOT.glob("requirements*.txt")]
    pages += (ROOT / "configs").glob("*.yaml")
    missing = {page.name: missing_files(page) for page in pages if missing_files(page)}
    # The reader of this page writes the files that it names. test_extending.py does so.
    missing.pop("extending.md", None)
    assert not missing, f"correct the paths in the pages: {missing}"


def test_a_missing_file_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "`report/rates.py`, metrics/rates.py, ./tests/bench.py, models/X.py and a/b.py."
    )
    assert missing_files(page) == ["a/b.py", "report/rates.py"]


def test_the_table_of_systems_has_commands_of_the_pages():
    """Each first command of README's table is in a code block, whose commands are tested."""
    tested = {line for page in PAGES for line in commands_of(page)}
    first_commands = re.findall(r"^\|.*`(python [^`]+)` \|", (ROOT / "README.md").read_text(), re.M)
    assert len(first_commands) == 6
    assert not {*first_commands} - tested


# ---------------------------------------------------------------------- table of results
VOXCELEB2 = 1_092_009


def results_rows():
    """Return the rows of README's table of published systems, as {title of the column: cell}."""
    text = (ROOT / "README.md").read_text().partition("### Published systems on VoxCeleb")[2]
    lines = re.findall(r"^\|(.*)\|$", text.partition("\n## ")[0], re.M)
    titles, _, *rows = [re.split(r" ?\| ?", line.strip(" ")) for line in lines]
    return [dict(zip(titles, row, strict=True)) for row in rows]


def updates_of_config(name):
    """Return the number of updates of a config on VoxCeleb2 with one process."""
    options = yaml.safe_load((ROOT / "configs" / name).read_text())
    speeds = 3 if options.get("speed_perturb") else 1
    return VOXCELEB2 * speeds // options["batch_size"] * options["max_epoch"]


def test_the_table_of_published_systems():
    """Updates follow from the configs, and EERs of checkpoints equal the EERs of the catalogue."""
    catalogue = yaml.safe_load((ROOT / "prep" / "catalogues" / "checkpoints.yaml").read_text())
    rows = results_rows()
    assert len(rows) > 8
    named = []
    for row in rows:
        configs = re.findall(r"\w+\.yaml", row["Config"])
        named += configs
        updates = sum(updates_of_config(name) for name in configs)
        assert row["Updates"] == f"{updates:,}", row
        checkpoint = row["Checkpoint"].partition(" ")[0]
        if checkpoint:
            published = str(catalogue["checkpoints"][checkpoint].get("eer", ""))
            shown = row["Published EER in % on VoxCeleb1-O / E / H"].replace(" (O)", "")
            assert published in ("", shown), row
    # voxceleb_trainer has no results of this config on E and H.
    recipes = {name for name in CONFIGS if name.startswith("voxceleb_")}
    assert {*named} == recipes - {"voxceleb_resnetse34l.yaml"}


# ---------------------------------------------------------------------- small data
def small(corpus):
    """Return options with which any config takes seconds on the test corpus."""
    return {
        "train_list": corpus / "train_list.txt",
        "train_path": corpus / "wav",
        "test_list": corpus / "trials.txt",
        "test_path": corpus / "wav",
        "musan_path": corpus / "musan",
        "rir_path": corpus / "rir",
        "batch_size": 4,
        "max_frames": 30,
        "eval_frames": 30,
        "num_eval": 1,
        "nDataLoaderThread": 0,
        "device": "cpu",
        "max_steps": 3,
        "max_epoch": 10,
    }


def small_spoofing(corpus):
    """Return further options of this kind for a config with spoofed speech."""
    return {
        "num_spk": 2,
        "batch_size": 8,
        "train_list": corpus / "cm.train.trn.txt",
        "test_list": corpus / "asv.eval.trl.txt",
    }


def write_spoofing_lists(corpus):
    """Write lists of the test corpus in which a third of the files count as spoofed speech."""
    files = [line.split() for line in (corpus / "train_list.txt").read_text().splitlines()]
    train_lines = ""
    for i, (speaker, file) in enumerate(files):
        train_lines += f"{speaker} {file} - {'A01 spoof' if i % 3 == 2 else '- bonafide'}\n"
    (corpus / "cm.train.trn.txt").write_text(train_lines)
    client, enrolment = files[0]
    (corpus / "asv.eval.trn.txt").write_text(f"{client} {enrolment}\n")
    trials = {
        1: "bonafide target",
        2: "A01 spoof",
        6: "bonafide nontarget",
        7: "bonafide nontarget",
    }
    trial_lines = ""
    for position, kind in trials.items():
        trial_lines += f"{client} {files[position][1]} {kind}\n"
    (corpus / "asv.eval.trl.txt").write_text(trial_lines)


def files_in(list_file):
    """Return the files that a list names, each once, in the order of the list."""
    words = list_file.read_text().split()
    return list(dict.fromkeys(word for word in words if "/" in word))


def embeddings(corpus, dim):
    """Write random embeddings of the test corpus, with targets and lists, unless they exist.

    Returns the folder, which contains the trees train/ and test/.
    """
    root = corpus / f"embeddings{dim}"
    if root.exists():
        return root
    draw = np.random.default_rng(0)
    for part, name in (("train", "train_list.txt"), ("test", "trials.txt")):
        for file in files_in(corpus / name):
            path = (root / part / file).with_suffix(".npy")
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, draw.standard_normal((2, dim), np.float32))
    train = str(root / "train")
    assert dataprep.main(["combine-embeddings", train]) == 0
    assert dataprep.main(["embedding-lists", train, "--name", "train"]) == 0
    return root


def embedding_lists(options, corpus):
    """Return options that replace the lists of an enhancement config by lists of the test corpus.

    options: the options of the config.
    """
    root = embeddings(corpus, options["nOut"])
    changed = {"test_path": root / "test"}
    for part in ("train", "valid"):
        if f"{part}_list" in options:
            kind = Path(options[f"{part}_list"]).name.partition("_")[2]
            changed[f"{part}_list"] = root / "train" / f"train_{kind}"
            changed[f"{part}_path"] = root / "train"
    return changed


def words_of(options):
    """Write options as words of a command line."""
    words = []
    for name, value in options.items():
        words += [f"--{name}", str(value)]
    return words


@pytest.fixture(scope="module")
def noisy(corpus):
    """The test corpus with noise, rooms and lists with spoofed speech."""
    noise_corpus(corpus)
    write_spoofing_lists(corpus)
    return corpus


# ---------------------------------------------------------------------- configs
def read_config(name):
    """Read the options of a shipped config."""
    return yaml.safe_load((ROOT / "configs" / name).read_text())


def pair_lists(corpus):
    """Split the trials into lists of clients and impostors. Returns the options that name them."""
    words = []
    lines = (corpus / "trials.txt").read_text().splitlines()
    for name, key in (("clients", "1"), ("impostors", "0")):
        path = corpus / f"{name}.lst"
        path.write_text("\n".join(line[2:] for line in lines if line.startswith(key)))
        words += [f"--valid_{name}", str(path), "--test_list", ""]
    return words


def random_weights(options, folder):
    """Write random weights of a config's network, as projects release theirs. Returns the path."""
    path = folder / Path(options["initial_model"]).name
    torch.manual_seed(1)
    net = build_model(options["model"], nOut=options["nOut"], growth_rate=int(GROWTH_RATE))
    torch.save(net.state_dict(), path)
    return path


def first_losses(config, corpus, folder):
    """Train the first steps of a config, one epoch each, in float32. Returns the losses.

    Parts of the config for which the run is too short are switched off.
    """
    options = read_config(config)
    words = ["--config", str(ROOT / "configs" / config), *words_of(small(corpus)), "--no-mixedprec"]
    words += ["--save_path", str(folder), "--test_interval", "10"]
    # A network without such channels gives a warning.
    words += ["--eca_c", "64", "--kernel_size", "64", "--frt_c", "16"]
    # Random weights in the place of a file.
    words += ["--ssl_size", "tiny", "--ssl_weights", ""]
    words += ["--width", "8", "--depth", "18"]
    words += ["--growth_rate", GROWTH_RATE]
    if options.get("model") == "ReDimNet":
        stages = "[[[1, 1], 1, 2, [[3, 3]], 16], [[2, 2], 1, 1, [[3, 3]], 8]]"
        words += ["--redim_config", f"C: 8, F: 24, stages_setup: {stages}"]
    # Larger updates of such small batches amplify rounding errors. Between processors the third
    # loss would differ by up to 5 %.
    words += ["--lr", str(min(options.get("lr", 0.001), 1e-4))]
    if "lr_final" in options:
        # It may not be above --lr.
        words += ["--lr_final", "0"]
    if "valid_clients" in options:
        words += pair_lists(corpus)
    if "num_spk" in options:
        words += words_of(small_spoofing(corpus))
    if options.get("model", "").startswith("MyLinearNet"):
        words += words_of(embedding_lists(options, corpus))
    if "SPEAKER_WEIGHTS" in options.get("initial_model", ""):
        words += ["--initial_model", str(random_weights(options, folder.parent))]
    elif "initial_model" in options:
        earlier = Path(options["initial_model"]).parts[1]
        first_losses(f"{earlier}.yaml", corpus, folder.parent / earlier)
        checkpoint = folder.parent / earlier / "model" / "best.model"
        words += ["--initial_model", str(checkpoint)]
    assert trainSpeakerNet.main(words) in (0, None)
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


# One config of each kind of training, and the new networks. make test-slow runs the others too.
FAST_CONFIGS = (
    *("DoubleMHA.yaml", "cap_resnetse34l_cap.yaml", "demo.yaml", "enhance_triplet.yaml"),
    *("sasv_stage1.yaml", "speechocean_mini_campplus.yaml", "speechocean_mini_redimnet.yaml"),
    *("voxceleb_ecapa_tdnn.yaml", "voxceleb_resnet34.yaml", "voxceleb_wavlm_mhfa.yaml"),
)


@pytest.mark.parametrize(
    "config",
    [pytest.param(name, marks=slow_if(name not in FAST_CONFIGS)) for name in CONFIGS],
)
def test_config_runs_and_its_losses_stay(config, noisy, tmp_path, monkeypatch):
    monkeypatch.setenv("SPEECH_DATA", str(tmp_path))
    monkeypatch.setenv("SPEAKER_WEIGHTS", str(tmp_path))
    losses = first_losses(config, noisy, tmp_path / "run")
    np.testing.assert_allclose(losses, json.loads(GOLDEN.read_text())[config], rtol=2e-3)


@pytest.mark.parametrize("config", CONFIGS)
def test_config_says_what_it_is(config):
    options = read_config(config)
    assert (ROOT / "configs" / config).read_text().startswith("# ")
    assert options["save_path"] == f"exps/{Path(config).stem}"
    if "model" in options:
        assert options["model"] in components("model")
    else:
        assert "initial_model" in options


# ---------------------------------------------------------------------- commands
@pytest.fixture(scope="module")
def enhanced(noisy, tmp_path_factory):
    """Run folder of configs/enhance_demo.yaml after a few steps, and the scores of its input."""
    folder = tmp_path_factory.mktemp("enhance_demo")
    first_losses("enhance_demo.yaml", noisy, folder)
    options = {
        "test_list": noisy / "trials.txt",
        "test_path": embeddings(noisy, 128) / "test",
        "save_path": folder,
    }
    assert trainSpeakerNet.main(["--check", *words_of(options)]) in (0, None)
    return folder


@pytest.fixture
def workplace(noisy, checkpoint, enhanced, tmp_path, monkeypatch):
    """The working directory of a command, with the files that the commands of the docs name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    data = tmp_path / "data"
    data.mkdir()
    (data / "synthetic").symlink_to(noisy)
    for part in ("train", "test"):
        shutil.copytree(embeddings(noisy, 128) / part, data / "embeddings" / part)
    shutil.copytree(enhanced, tmp_path / "exps" / "enhance_demo")
    for name, wav in zip("ab", sorted((noisy / "wav").rglob("*.wav")), strict=False):
        (tmp_path / f"{name}.wav").symlink_to(wav)
    trained = checkpoint.parent.parent
    for name in ("demo", "speechocean_mini"):
        folder = tmp_path / "exps" / name
        folder.mkdir(parents=True)
        for part in ("model", "config.yaml"):
            (folder / part).symlink_to(trained / part)
        shutil.copytree(trained / "result", folder / "result")
        # --eval writes such a file.
        shutil.copy(folder / "result" / "scores.txt", folder / "result" / "scores_best_trials.txt")
    return tmp_path


def small_training(words, corpus, folder):
    """Return the words of a training command of the docs, changed so that it takes seconds.

    A network that the command starts from is trained first.
    """
    if USES_OF_NETWORKS & {*words} or "--help" in words:
        return words
    if {"configs/large_margin_finetuning.yaml", "configs/voxceleb_large_margin.yaml"} & {*words}:
        base = Path(words[words.index("--config") + 1])
        first_losses(base.name, corpus, folder / "exps" / base.stem)
    if "exps/speechocean_mini_ska/model/last.model" in words:
        run = folder / "exps" / "speechocean_mini_ska"
        first_losses("speechocean_mini_ska.yaml", corpus, run)
    changes = {"save_path": folder / "run", "eca_c": 64, "kernel_size": 64}
    changes |= {"width": 8, "depth": 18}
    added = words_of(small(corpus)) + words_of(changes)
    if any("asvspoof_mini" in word for word in words):
        added += words_of(small_spoofing(corpus))
    if "configs/enhance_demo.yaml" in words:
        added += words_of(embedding_lists(read_config("enhance_demo.yaml"), corpus))
    return words + added


def small_preparation(words, corpus, folder):
    """Return the words of a dataprep.py command of the docs, changed so that it takes seconds.

    The files that the command names are written.
    """
    words = [*words]
    options = vars(dataprep.parse_command(words)[1])
    if "synthetic" in options:
        words[words.index(str(options["synthetic"]))] = str(folder / "made")
        words += ["--speakers", "2", "--files", "2", "--test_speakers", "3"]
    elif "copy_synthesis" in options:
        words[words.index(str(options["copy_synthesis"]))] = str(corpus / "train_list.txt")
        words += ["--path", str(corpus / "wav"), "--limit_per_speaker", "1"]
        words += ["--vocoders", "griffin_lim"]
    elif "merge" in options:
        write_corpora(words[1 : words.index("--output")], corpus)
    elif words[0] == "convert" or "--convert" in words:
        target = folder / "data" / "voxceleb2" / "00001.m4a"
        target.parent.mkdir()
        source = min((corpus / "wav").rglob("*.wav"))
        ffmpeg = conversion.find_ffmpeg()
        command = [ffmpeg, "-v", "error", "-nostdin", "-i", source, target]
        subprocess.run(command, check=True)
    return words


def write_corpora(parts, corpus):
    """Write the lists and folders of `NAME=LIST:FOLDER` words, one speaker in each."""
    speakers = sorted(path.name for path in (corpus / "wav").iterdir())
    for speaker, part in zip(speakers, parts, strict=False):
        list_file, folder = part.partition("=")[2].split(":")
        shutil.copytree(corpus / "wav" / speaker, Path(folder) / speaker)
        lines = ""
        for path in Path(folder).rglob("*.wav"):
            lines += f"{speaker} {path.relative_to(folder)}\n"
        Path(list_file).write_text(lines)


def exit_code(main, words):
    """Run a program in this process. Returns its exit code."""
    try:
        return main(words)
    except SystemExit as exit:
        return exit.code


@pytest.mark.parametrize(
    "command",
    [pytest.param(command, marks=slow_if("--nproc" in command)) for command in single_commands()],
)
def test_command_of_a_page(command, noisy, workplace, monkeypatch, capsys):
    setting, _, rest = command.rpartition("python ")
    if setting:
        monkeypatch.setenv("SPEECH_DATA", str(workplace))
    script, *words = shlex.split(rest.removeprefix("./"))
    if script == "dataprep.py":
        options = vars(dataprep.parse_command(words)[1])
        if "file_list" in options or "asvspoof2019" in options:
            # The command needs a network or an archive. test_corpora.py runs it.
            return
    if "$SPEECH_DATA" in rest:
        pytest.skip(
            "its data are outside the repository; the commands above it have the same options"
        )
    if script == "trainSpeakerNet.py":
        words = small_training(words, noisy, workplace)
    elif script == "dataprep.py":
        words = small_preparation(words, noisy, workplace)
    elif not {"--plot", "--report", "plot", "report"} & {*words}:
        words += ["--det", str(workplace / "det.png")]
    code = exit_code(PROGRAMS.get(script, tuneThreshold).main, words)
    assert code in (0, None), capsys.readouterr().err


# ---------------------------------------------------------------------- sections of commands
def small_step(script, words):
    """Return the words of a command in a section, changed so that it takes seconds."""
    # The test corpus has fewer speakers than the docs' corpus.
    words = [re.sub(r"id10041/rec01", "id10001/rec01", word) for word in words]
    if "--config" in words:
        words += words_of(
            {
                "kernel_size": 64,
                "nOut": 16,
                "batch_size": 4,
                "max_frames": 30,
                "max_steps": 5,
                "validate_every": 2,
            }
        )
    if "--top_n" in words:
        # The test corpus has fewer files too.
        words += ["--top_n", "5"]
    if script == "dataprep.py":
        words += ["--processes", "1"]
    elif script == "trainSpeakerNet.py":
        words += words_of({"nDataLoaderThread": 0, "device": "cpu"})
    return words


@pytest.mark.parametrize(("page", "titles"), SCRIPTS, ids=[titles[0] for _, titles in SCRIPTS])
def test_script_of_a_page(page, titles, corpus, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(checkpoint.parent.parent, tmp_path / "exps" / "demo")
    for name, wav in zip("ab", sorted((corpus / "wav").rglob("*.wav")), strict=False):
        (tmp_path / f"{name}.wav").symlink_to(wav)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "synthetic").symlink_to(corpus)
    lines = commands_of(ROOT / page, titles)
    for line in lines:
        if not line.startswith("python "):
            subprocess.run(line, shell=True, check=True)
            continue
        _, script, *words = shlex.split(line)
        assert PROGRAMS[script].main(small_step(script, words)) in (0, None), line
    assert lines
    extracted = list((tmp_path / "exps").rglob("*.npy"))
    assert bool(extracted) == ("--extract" in "".join(lines))


def write_golden_losses(configs):
    """Train configs on a new corpus and write their first losses to GOLDEN."""
    sizes = {"speakers": 8, "files": 6, "test_speakers": 4, "trials": 60}
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus")
        dataprep.main(["synthetic", str(corpus), *words_of(sizes)])
        noise_corpus(corpus)
        write_spoofing_lists(corpus)
        os.environ["SPEECH_DATA"] = os.environ["SPEAKER_WEIGHTS"] = folder
        losses = json.loads(GOLDEN.read_text())
        for config in configs:
            losses[config] = first_losses(config, corpus, Path(folder, config))
    losses = {config: losses[config] for config in CONFIGS}
    GOLDEN.write_text(json.dumps(losses, indent=1) + "\n")


if __name__ == "__main__":
    # Without names all configs.
    write_golden_losses(sys.argv[1:] or CONFIGS)
