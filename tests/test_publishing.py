"""--publish: a folder in the layout of hubs, which loads as the checkpoint, and its model card."""

import argparse
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import small_run
from loopback import tree
from safetensors import safe_open

import trainSpeakerNet
import tuneThreshold
from common.errors import InputError
from inference import publishing
from inference.card_facts import scores_of_network
from inference.model_card import entries_of_licence
from metrics.backends import estimate
from network.checkpoints import read_checkpoint

FILES = {"README.md", "config.yaml", "model.safetensors"}


def publish(folder, checkpoint, *more):
    words = ["--publish", folder, "--initial_model", checkpoint, *more]
    return trainSpeakerNet.main([str(word) for word in words]) or 0


@pytest.fixture(scope="module")
def trained(checkpoint, corpus, tmp_path_factory):
    """The run folder of a network of 8 speakers that --eval has scored."""
    run = tmp_path_factory.mktemp("hidden_name") / "run"
    shutil.copytree(checkpoint.parent.parent, run)
    words = ["--test_list", corpus / "trials.txt", "--test_path", corpus / "wav"]
    words += ["--eval", "--initial_model", run / "model" / "last.model", "--nDataLoaderThread", 0]
    assert not trainSpeakerNet.main([str(word) for word in words])
    return run / "model" / "last.model"


@pytest.fixture(scope="module")
def published(trained, tmp_path_factory):
    """The folder of --publish without further options."""
    folder = tmp_path_factory.mktemp("hub") / "small.v1"
    assert publish(folder, trained) == 0
    return folder


@pytest.fixture
def copy(published, tmp_path):
    """A copy of the published folder, to be changed."""
    return shutil.copytree(published, tmp_path / "copy")


def front_matter(folder):
    """The YAML block of a model card, and the text below it."""
    _, block, text = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(block), text


def header_of(path):
    """The header of a safetensors file and the rest, read without the package."""
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


# ---------------------------------------------------------------------- loading
def test_the_scores_equal_the_scores_of_the_checkpoint(published, trained, corpus, program):
    words = ["--eval", "--test_list", corpus / "trials.txt", "--test_path", corpus / "wav"]
    for source in (published, published / "model.safetensors"):
        code, out, _ = program(*words, "--nDataLoaderThread", 0, "--initial_model", source)
        assert code == 0
        (path,) = re.findall(r"^Scores: (.*)", out, re.M)
        expected = (trained.parent.parent / "result" / "scores_last_trials.txt").read_bytes()
        assert Path(path).read_bytes() == expected
        Path(path).unlink()
        # The scores of a folder are written next to it, with its complete name.
        if source == published:
            assert Path(path) == published.parent / "scores_small.v1_trials.txt"
    assert {path.name for path in published.iterdir()} == FILES


def test_the_decision_is_the_same(published, trained, corpus, program):
    files = sorted((corpus / "wav").rglob("*.wav"))[:2]
    words = ["--verify", *files, "--nDataLoaderThread", 0, "--initial_model"]
    texts = [program(*words, source)[1] for source in (trained, published)]
    assert texts[0] == texts[1]
    assert "Threshold   none" not in texts[0]


def test_the_header_names_network_and_format(published, trained):
    state = torch.load(trained, weights_only=True)
    with safe_open(published / "model.safetensors", framework="pt") as file:
        metadata = file.metadata()
        names = {name for name in file.keys()}  # noqa: SIM118
        weight = file.get_tensor("model.conv1.weight")
    assert (metadata["format"], metadata["model"]) == ("pt", "ResNetSE34L")
    assert torch.equal(weight, state["model"]["conv1.weight"])
    # The rows of the speakers stay at home, the scale of the loss does not.
    left_out = {"loss.softmax.fc.weight", "loss.softmax.fc.bias"}
    assert (
        names
        == {
            *(f"model.{name}" for name in state["model"]),
            *(f"loss.{name}" for name in state["loss"]),
        }
        - left_out
    )
    assert {f"loss.{name}" for name in json.loads(metadata["left_out"])} == left_out
    assert json.loads(metadata["classes"]) == {}


def fine_tuned(source, corpus, folder, program):
    words = small_run(corpus, folder, "--initial_model", source, "--max_steps", 1)
    code, out, err = program(*words, "--test_list", "")
    assert code == 0, err
    return out


