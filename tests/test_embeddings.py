"""Embedding enhancement, from a tree of embeddings to error rates.

The tests check targets, lists, data sets, training, use, and error messages.
"""

import itertools
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import small_run
from kill_resume import end_of, equal

import dataprep
from common.errors import InputError
from corpus.embedding_datasets import EmbeddingDataset, EmbeddingEvalDataset
from corpus.embeddings import Example, embedding_tree, load_embeddings, read_examples
from metrics.scores import read_scores
from network.checkpoints import read_checkpoint
from prep.embedding_lists import compute_targets, session_of
from training.sampling import every_group

D = 16
LISTS = {
    "Softmax": "normal",
    "MSE": "normal",
    "MAE": "normal",
    "CS": "normal",
    "MSE_CS": "normal",
    "MSE_Softmax": "normal",
    "MyTriplet_CS": "triplet",
    "DA": "distribution",
    "DA_MSE": "distribution",
}


def make_tree(folder, speakers, seed, crops=2):
    """Makes embeddings of speakers, with targets and lists, and returns the folder.

    Every speaker has 2 sessions of 3 utterances. Half of the dimensions are only noise.
    """
    draw = np.random.default_rng(seed)
    for speaker in speakers:
        clean = draw.standard_normal(D) * (np.arange(D) < D // 2)
        for session, take in itertools.product("xy", range(3)):
            path = folder / speaker / session / f"{take}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = draw.standard_normal(D) * np.where(np.arange(D) < D // 2, 0.2, 2.0)
            x = clean + noise + 0.1 * draw.standard_normal((crops, D))
            np.save(path, x.astype(np.float32))
    assert dataprep.main(["--combine_embeddings", str(folder), "--processes", "1"]) == 0
    assert dataprep.main(["--embedding_lists", str(folder), "--name", "all", "--pairs", "3"]) == 0
    return folder


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """A tree of 12 speakers."""
    return make_tree(tmp_path_factory.mktemp("train"), [f"id{i:02d}" for i in range(12)], 0)


@pytest.fixture(scope="module")
def test(tmp_path_factory):
    """A tree of 4 other speakers."""
    return make_tree(tmp_path_factory.mktemp("test"), [f"test{i}" for i in range(4)], 1)


def words(train, test, run, trainfunc="MSE", *more):
    """Returns the words of a training run of two epochs with the folder `run`."""
    return [
        "--model",
        "MyLinearNetv2",
        "--nOut",
        D,
        "--activation",
        "ELU",
        "--trainfunc",
        trainfunc,
        "--train_list",
        train / f"all_{LISTS.get(trainfunc, 'normal')}_list.txt",
        "--train_path",
        train,
        "--test_list",
        test / "all_test_list.txt",
        "--test_path",
        test,
        "--batch_size",
        6,
        "--nPerSpeaker",
        1,
        "--max_epoch",
        2,
        "--test_interval",
        1,
        "--nDataLoaderThread",
        0,
        "--device",
        "cpu",
        "--save_path",
        run,
        *more,
    ]


def log_of(run):
    """Returns the lines of the log of a run."""
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


# ---------------------------------------------------------------------- targets and lists
def test_targets_are_the_means_of_the_definition(train):
    for speaker, files in embedding_tree(train).items():
        whole = np.zeros(D)
        units = np.zeros(D)
        for file in files:
            crops = np.load(train / file)
            mean = sum(crop.astype(float) for crop in crops) / len(crops)
            whole += mean / len(files)
            units += mean / np.sqrt((mean**2).sum()) / len(files)
        b, c = np.load(train / f"{speaker}.npy"), np.load(train / f"{speaker}_type2.npy")
        assert b.shape == c.shape == (D,) and b.dtype == c.dtype == np.float32
        np.testing.assert_allclose(b, units, atol=1e-6)
        np.testing.assert_allclose(c, whole / np.linalg.norm(whole), atol=1e-6)
        assert np.linalg.norm(b) < 1 and np.linalg.norm(c) == pytest.approx(1)


def test_combining_again_changes_only_the_targets(train, tmp_path):
    shutil.copytree(train, tmp_path / "tree")
    before = {path: path.read_bytes() for path in (tmp_path / "tree").rglob("*") if path.is_file()}
    np.save(tmp_path / "tree" / "id00" / "x" / "new.npy", np.ones((2, D), np.float32))
    assert dataprep.main(["--combine_embeddings", str(tmp_path / "tree"), "--processes", "2"]) == 0
    changed = {path.name for path, data in before.items() if path.read_bytes() != data}
    assert changed == {"id00.npy", "id00_type2.npy"}


def test_lists(train, tmp_path):
    files = embedding_tree(train)
    every = []
    for speaker, paths in files.items():
        every += [(speaker, path) for path in paths]
    assert [(e.speaker, e.path) for e in read_examples(train / "all_normal_list.txt")] == every
    trials = [line.split() for line in (train / "all_test_list.txt").read_text().splitlines()]
    for speaker, path in every:
        own = [(label, b) for label, a, b in trials if a == path]
        assert len(set(own)) == 8
        assert sum(label == "1" for label, _ in own) == 4
        for label, other in own:
            assert other != path
            assert (other.split("/")[0] == speaker) == (label == "1")
    triplets = read_examples(train / "all_triplet_list.txt")
    assert [(e.speaker, e.path) for e in triplets] == every
    assert all(e.other in files and e.other != e.speaker for e in triplets)
    pairs = read_examples(train / "all_distribution_list.txt")
    assert len({(e.path, e.second) for e in pairs}) == len(pairs) == 12 * 6
    for pair in pairs:
        sessions = [path.split("/")[1] for path in (pair.path, pair.second)]
        assert pair.same_session == (sessions[0] == sessions[1])
    assert sum(e.same_session for e in pairs) == 12 * 3


def test_session_of_a_path():
    assert session_of("id1/x/0.npy") == "x"
    assert session_of("id1/x/y/0.npy") == "x/y"
    assert session_of("id1/0.npy") == ""


def texts_of_lists(folder, name):
    """Returns {kind: text} of the lists with this name that exist."""
    texts = {}
    for kind in ("normal", "test", "triplet", "distribution"):
        path = folder / f"{name}_{kind}_list.txt"
        if path.exists():
            texts[kind] = path.read_text()
    return texts


def test_lists_follow_seed_and_sizes(train, tmp_path, capsys):
    shutil.copytree(train, tmp_path / "tree")

    def make(name, *more):
        words = ["--embedding_lists", str(tmp_path / "tree"), "--name", name, *more]
        assert dataprep.main(words) == 0
        return texts_of_lists(tmp_path / "tree", name)

    first = make("a", "--pairs", "3")
    assert first == make("b", "--pairs", "3")
    assert first == texts_of_lists(train, "all")
    other = make("c", "--pairs", "3", "--seed", "1")
    assert other["normal"] == first["normal"]
    assert all(other[kind] != first[kind] for kind in ("test", "triplet", "distribution"))
    sized = make("d", "--same", "2", "--different", "100", "--others", "3", "--pairs", "1000")
    assert [len(text.splitlines()) for text in sized.values()] == [72, 72 * 68, 72 * 3, 12 * 15]
    assert set(make("e", "--pairs", "0", "--others", "0")) == {"normal", "test"}


def test_a_tree_without_sessions_has_no_distribution_list(tmp_path, capsys):
    for speaker, take in itertools.product("ab", range(3)):
        (tmp_path / speaker).mkdir(exist_ok=True)
        np.save(tmp_path / speaker / f"{take}.npy", np.ones(4, np.float32))
    assert dataprep.main(["--embedding_lists", str(tmp_path), "--name", "n"]) == 0
    assert (
        "n_distribution_list.txt: this list is not written, because no speaker"
        in capsys.readouterr().out
    )
    assert sorted(path.name for path in tmp_path.glob("*.txt")) == [
        "n_normal_list.txt",
        "n_test_list.txt",
        "n_triplet_list.txt",
    ]


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda f: f.write_bytes(b"no array"), r"x/0\.npy: expected an array"),
        (lambda f: f.write_bytes(f.read_bytes()[:100]), r"x/0\.npy: expected an array"),
        (
            lambda f: np.save(f, np.zeros((2, D), np.float32)),
            r"x/0\.npy: the mean of the embeddings is zero",
        ),
        (
            lambda f: np.save(f, np.full((2, D), np.nan, np.float32)),
            r"x/0\.npy: expected finite numbers",
        ),
        (
            lambda f: np.save(f, np.ones((2, D), int)),
            r"x/0\.npy: expected embeddings.*int64 \[2, 16\]",
        ),
        (
            lambda f: np.save(f, np.ones((2, 3, D), np.float32)),
            r"x/0\.npy: expected embeddings.*\[2, 3, 16\]",
        ),
        (lambda f: np.save(f, np.array([{}]), allow_pickle=True), r"x/0\.npy: expected an array"),
        (
            lambda f: np.save(f, np.ones((2, 5), np.float32)),
            r"\.npy: expected embeddings of (5|16) numbers",
        ),
        (
            lambda f: f.parents[1].rename(f.parents[2] / "id01_type2"),
            r"targets of the speakers id01 and id01_type2 would have the same file name",
        ),
        (
            lambda f: shutil.rmtree(f.parents[2]),
            r"expected a folder with speaker/session/utterance\.npy, found no folder",
        ),
    ],
)
def test_trees_that_cannot_be_combined(spoil, message, train, tmp_path, capsys):
    shutil.copytree(train, tmp_path / "tree")
    spoil(tmp_path / "tree" / "id00" / "x" / "0.npy")
    assert dataprep.main(["--combine_embeddings", str(tmp_path / "tree"), "--processes", "1"]) == 2
    assert re.search(message, capsys.readouterr().err)


