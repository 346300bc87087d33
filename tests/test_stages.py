"""--eval --stages: the table from raw to calibrated scores, its files, and its refusals.

pytest tests/test_stages.py
"""

import contextlib
import io
import re

import numpy as np
import pytest
from test_confidence import copies, simulated

import trainSpeakerNet
from metrics.backends import load_backend
from metrics.llr import act_dcf, cllr
from metrics.rates import eer, error_rates, min_dcf
from metrics.scores import read_scores
from metrics.stage_plan import STAGES, plan_of
from metrics.stage_table import Costs, measure_stages, table_of_stages

STAGES_OF_TABLE = ["mean", "wccn", "asnorm", "qualities", "calibration"]


@pytest.fixture(scope="module")
def lists(corpus, tmp_path_factory):
    """Two halves of the training list by speaker, and trials of the second half."""
    folder = tmp_path_factory.mktemp("lists")
    utterances = [line.split() for line in (corpus / "train_list.txt").read_text().splitlines()]
    speakers = sorted({speaker for speaker, _ in utterances})
    estimation = []
    files = []
    for speaker, file in utterances:
        if speaker in speakers[:5]:
            estimation.append(f"{speaker} {file}\n")
        else:
            files.append((speaker, file))
    trials = []
    for i, (speaker, file) in enumerate(files):
        for other, second in files[:i]:
            trials.append(f"{int(speaker == other)} {file} {second}\n")
    (folder / "backend.txt").write_text("".join(estimation))
    (folder / "development.txt").write_text("".join(trials))
    return folder


@pytest.fixture(scope="module")
def words(corpus, checkpoint, lists):
    """The words of a command with all lists, without the stages and the output."""
    named = {
        "initial_model": checkpoint,
        "test_list": corpus / "trials.txt",
        "backend_list": lists / "backend.txt",
        "cohort_list": lists / "backend.txt",
        "calibration_list": lists / "development.txt",
        "top_n": 5,
        "nDataLoaderThread": 0,
        "bootstrap": 100,
    }
    found = ["--eval"]
    for name, value in named.items():
        found += [f"--{name}", value]
    for name in ("test", "backend", "cohort", "calibration"):
        found += [f"--{name}_path", corpus / "wav"]
    return found


@pytest.fixture(scope="module")
def table(words, tmp_path_factory):
    """The folder of the results of all stages, and what the program printed."""
    folder = tmp_path_factory.mktemp("table")
    # The program logs to the stdout of this moment.
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = trainSpeakerNet.main(
            [*map(str, words), "--stages", *STAGES_OF_TABLE, "--output", f"{folder}/s.txt"]
        )
    assert not code
    return folder, out.getvalue()


def scores_of(path):
    return read_scores(path).scores


def test_the_table_has_all_stages_and_their_lists(table, lists):
    """Each row has four numbers, and all but the first have p-values. The lists are below."""
    _, out = table
    rows = re.findall(r"^(\w+) +[\d.]+ %  .*$", out, re.M)
    assert rows == ["raw", *STAGES_OF_TABLE]
    assert len(re.findall(r" p [01]\.\d{3}", out)) == 4 * len(STAGES_OF_TABLE)
    assert len(re.findall(r"\[[\d.]+, [\d.]+\]", out)) == 4 * len(rows)
    assert "from 100 resamples of 4 speakers" in out
    for stage in ("mean", "wccn"):
        assert re.search(rf"^{stage} +from {lists}/backend.txt: 30 files of 5 speakers$", out, re.M)
    assert re.search(
        rf"^asnorm +from {lists}/backend.txt: 30 utterances, .* the 5 closest", out, re.M
    )
    for stage in ("qualities", "calibration"):
        assert re.search(rf"^{stage} +from {lists}/development.txt: 153 trials", out, re.M)


def test_back_end_and_raw_scores(table, checkpoint):
    """The raw scores are those of the training's evaluation. The stages are estimated in turn."""
    folder, _ = table
    raw = checkpoint.parent.parent / "result" / "scores.txt"
    assert (folder / "s.txt").read_text() == raw.read_text()
    backend = load_backend(folder / "s_backend.npz")
    assert backend.stages == ["mean", "wccn"]
    assert backend.source.endswith("backend.txt")


class Plain:
    """The stages in plain numpy, from embeddings {file: [K, D]} that --extract wrote."""

    def __init__(self, embeddings, listed):
        self.embeddings = embeddings
        x = np.stack([embeddings[file].mean(0) for _, file in listed])
        speakers = np.array([speaker for speaker, _ in listed])
        self.mean = x.mean(0)
        for speaker in set(speakers):
            x[speakers == speaker] -= x[speakers == speaker].mean(0)
        within = x.T @ x / (len(x) - 1)
        within += 0.5 * np.trace(within) / len(within) * np.eye(len(within))
        self.metric = np.linalg.inv(within)
        self.cohort = [file for _, file in listed]

    def score(self, first, second, metric):
        """The mean over all pairs of crops of the cosine in a metric."""
        a, b = self.embeddings[first] - self.mean, self.embeddings[second] - self.mean
        lengths = [np.sqrt(np.einsum("kd,de,ke->k", each, metric, each)) for each in (a, b)]
        return (a @ metric @ b.T / np.outer(*lengths)).mean()

    def normalised(self, first, second):
        """The AS-norm with the five highest scores of each side, after mean and wccn."""
        score = self.score(first, second, self.metric)
        found = []
        for side in (first, second):
            top = np.sort([self.score(side, file, self.metric) for file in self.cohort])[-5:]
            found.append((score - top.mean()) / top.std())
        return np.mean(found)