@pytest.mark.slow
def test_fine_tuning_with_and_without_the_classifier(published, trained, corpus, tmp_path, program):
    out = fine_tuned(published, corpus, tmp_path / "a", program)
    assert "published without its classifier, so the rows of all 8 speakers start" in out
    assert publish(tmp_path / "full", trained, "--publish_classifier") == 0
    state = read_checkpoint(tmp_path / "full")
    expected = torch.load(trained, weights_only=True)
    assert state["classes"] == expected["classes"]
    for name, value in expected["loss"].items():
        assert torch.equal(state["loss"][name], value)
    words = (corpus / "train_list.txt").read_text().splitlines(keepends=True)
    (tmp_path / "half.txt").write_text("".join(sorted(words)[:30]))
    words = ["--train_list", tmp_path / "half.txt"]
    code, out, _ = program(
        *small_run(corpus, tmp_path / "b", "--initial_model", tmp_path / "full", "--max_steps", 1),
        *words,
        *("--test_list", ""),
    )
    assert code == 0
    assert "5 of 5 speakers are in the checkpoint" in out


def test_a_published_network_is_published_again(published, tmp_path):
    """Its classifier is not there, and everything else stays."""
    assert publish(tmp_path / "again", published) == 0
    for name in ("model.safetensors", "config.yaml"):
        first = (published / name).read_bytes()
        second = (tmp_path / "again" / name).read_bytes()
        if name == "config.yaml":
            assert first == second
        else:
            a, weights = header_of(published / name)
            b, same = header_of(tmp_path / "again" / name)
            assert weights == same
            assert a["__metadata__"]["result"] == b["__metadata__"]["result"]
    assert publish(tmp_path / "full", published, "--publish_classifier") == 2
    assert not (tmp_path / "full").exists()


def test_averages(trained, published, tmp_path, program):
    for place in (published, published / "model.safetensors"):
        code, _, err = program("--average", place, trained, "--output", tmp_path / "mean.model")
        assert code == 2
        assert f"--average {place}: expected a checkpoint of a run, found a published" in err
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------- the card
def test_the_card_has_the_format_of_the_hubs(published):
    block, text = front_matter(published)
    assert block["license"] == "unknown"
    assert block["pipeline_tag"] == "audio-classification"
    assert block["library_name"] and block["metrics"] == ["eer"]
    assert {"speaker-verification", "ResNetSE34L"} <= {*block["tags"]}
    assert block["datasets"] == ["train_list"]
    (index,) = block["model-index"]
    (entry,) = index["results"]
    assert index["name"] == "small.v1"
    assert entry["task"]["type"] == "audio-classification"
    assert entry["dataset"] == {"type": "trials", "name": "trials"}
    assert [metric["type"] for metric in entry["metrics"]] == ["eer"]
    assert "**No licence was chosen.**" in text


def test_the_card_has_the_error_rate_with_its_interval(published, trained, capsys):
    scores = trained.parent.parent / "result" / "scores_last_trials.txt"
    capsys.readouterr()
    assert not tuneThreshold.main([str(scores), "--bootstrap", "1000", "--det", str(scores)[:-3]])
    out = capsys.readouterr().out
    value, low, high = re.search(r"EER +([\d.]+) % +\[([\d.]+), ([\d.]+)\]", out).groups()
    speakers = re.search(r"resamples of (\d+) speakers", out)[1]
    block, text = front_matter(published)
    trials = len(scores.read_text().splitlines())
    row = f"| trials | {trials} | {speakers} | EER | {value} % | {low} to {high} % |"
    assert row in text
    assert block["model-index"][0]["results"][0]["metrics"][0]["value"] == float(value)


def test_the_card_names_training_and_use(published, trained, corpus):
    _, text = front_matter(published)
    lines = (trained.parent.parent / "log.jsonl").read_text().splitlines()
    seconds = sum(json.loads(line).get("seconds", 0) for line in lines)
    rows = dict(re.findall(r"^\| ([a-z ]+) \| (.*) \|$", text, re.M))
    assert rows["training list"] == "train_list.txt"
    assert (rows["speakers"], rows["utterances"]) == ("8", "48")
    assert rows["training time"] == f"{seconds:.0f} seconds"
    assert rows["embedding"] == "32 numbers"
    threshold = torch.load(trained, weights_only=True)["result"]["threshold"]
    assert f"a score of at least {threshold:g} count as one speaker" in text
    assert "--initial_model small.v1\n" in text
    assert 'load("small.v1")' in text