# ---------------------------------------------------------------------- data sets
def unit_mean(path):
    """Returns the mean over crops of an embedding file, made unit length."""
    mean = np.load(path).astype(float).mean(0)
    return mean / np.linalg.norm(mean)


@pytest.mark.parametrize("flag, suffix", [("B", ".npy"), ("C", "_type2.npy")])
def test_batches(flag, suffix, train):
    groups = [[3, 4], [6, 9]]
    for kind in ("normal", "triplet", "distribution"):
        examples = read_examples(train / f"all_{kind}_list.txt")
        batch = EmbeddingDataset(examples, train, flag=flag)[1, groups]
        for g, group in enumerate(groups):
            files = []
            for i in group:
                files += [name for name in (examples[i].path, examples[i].second) if name]
            expected = [unit_mean(train / name) for name in files]
            np.testing.assert_allclose(batch["x"][g], expected, atol=1e-6)
            first = examples[group[0]]
            target = np.load(train / f"{first.speaker}{suffix}")
            np.testing.assert_array_equal(batch["target"][g], target)
            assert batch["label"][g] == int(first.speaker[2:])
            if kind == "triplet":
                other = np.load(train / f"{first.other}{suffix}")
                np.testing.assert_array_equal(batch["other"][g], other)
            if kind == "distribution":
                session = batch["session"][g].tolist()
                same = [session[0] == session[1], session[2] == session[3]]
                assert same == [examples[i].same_session for i in group]
                assert set(session[:2]).isdisjoint(session[2:])
        assert batch["x"].dtype == batch["target"].dtype == torch.float32
        assert batch["label"].dtype == torch.int64
        assert batch["spoof"].dtype == torch.bool
        assert ("other" in batch) == (kind == "triplet")
        assert ("session" in batch) == (kind == "distribution")