def test_stages_equal_plain_numpy(table, lists, corpus, checkpoint, program, tmp_path):
    """mean, wccn and asnorm equal numpy on the embeddings that --extract writes."""
    folder, _ = table
    words = ["--initial_model", checkpoint, "--output", tmp_path, "--nDataLoaderThread", 0]
    assert program("--extract", corpus / "wav", *words)[0] == 0
    embeddings = {}
    for path in tmp_path.rglob("*.npy"):
        name = str(path.relative_to(tmp_path).with_suffix(".wav"))
        embeddings[name] = np.load(path).astype(float)
    listed = [line.split() for line in (lists / "backend.txt").read_text().splitlines()]
    plain = Plain(embeddings, listed)
    identity = np.eye(len(plain.metric))
    pairs = [line.split()[1:] for line in read_scores(folder / "s.txt").lines[:20]]
    for end, score in (
        ("mean", lambda a, b: plain.score(a, b, identity)),
        ("wccn", lambda a, b: plain.score(a, b, plain.metric)),
        ("asnorm", plain.normalised),
    ):
        expected = [score(a, b) for a, b in pairs]
        np.testing.assert_allclose(scores_of(folder / f"s_{end}.txt")[:20], expected, atol=2e-4)


# ---------------------------------------------------------------------- numbers
def test_intervals_equal_copied_trials():
    """Every resample has the numbers of the copied trials, computed by the plain functions."""
    scores, label, sides, _ = simulated(np.random.default_rng(1), people=6, others=40)
    costs = Costs(0.2, 1.0, 2.0)
    found = measure_stages({"raw": scores}, label, costs, sides, 20)["raw"]

    def numbers(values, target):
        rates = error_rates(values, target)
        return {
            "EER": eer(*rates)[0],
            "minDCF(0.2)": min_dcf(*rates, 0.2, 1.0, 2.0)[0],
            "actDCF(0.2)": act_dcf(*rates, 0.2, 1.0, 2.0)[0],
            "Cllr": cllr(values, target),
        }

    assert found.values == pytest.approx(numbers(scores, label))
    expected = [numbers(scores[which], label[which]) for which in copies(sides, 20, 0)]
    for name, values in found.resamples.values.items():
        assert values == pytest.approx([row[name] for row in expected])


def test_the_table_by_hand():
    """Two stages of 4 trials, without intervals."""
    label = np.array([True, True, False, False])
    stages = {"raw": np.array([0.0, 0.0, 0.0, 0.0]), "mean": np.array([4.0, 4.0, -4.0, 4.0])}
    stages["raw"][0] = 1e-9
    table = table_of_stages(measure_stages(stages, label, Costs(0.5)))
    header, raw, mean = table.splitlines()
    assert header.split() == ["EER", "minDCF(0.5)", "actDCF(0.5)", "Cllr"]
    # A threshold above 0 accepts one of two targets and no other trial.
    assert raw.split() == ["raw", "33.33", "%", "0.5000", "1.0000", "1.0000"]
    # log2(1 + e^-4) = 0.0262 and log2(1 + e^4) = 5.7971.
    # Cllr = (0.0262 + (0.0262 + 5.7971) / 2) / 2
    assert mean.split() == ["mean", "33.33", "%", "0.5000", "0.5000", "1.4689"]


def test_a_stage_without_effect_has_the_p_value_1():
    scores, label, sides, _ = simulated(np.random.default_rng(2))
    stages = {"raw": scores, "mean": scores, "wccn": scores + 3 * label}
    table = table_of_stages(measure_stages(stages, label, Costs(), sides, 200))
    _, raw, _, same, _, better, _ = table.splitlines()
    assert "p" not in raw.split()
    assert re.findall(r"p (\d\.\d+)", same) == ["1.000"] * 4
    assert max(map(float, re.findall(r"p (\d\.\d+)", better))) < 0.02
    assert all(len(line) <= 100 for line in table.splitlines())


# ---------------------------------------------------------------------- order
@pytest.mark.parametrize(
    "stages, remedy",
    [
        ("asnorm mean", "mean asnorm"),
        ("plda length mean", "length mean plda"),
        ("mean mean wccn", "mean wccn"),
        ("calibration qualities", "qualities calibration"),
        ("calibration asnorm", "asnorm calibration"),
    ],
)
def test_order(stages, remedy):
    with pytest.raises(ValueError, match=rf"found {stages}. Give --stages {remedy}\.$"):
        plan_of(stages.split())
    plan_of(remedy.split())


def test_two_norms_are_refused():
    with pytest.raises(ValueError, match="at most one score normalisation, found snorm and znorm"):
        plan_of(["mean", "snorm", "znorm"])


def test_every_stage_alone_and_repeated_scaling():
    for stage in STAGES:
        assert plan_of([stage]).rows == ["raw", stage]
    assert plan_of(["length", "wccn", "length", "plda"]).rows[1:] == [
        "length",
        "wccn",
        "length_2",
        "plda",
    ]