def scores_in_card(checkpoint, *files):
    """The error rates of the model card of a checkpoint."""
    options = argparse.Namespace(
        initial_model=str(checkpoint), card_scores=[str(file) for file in files], eer="interpolated"
    )
    return scores_of_network(options, read_checkpoint(checkpoint))


def test_given_scores_replace_the_scores_of_the_run(trained, tmp_path):
    scores = tmp_path / "mine.txt"
    targets = [f"1 s{i}/a s{i}/b {i}\n" for i in range(8)]
    scores.write_text("".join(targets))
    with pytest.raises(InputError, match=f"^--card_scores {scores}: expected target trials and"):
        scores_in_card(trained, scores)
    # At the threshold 1, one of 8 targets is rejected, and one of 8 others is accepted.
    scores.write_text("".join(targets + [f"0 s{i}/a s{i + 1}/b {i - 6}\n" for i in range(8)]))
    (found,) = scores_in_card(trained, scores)
    assert (found.name, found.trials, found.speakers) == ("mine", 16, 9)
    assert found.rates[0].value == pytest.approx(12.5)
    # Names without folders contain no speakers.
    scores.write_text("1 a b 1\n0 c d 0\n")
    (found,) = scores_in_card(trained, scores)
    assert (found.speakers, found.rates[0].interval) == (0, None)


def test_a_licence_that_hubs_do_not_know_has_a_name():
    found = entries_of_licence("Only for us: ask!")
    assert found == {"license": "other", "license_name": "only-for-us-ask"}


def test_scores_of_another_checkpoint_are_not_used(trained, tmp_path, caplog):
    """An older file, and a file whose error rate is not the one in the checkpoint."""
    run = shutil.copytree(trained.parent.parent, tmp_path / "run")
    named = run / "result" / "scores_last_trials.txt"
    other = "".join(f"{i % 2} a/{i} {'ab'[i % 2 == 0]}/{i} {-i % 2}\n" for i in range(10))
    (run / "result" / "scores.txt").write_text(other)
    os.utime(named, (1, 1))
    (found,) = scores_in_card(run / "model" / "last.model")
    assert f"{named} is older than" in caplog.text
    stored = torch.load(trained, weights_only=True)["result"]["EER"]
    assert found == ("trials", 0, 0, [("EER", stored, None)], "")
    (found,) = scores_in_card(trained)
    assert found.trials == 60 and found.rates[0].interval


# ---------------------------------------------------------------------- privacy
def test_no_folder_of_the_author_is_published(trained, corpus, tmp_path):
    """Neither the lists and folders in the checkpoint nor the ones in the copied files."""
    net = read_checkpoint(trained)
    x = np.random.default_rng(0).standard_normal((12, 32))
    backend = estimate(x, list("aabbccddeeff"), ["mean", "wccn"], source=str(corpus / "list.txt"))
    backend.save(tmp_path / "b.npz")
    facts = {"inputs": ["score"], "weights": [2.0], "offset": 1.0, "effective_prior": 0.5}
    facts |= {"targets": 3, "nontargets": 4, "trained_on": [str(corpus / "dev.txt")]}
    (tmp_path / "c.json").write_text(json.dumps(facts))
    more = ["--backend", tmp_path / "b.npz", "--calibration", tmp_path / "c.json"]
    more += ["--license", "CC-BY-4.0", "--card_datasets", "voxceleb2"]
    assert publish(tmp_path / "hub", trained, *more, "--threshold", 0.25) == 0
    files = tree(tmp_path / "hub")
    assert files.keys() == FILES | {"backend.npz", "calibration.json"}
    secrets = [str(corpus), str(tmp_path), str(trained.parent.parent), corpus.name, "hidden_name"]
    for name, data in files.items():
        for secret in secrets:
            assert secret.encode() not in data, (name, secret)
    block, text = front_matter(tmp_path / "hub")
    assert (block["license"], block["datasets"]) == ("cc-by-4.0", ["voxceleb2"])
    assert "## Licence\n\nCC-BY-4.0" in text
    config = yaml.safe_load(files["config.yaml"])
    assert net["options"]["train_path"] and not [name for name in config if "path" in name]
    assert not {"train_list", "test_list", "save_path", "device", "initial_model"} & config.keys()
    assert not [value for value in config.values() if "/" in str(value)]
    # A given threshold belongs to the scores with the back end, and the stored one to the others.
    assert config["threshold"] == net["result"]["threshold"]
    assert "--backend hub/backend.npz" in text and "--threshold 0.25" in text
    arguments = 'backend="hub/backend.npz", calibration="hub/calibration.json", threshold=0.25'
    assert f'load("hub", {arguments})' in text
    assert "estimated from list.txt (12 files of 6 speakers)" in text
    assert json.loads(files["calibration.json"])["trained_on"] == ["dev.txt"]