def files_below(root):
    """Returns the paths of all embeddings of a tree."""
    return list(itertools.chain(*embedding_tree(root).values()))


def test_evaluation_reads_one_normalised_mean_per_file(train):
    paths = files_below(train)
    data = EmbeddingEvalDataset(paths, train)
    data.FILES_PER_ITEM = 50
    index, x = zip(*(data[i] for i in range(len(data))), strict=True)
    assert [len(part) for part in index] == [50, 22]
    assert list(itertools.chain(*index)) == list(range(72))
    expected = [unit_mean(train / path) for path in paths]
    np.testing.assert_allclose(torch.cat(x)[:, 0], expected, atol=1e-6)


def test_validation_reads_every_group_once():
    speakers = ["a"] * 7 + ["b"] * 2 + ["c"] * 4 + ["d"]
    examples = [Example(speaker, str(i)) for i, speaker in enumerate(speakers)]
    items = every_group(examples, batch_size=2, nPerSpeaker=2)
    assert items == [(0, [[0, 1], [7, 8]]), (0, [[9, 10]]), (0, [[2, 3], [11, 12]]), (0, [[4, 5]])]


# ---------------------------------------------------------------------- training and use
@pytest.mark.parametrize("trainfunc", LISTS)
def test_every_loss_trains_from_lists(trainfunc, train, test, tmp_path, program):
    # Classification losses need the speakers of the training list.
    valid = train if trainfunc in ("Softmax", "MSE_Softmax") else test
    more = ["--valid_list", valid / f"all_{LISTS[trainfunc]}_list.txt", "--valid_path", valid]
    more += ["--lr", 0.003, "--max_epoch", 12, "--test_interval", 4, "--eval_first"]
    more += ["--multiple_embedding_flag", "C"]
    code, out, err = program(*words(train, test, tmp_path, trainfunc, *more))
    # The lines of a distribution list are sorted by the kind of pair.
    warnings = int(LISTS[trainfunc] == "distribution")
    assert code == 0 and (err + out).count("warning") == warnings, (out, err)
    first, *_, last = log_of(tmp_path)
    assert last["valid_loss"] < first["valid_loss"]
    assert last["EER"] < first["EER"]
    assert np.isfinite(last["loss"])


def test_enhancement_lowers_the_error_rate_of_the_embeddings(train, test, tmp_path, program):
    trials = ["--test_list", test / "all_test_list.txt", "--test_path", test]
    assert program("--check", *trials, "--save_path", tmp_path)[0] == 0
    more = ["--lr", 0.003, "--max_epoch", 40, "--test_interval", 40]
    assert program(*words(train, test, tmp_path, "MSE_CS", *more))[0] == 0
    unprocessed = read_scores(tmp_path / "result" / "scores_unprocessed.txt")
    enhanced = read_scores(tmp_path / "result" / "scores.txt")
    assert separation(enhanced) > separation(unprocessed) + 0.3
    a, b = unprocessed.lines[0].split()[1:]
    cosine = unit_mean(test / a) @ unit_mean(test / b)
    assert unprocessed.scores[0] == pytest.approx(cosine, abs=1e-5)


def separation(scores):
    """Returns the difference between the means of target and non-target scores."""
    return scores.scores[scores.labels].mean() - scores.scores[~scores.labels].mean()


# Both cases have dropout.
@pytest.mark.parametrize(
    "trainfunc, model", [("MSE_Softmax", "MyLinearNet"), ("DA", "MyLinearNetv3")]
)
def test_resumes_anywhere(trainfunc, model, train, test, tmp_path, program):
    valid_list = train / f"all_{LISTS[trainfunc]}_list.txt"
    more = ["--model", model, "--valid_list", valid_list, "--valid_path", train]
    assert program(*words(train, test, tmp_path / "whole", trainfunc, *more))[0] == 0
    whole, whole_log = end_of(tmp_path / "whole")
    for steps in range(5, whole["step"] + 5, 5):
        limit = ["--max_steps", min(steps, whole["step"])]
        assert program(*words(train, test, tmp_path / "parts", trainfunc, *more, *limit))[0] == 0
    parts, parts_log = end_of(tmp_path / "parts")
    for key in ("model", "loss", "optimizer", "scheduler", "step", "rng"):
        assert equal(parts[key], whole[key]), key
    for key in ("loss", "valid_loss", "EER"):
        assert [line[key] for line in parts_log] == [line[key] for line in whole_log]