def test_paths_in_a_config_are_not_read(copy):
    path = copy / "config.yaml"
    before = read_checkpoint(copy)["options"]
    path.write_text(path.read_text() + "train_list: /etc/passwd\nsave_path: /\nssl_weights: /x\n")
    assert read_checkpoint(copy)["options"] == before


# ---------------------------------------------------------------------- nothing is overwritten
@pytest.mark.parametrize(
    ("name", "text"), [("notes.txt", "x"), ("README.md", "edited"), ("config.yaml", "a: b")]
)
def test_a_changed_publication_is_kept(copy, trained, capsys, name, text):
    (copy / name).write_text(text)
    before = tree(copy)
    assert publish(copy, trained) == 2
    assert f"or that were changed: {name}. Nothing is overwritten" in capsys.readouterr().err
    assert tree(copy) == before


def test_an_unchanged_publication_is_replaced(copy, trained, tmp_path):
    (tmp_path / "hub.npz").write_bytes(b"")
    before = tree(copy)
    assert publish(copy, trained, "--license", "mit") == 0
    after = tree(copy)
    assert after["README.md"] != before["README.md"]
    assert after["config.yaml"] == before["config.yaml"]
    assert {path.name for path in tmp_path.iterdir()} == {"copy", "hub.npz"}


def test_other_places_are_refused(trained, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert publish(tmp_path / "file", trained) == 2
    assert "expected a folder, found a file" in capsys.readouterr().err
    run = trained.parent.parent
    before = tree(run)
    assert publish(run, trained) == 2
    assert tree(run) == before


def test_files_that_came_in_the_meantime_are_kept(trained, tmp_path, monkeypatch, capsys):
    """The folder was new when it was checked. Files beside a publication are removed."""
    folder = tmp_path / "hub"

    def arrive(*_):
        folder.mkdir()
        (folder / "notes.txt").write_text("mine")

    monkeypatch.setattr(publishing, "require_same_network", arrive)
    assert publish(folder, trained) == 2
    assert "did not write or that were changed: notes.txt" in capsys.readouterr().err
    assert tree(tmp_path) == {"hub/notes.txt": b"mine"}


def test_two_publications_are_equal(published, trained, tmp_path):
    """The second one is written to an empty folder."""
    (tmp_path / published.name).mkdir()
    assert publish(tmp_path / published.name, trained) == 0
    assert tree(tmp_path / published.name) == tree(published)


def test_a_difference_is_seen(trained, tmp_path, monkeypatch, capsys):
    """Embeddings that differ in the last bit, and an option that was not stored."""
    original = publishing.model_bytes

    def changed(weights, facts):
        name = next(name for name in weights if name.endswith("fc.bias"))
        bits = weights[name].clone().view(torch.int32)
        bits[0] += 1
        return original({**weights, name: bits.view(torch.float32)}, facts)

    monkeypatch.setattr(publishing, "model_bytes", changed)
    assert publish(tmp_path / "a", trained) == 2
    assert "expected the embeddings and options of the checkpoint" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_options_without_publish_have_no_effect(published, corpus, program):
    files = sorted((corpus / "wav").rglob("*.wav"))[:2]
    words = ["--verify", *files, "--nDataLoaderThread", 0, "--initial_model", published]
    _, out, _ = program(*words, "--license", "mit", "--publish_classifier")
    for name in ("license", "publish_classifier"):
        assert f"warning: --{name} has no effect without --publish." in out