def test_generates_enhanced_embeddings(train, test, tmp_path, program):
    assert program(*words(train, test, tmp_path / "run"))[0] == 0
    model = tmp_path / "run" / "model" / "last.model"
    use = ["--initial_model", model, "--nDataLoaderThread", 0, "--device", "cpu"]
    normal_list = test / "all_normal_list.txt"
    to_list = ["--test_path", test, "--output", tmp_path / "list", *use]
    to_trials = ["--test_path", test, "--output", tmp_path / "trials", *use]
    to_generated = ["--gen_path", test, "--gen_target_dir", tmp_path / "generated", *use]
    assert program("--extract", test, "--output", tmp_path / "folder", *use)[0] == 0
    assert program("--extract", normal_list, *to_list)[0] == 0
    assert program("--extract", test / "all_test_list.txt", *to_trials)[0] == 0
    assert program("--generate", "--gen_list", normal_list, *to_generated)[0] == 0
    files = files_below(test)
    for name in ("folder", "list", "generated", "trials"):
        written = [path for path in (tmp_path / name).rglob("*") if path.is_file()]
        assert sorted(str(path.relative_to(tmp_path / name)) for path in written) == sorted(files)
    weights = read_checkpoint(model)["model"]
    x = load_embeddings(test, files[:1])[0]
    for number in range(1, 6):
        x = weights[f"l{number}.weight"].numpy() @ x + weights[f"l{number}.bias"].numpy()
        x = np.where(x > 0, x, np.expm1(x))
    np.testing.assert_allclose(np.load(tmp_path / "generated" / files[0]), [x], atol=1e-5)

    # Existing files are not written again.
    kept = tmp_path / "list" / files[0]
    np.save(kept, np.load(kept).astype(float))
    before = kept.read_bytes()
    (tmp_path / "list" / files[1]).unlink()
    code, out, _ = program("--extract", normal_list, *to_list)
    assert code == 0
    assert f"Wrote 1 embeddings to {tmp_path / 'list'}. {len(files) - 1} existed before" in out
    assert kept.read_bytes() == before
    kept.write_bytes(b"\x93NUMPY damaged")
    code, _, err = program("--extract", normal_list, *to_list)
    assert code == 2 and f"{kept}: cannot be read as an embedding" in err
    # A file of another kind is no embedding.
    kept.write_bytes(b"notes")
    code, out, err = program("--extract", normal_list, *to_list)
    assert code == 2 and f"--output {kept}: expected a new file or an earlier result" in err
    (tmp_path / "link").symlink_to(test)
    assert program("--extract", test, "--output", tmp_path / "link", *use)[0] == 2
    assert program("--extract", test, "--output", test, *use)[0] == 2
    code, out, _ = program("--verify", test / files[0], test / files[1], *use)
    assert code == 0 and re.search(r"^Score +-?\d.*\nThreshold", out, re.M)


def test_embeds_a_whole_tree_of_speech(checkpoint, corpus, tmp_path, program):
    def all_but_first(_, names):
        return [name for name in names if name.endswith(".wav") and name != "00001.wav"]

    shutil.copytree(corpus / "wav", tmp_path / "wav", ignore=all_but_first)
    wavs = [path.relative_to(tmp_path / "wav") for path in (tmp_path / "wav").rglob("*.wav")]
    use = ["--initial_model", checkpoint, "--nDataLoaderThread", 0, "--device", "cpu"]
    code, out, err = program("--extract", tmp_path / "wav", "--output", tmp_path / "emb", *use)
    assert code == 0 and f"{len(wavs)} embeddings" in out, err
    for path in wavs:
        assert np.load(tmp_path / "emb" / path.with_suffix(".npy")).shape == (2, 32)
    first = tmp_path / "wav" / wavs[0]
    shutil.copy(first, first.with_suffix(".flac"))
    err = program("--extract", tmp_path / "wav", "--output", tmp_path / "emb", *use)[2]
    assert "names that differ only in the extension" in err


def test_several_lists_of_trials(train, test, tmp_path, program):
    assert program(*words(train, test, tmp_path / "one"))[0] == 0
    twice = ["--test_list", test / "all_test_list.txt", train / "all_test_list.txt"]
    twice += ["--test_path", test, train]
    assert program(*words(train, test, tmp_path / "two", "MSE", *twice))[0] == 0
    libri = ["--test_list_libri", train / "all_test_list.txt", "--test_path_libri", train]
    assert program(*words(train, test, tmp_path / "libri", "MSE", *libri))[0] == 0
    results = {}
    for name in ("one", "two", "libri"):
        results[name] = log_of(tmp_path / name)[-1]
        for timing in ("utt_per_s", "seconds", "waiting"):
            results[name].pop(timing)
    assert results["two"] == results["libri"]
    second_list = {"EER_2", "minDCF_2", "threshold_2"}
    assert results["two"].keys() - results["one"].keys() == second_list
    assert {name: results["two"][name] for name in results["one"]} == results["one"]
    scores_of_two = (tmp_path / "two" / "result" / "scores.txt").read_text()
    assert scores_of_two == (tmp_path / "one" / "result" / "scores.txt").read_text()
    lines = (tmp_path / "two" / "result" / "scores_2.txt").read_text().splitlines()
    trials = (train / "all_test_list.txt").read_text().splitlines()
    assert [line.rsplit(" ", 1)[0] for line in lines] == trials
    model = tmp_path / "two" / "model" / "last.model"
    output = ["--output", tmp_path / "s.txt", "--nDataLoaderThread", 0]
    code, out, _ = program("--eval", "--initial_model", model, *twice, *output)
    assert code == 0 and out.count("EER ") >= 2
    assert (tmp_path / "s_2.txt").read_text().splitlines() == lines


def test_validation_without_trials_chooses_the_best(train, tmp_path, program):
    more = ["--valid_list", train / "all_normal_list.txt", "--valid_path", train]
    run = words(train, train, tmp_path, "MSE", *more, "--max_epoch", 3)
    # Without --test_list, --test_path and their values.
    position = run.index("--test_list")
    assert program(*run[:position], *run[position + 4 :])[0] == 0
    best = min(log_of(tmp_path), key=lambda line: line["valid_loss"])
    assert read_checkpoint(tmp_path / "model" / "best.model")["epoch"] == best["epoch"] + 1


def test_validation_of_a_speech_model(corpus, tmp_path, program):
    valid = ["--valid_list", corpus / "train_list.txt", "--valid_path", corpus / "wav"]
    assert program(*small_run(corpus, tmp_path / "a", *valid, "--max_epoch", 1))[0] == 0
    assert program(*small_run(corpus, tmp_path / "b", "--max_epoch", 1))[0] == 0
    a, a_log = end_of(tmp_path / "a")
    b, b_log = end_of(tmp_path / "b")
    assert equal(a["model"], b["model"])
    assert equal(a["rng"], b["rng"])
    assert a_log[0]["loss"] == b_log[0]["loss"]
    assert 0 < a_log[0]["valid_loss"] < 100
    assert "valid_acc" in a_log[0]
    assert "valid_loss" not in b_log[0]


# ---------------------------------------------------------------------- errors
def spoiled(train, tmp_path, **changes):
    """Returns a copy of the tree with other contents of some files.

    The name of an argument is a path: id03__x__1_npy means id03/x/1.npy. None removes the file.
    """
    shutil.copytree(train, tmp_path / "tree")
    for name, content in changes.items():
        path = tmp_path / "tree" / name.replace("__", "/").replace("_npy", ".npy")
        path.unlink(missing_ok=True)
        if content is not None:
            np.save(path, content)
    return tmp_path / "tree"


CASES = {
    "speech model, embeddings": (
        lambda w: w(model="ResNetSE34L"),
        r"all_normal_list\.txt: expected speech.*id00/x/0\.npy.*MyLinearNet",
    ),
    "speech model, triplets": (
        lambda w: w("MyTriplet_CS", model="ResNetSE34L"),
        r"all_triplet_list\.txt: expected speech",
    ),
    "speech model, pairs": (
        lambda w: w("DA", model="ResNetSE34L"),
        r"all_distribution_list\.txt: expected speech",
    ),
    "embedding model, speech": (
        lambda w: w(
            "MSE", "--train_list", w.corpus / "train_list.txt", "--train_path", w.corpus / "wav"
        ),
        r"train_list\.txt: 48 of 48 \.npy files are missing .*, which is --train_path joined.* "
        r"This model needs embeddings\. .*--extract",
    ),
    "embedding model, trials of speech": (
        lambda w: w("MSE", "--test_list", w.corpus / "trials.txt", "--test_path", w.corpus / "wav"),
        r"trials\.txt: 24 of 24 \.npy files are missing .* needs embeddings",
    ),
    "--check of speech": (
        lambda w: [
            "--check",
            "--test_list",
            w.corpus / "trials.txt",
            "--test_path",
            w.corpus / "wav",
        ],
        r"This model needs embeddings",
    ),
    "--check without trials": (lambda w: ["--check"], r"--check needs trials\. Give --test_list"),
    "--generate without a list": (
        lambda w: ["--generate", "--gen_target_dir", w.folder],
        r"--generate needs --gen_list",
    ),
    "no targets": (
        lambda w: w(tree=spoiled(w.train, w.folder, id03_npy=None)),
        r"expected a target.*1 targets are missing: .*id03\.npy\. Create .*combine-embeddings",
    ),
    "targets of another size": (
        lambda w: w(tree=spoiled(w.train, w.folder, id03_npy=np.ones(5, np.float32))),
        r"id03\.npy: expected a target of 16 numbers",
    ),
    "embeddings of two sizes": (
        lambda w: w(tree=spoiled(w.train, w.folder, id03__x__1_npy=np.ones((1, 5), np.float32))),
        r"id03/x/1\.npy: expected embeddings of 16 numbers",
    ),
    "embeddings of another size than the model's": (lambda w: w("MSE", "--nOut", 32), r"--nOut"),
    "embedding with NaN": (
        lambda w: w(tree=spoiled(w.train, w.folder, id03__x__1_npy=np.full(D, np.nan, np.float32))),
        r"id03/x/1\.npy: expected finite",
    ),
    "other speaker unknown": (
        lambda w: w("MyTriplet_CS", list="id00 id00/x/0.npy id99\nid01 id01/x/0.npy id00\n"),
        r"expected a target.*id99\.npy",
    ),
    "other speaker is the same": (
        lambda w: w("MyTriplet_CS", list="id00 id00/x/0.npy id01\nid01 id01/x/0.npy id01\n"),
        r"list\.txt:2: expected '<speaker> <file> <other speaker>'",
    ),
    "pair with a strange flag": (
        lambda w: w(
            "DA", list="id00 id00/x/0.npy id00/x/1.npy 1\nid01 id01/x/0.npy id01/x/1.npy 2\n"
        ),
        r"list\.txt:2: expected '<speaker> <file> <file> 0\|1'",
    ),
    "triplets in groups": (
        lambda w: w("MyTriplet_CS", "--nPerSpeaker", 2),
        r"names another speaker for each file.*--nPerSpeaker 1",
    ),
    "--triplet without others": (
        lambda w: w("MSE", "--triplet"),
        r"all_normal_list\.txt: expected lines '<speaker> <file> <other speaker>' for --triplet",
    ),
    "file twice": (
        lambda w: w(list="id00 id00/x/0.npy\nid00 id00/x/1.npy\nid01 id00/x/0.npy\n"),
        r"list\.txt:3: expected each example once, but id00/x/0\.npy is also in line 1",
    ),
    "DA without pairs": (
        lambda w: w("DA", "--train_list", w.train / "all_normal_list.txt"),
        r"all_normal_list\.txt:1: expected lines '<speaker> <file> <file> 0\|1' for --trainfunc "
        r"DA, found 'id00 id00/x/0\.npy'\. Choose such a list with --train_list",
    ),
    "triplet loss without others": (
        lambda w: w("MyTriplet_CS", "--train_list", w.train / "all_normal_list.txt"),
        r"all_normal_list\.txt:1: expected lines '<speaker> <file> <other speaker>' for "
        r"--trainfunc MyTriplet_CS, found 'id00 .*\. Choose such a list with --train_list",
    ),
    "validation without pairs": (
        lambda w: w("DA", "--valid_list", w.train / "all_normal_list.txt", "--valid_path", w.train),
        r"all_normal_list\.txt:1: expected lines .* for --trainfunc DA.* with --valid_list",
    ),
    "validation of unknown classes": (
        lambda w: w(
            "MSE_Softmax", "--valid_list", w.test / "all_normal_list.txt", "--valid_path", w.test
        ),
        r"4 speakers are not in .*--trainfunc MSE_Softmax",
    ),
    "augmentation": (lambda w: w("MSE", "--speed_perturb"), r"--speed_perturb works on speech"),
    "speed": (
        lambda w: w("MSE", "--eval_speed", "0.9"),
        r"--eval_speed 0.9: expected audio files, but --model MyLinearNetv2 reads embeddings",
    ),
    "codecs": (lambda w: w("MSE", "--codec_augment", "gsm"), r"--codec_augment works on speech"),
    "folders and lists do not match": (
        lambda w: w("MSE", "--test_path", w.test, w.test),
        r"--test_path: expected one folder, or one for each of 1 lists, found 2",
    ),
}


class Workspace:
    """The folders of a test. A call returns the words of a training run with some changes."""

    def __init__(self, train, test, corpus, folder):
        self.train = train
        self.test = test
        self.corpus = corpus
        self.folder = folder

    def __call__(self, trainfunc="MSE", *more, model="MyLinearNetv2", tree=None, list=None):
        """Returns the words of a run. `list` is the text of another train list."""
        made = words(
            tree or self.train, self.test, self.folder / "run", trainfunc, "--model", model, *more
        )
        if list:
            Path(self.folder, "list.txt").write_text(list)
            made += ["--train_list", self.folder / "list.txt"]
        return made


@pytest.mark.parametrize("name", CASES)
def test_error_messages(name, train, test, corpus, tmp_path, program, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, message = CASES[name]
    code, out, err = program(*make(Workspace(train, test, corpus, tmp_path)))
    assert code == 2 and err.startswith("error: ") and "Traceback" not in err + out, (out, err)
    assert re.search(message, err, re.S), err
    assert not (tmp_path / "run").exists()


def test_targets_need_embeddings_of_one_size(tmp_path):
    for i, size in enumerate((4, 5)):
        np.save(tmp_path / f"{i}.npy", np.ones(size, np.float32))
    message = r"1\.npy: expected embeddings of 4 numbers as in 0\.npy, found 5 numbers\."
    with pytest.raises(InputError, match=message):
        compute_targets(tmp_path, ["0.npy", "1.npy"])
