"""Tests of score normalisation.

The tests compare every norm with a plain loop and with a published implementation. They also check
every loss, the path from lists to scores files, and the error messages.

pytest tests/test_score_norm.py
"""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import Tiny, small_run
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import golden
from test_losses import loss_function
from test_trainer import Distance, Squares

from common.errors import InputError
from corpus.file_lists import read_cohort
from corpus.lists import Trials
from DatasetLoader import EvalDataset
from inference.evaluation import score_trials
from inference.scorer import Scorer
from loss import Loss
from metrics.calibration import Calibration
from metrics.qualities import quality_measures, read_qualities
from metrics.score_norm import NORMS, normalise_scores
from metrics.scores import read_scores
from models import SpeakerModel
from options import components
from SpeakerNet import SpeakerNet

ROOT = Path(__file__).parent.parent


class Embeddings(SpeakerModel):
    dim = 4

    def forward(self, x):
        return x


def embeddings(files, crops, seed=0, dim=4):
    """Returns random embeddings [files, crops, dim]."""
    return torch.randn(files, crops, dim, generator=torch.Generator().manual_seed(seed))


def random_trials(count, crops, seed=0):
    """Returns trials of 12 files and 9 speakers, and {file: embeddings [crops, dim]}.

    Two of the speakers have several enrolment files.
    """
    draw = np.random.default_rng(seed)
    models = [("f0",), ("f1", "f2"), ("f3", "f4", "f5"), *((f"f{i}",) for i in range(6, 12))]
    trials = Trials(
        [f"t{i}" for i in range(count)],
        models,
        [f"f{i}" for i in range(12)],
        draw.integers(0, 9, count),
        draw.integers(0, 12, count),
    )
    return trials, dict(zip(trials.files, embeddings(12, crops, seed), strict=True))


def plain_score(loss, scoring, a, b):
    """Returns the mean score over all pairs of a crop of a and a crop of b."""
    score = getattr(loss, scoring)
    scores = []
    for x in a:
        for y in b:
            scores.append(score(x[None, None], y[None, None]).item())
    return np.mean(scores)


def plain_norm(norm, loss, scoring, ref, qry, cohort, top_n):
    """Returns the normalised score of one trial, computed by its definition."""

    def standardised(side):
        """Returns the score, standardised by the scores of one side against the cohort."""
        against = [plain_score(loss, scoring, side, other) for other in cohort]
        against.sort(reverse=True)
        if norm == "asnorm":
            against = against[:top_n]
        mean = sum(against) / len(against)
        variance = sum((x - mean) ** 2 for x in against) / len(against)
        return (plain_score(loss, scoring, ref, qry) - mean) / variance**0.5

    if norm == "znorm":
        return standardised(ref)
    if norm == "tnorm":
        return standardised(qry)
    return (standardised(ref) + standardised(qry)) / 2


# ---------------------------------------------------------------------- definitions
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    "loss, scoring",
    [
        (Squares, "similarity"),
        (Distance, "similarity"),
        (Squares, "euclidean"),
        (Distance, "euclidean"),
    ],
)
def test_against_a_plain_loop(norm, loss, scoring):
    """Every norm equals the plain loop.

    The cases have linear and other losses, several crops, and several enrolment files. One speaker
    of the cohort has two files.
    """
    scorer = Scorer(SpeakerNet(Embeddings(), loss()))
    trials, reps = random_trials(12, crops=2)
    others = dict(zip("abcdefghij", embeddings(10, 2, seed=9), strict=True))
    cohort = scorer.references([("a", "b"), *((name,) for name in "cdefghij")], others)
    top_n = 4 if norm == "asnorm" else None
    moments = scorer.cohort_moments(trials, reps, cohort, scoring, top_n)
    found = normalise_scores(scorer.score(trials, reps, scoring), *moments, norm)
    people = [(others["a"] + others["b"]) / 2, *(others[name] for name in "cdefghij")]
    for n in range(12):
        ref = torch.stack([reps[name] for name in trials.models[trials.enrol[n]]]).mean(0)
        qry = reps[trials.files[trials.test[n]]]
        known = plain_norm(norm, scorer.net.loss, scoring, ref, qry, people, 4)
        assert found[n] == pytest.approx(known, abs=2e-4)


@given(
    st.integers(1, 300), st.integers(2, 200), st.integers(1, 3), st.booleans(), st.integers(0, 99)
)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_blocks_of_any_size(files, members, crops, linear, seed):
    """The moments equal those from one whole matrix of scores.

    The numbers of files, members of the cohort and crops are around the sizes of the blocks.
    """
    scorer = Scorer(SpeakerNet(Embeddings(), Squares() if linear else Distance()))
    names = [str(i) for i in range(files)]
    draw = np.random.default_rng(seed)
    trials = Trials(
        [],
        [(name,) for name in names],
        names,
        draw.integers(0, files, 50),
        draw.integers(0, files, 50),
    )
    bank = embeddings(files, crops, seed)
    cohort = embeddings(members, crops, seed + 1)
    reps = dict(zip(names, bank, strict=True))
    top_n = int(draw.integers(2, members + 1))
    mean, std = scorer.cohort_moments(trials, reps, cohort, top_n=top_n)
    a = scorer.net.loss.project(bank)
    b = scorer.net.loss.project(cohort)
    if linear:
        matrix = a.mean(1) @ b.mean(1).T
    else:
        matrix = -((a[:, None, :, None] - b[None, :, None]) ** 2).sum(-1).mean((2, 3))
    top = np.sort(matrix.numpy(), 1)[:, -top_n:]
    sides = np.stack([trials.enrol, trials.test], 1)
    np.testing.assert_allclose(mean, top.mean(1)[sides], atol=1e-4)
    np.testing.assert_allclose(std, top.std(1)[sides], atol=1e-3)


@pytest.mark.parametrize("case", [2, 3])
def test_the_published_scoring(case):
    """The scores equal the scores of ska-tdnn.

    ska-tdnn divides by unbiased standard deviations. These are larger by a factor that is the same
    for all trials. Without top_coh_size, ska-tdnn compares with the whole cohort.
    """
    case = golden.load_cases(ROOT / "tests" / "reference" / "score_ska.npz")[case]
    cohort = torch.from_numpy(case.inputs["cohort"])
    top_n = case.hparams["top_coh_size"] or len(cohort)
    reps = {str(i): torch.from_numpy(rep) for i, rep in enumerate(case.inputs["emb_whole"])}
    trials = Trials.of_pairs([(str(a), str(b)) for _, a, b in case.arrays["trials"].astype(int)])
    scorer = Scorer(SpeakerNet(Embeddings(), Squares()))
    moments = scorer.cohort_moments(trials, reps, cohort, top_n=top_n)
    factor = ((top_n - 1) / top_n) ** 0.5
    for norm in ("asnorm", "snorm"):
        found = normalise_scores(scorer.score(trials, reps), *moments, norm) * factor
        np.testing.assert_allclose(found, case.arrays["scores"].flatten(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("trainfunc", components("trainfunc"))
@torch.no_grad()
def test_similarities_are_symmetric(trainfunc):
    """The order of the two files does not change their score.

    So each file needs its scores against the cohort only once, as enrolment or as test file.
    """
    loss = loss_function(trainfunc, dim=4, num_classes=3)
    ref = embeddings(3, 5, seed=1)[:, 0]
    qry = embeddings(4, 5, seed=2)[:, 0]
    for scoring in ("similarity", "euclidean"):
        method = getattr(loss, scoring)
        torch.testing.assert_close(
            method(ref[None], qry[:, None]), method(qry[None], ref[:, None]).T
        )


def test_equal_cohort_scores_are_an_error():
    """A standard deviation of 0 is an error for the norms that divide by it."""
    mean = np.zeros((2, 2))
    std = np.array([[1.0, 0.0], [2.0, 0.0]])
    np.testing.assert_allclose(normalise_scores(np.array([1.0, 3.0]), mean, std, "znorm"), [1, 1.5])
    for norm in ("tnorm", "snorm", "asnorm"):
        with pytest.raises(
            InputError, match="trial 1 has the same score, .*, against every file of the cohort"
        ):
            normalise_scores(np.array([1.0, 3.0]), mean, std, norm)


def test_by_hand():
    mean = np.array([[1.0, 2.0]])
    std = np.array([[2.0, 4.0]])
    found = {norm: normalise_scores(np.array([6.0]), mean, std, norm).item() for norm in NORMS}
    assert found == {"znorm": 2.5, "tnorm": 1, "snorm": 1.75, "asnorm": 1.75}


def test_norms_of_embeddings():
    scorer = Scorer(SpeakerNet(Embeddings(), Squares()))
    trials, reps = random_trials(8, crops=3)
    found = scorer.norms(trials, reps)
    for row, enrol, test in zip(found, trials.enrol, trials.test, strict=True):
        merged = sum(reps[name] for name in trials.models[enrol]) / len(trials.models[enrol])
        known = []
        for crops in (merged, reps[trials.files[test]]):
            known.append(np.mean([np.linalg.norm(crop) for crop in crops]))
        assert row.tolist() == pytest.approx(known)


def test_quality_measures():
    scorer = Scorer(SpeakerNet(Embeddings(), Squares()))
    trials, reps = random_trials(8, crops=3)
    moments = scorer.cohort_moments(trials, reps, embeddings(10, 3, seed=9))
    dataset = SimpleNamespace(seconds=lambda: {f"f{i}": 2.0**i for i in range(12)})
    found = quality_measures(scorer, trials, dataset, reps, moments)
    assert list(found) == ["duration", "norm", "cohort"]
    assert found["cohort"] is moments[0]
    for row, enrol, test in zip(found["duration"], trials.enrol, trials.test, strict=True):
        assert row.tolist() == [
            sum(2.0 ** int(name[1:]) for name in trials.models[enrol]),
            2.0**test,
        ]
    # Files of embeddings have no duration.
    dataset = SimpleNamespace(seconds=lambda: None)
    assert list(quality_measures(scorer, trials, dataset, reps, None)) == ["norm"]


# ---------------------------------------------------------------------- lists
@pytest.mark.parametrize(
    "text, by, members",
    [
        ("a.wav\nb.wav\na.wav\n", "utterance", [("a.wav",), ("b.wav",)]),
        ("x a.wav\ny b.wav\nx c.wav\n", "utterance", [("a.wav",), ("b.wav",), ("c.wav",)]),
        ("x a.wav\ny b.wav\nx c.wav\n", "speaker", [("a.wav", "c.wav"), ("b.wav",)]),
        ("x a - - bonafide\nx b - A01 spoof\ny c - - bonafide\n", "speaker", [("a",), ("c",)]),
        ("a 0 None\nb 1 None\nc 0 None\n", "speaker", [("a", "c"), ("b",)]),
    ],
)
def test_cohort_lists(text, by, members, tmp_path):
    (tmp_path / "cohort.txt").write_text(text)
    assert read_cohort(tmp_path / "cohort.txt", by) == members


# ---------------------------------------------------------------------- in use
def cohort_of(corpus, *more):
    """Returns the options that make the training files the cohort, and further options."""
    return ["--cohort_list", corpus / "train_list.txt", "--cohort_path", corpus / "wav", *more]


def test_evaluation(corpus, checkpoint, tmp_path, program):
    """--eval with a cohort writes raw and normalised scores, the metrics of both, and qualities.

    The raw scores equal the scores of an evaluation without a cohort.
    """
    words = [
        "--eval",
        "--initial_model",
        checkpoint,
        "--test_list",
        corpus / "trials.txt",
        "--test_path",
        corpus / "wav",
        "--nDataLoaderThread",
        0,
    ]
    code, out, err = program(
        *words,
        "--output",
        tmp_path / "s.txt",
        "--score_norm",
        "asnorm",
        "--top_n",
        5,
        "--qualities",
        *cohort_of(corpus),
    )
    assert code == 0
    assert not err
    assert len(re.findall(r"^EER", out, re.M)) == 2
    assert "a cohort of 48 utterances" in out
    without_cohort = checkpoint.parent.parent / "result" / "scores.txt"
    assert (tmp_path / "s.txt").read_text() == without_cohort.read_text()
    raw = read_scores(tmp_path / "s.txt")
    normed = read_scores(tmp_path / "s_asnorm.txt")
    assert raw.lines == normed.lines
    assert np.abs(raw.scores - normed.scores).max() > 0.1
    quality = read_qualities(tmp_path / "s_qualities.txt", raw.lines)
    assert list(quality) == ["duration", "norm", "cohort"]
    pairs = [line.split()[1:] for line in raw.lines]
    files = sorted({pair[0] for pair in pairs} | {pair[1] for pair in pairs})
    seconds = EvalDataset(files, corpus / "wav", eval_frames=0, num_eval=1).seconds()
    durations = [[seconds[enrol], seconds[test]] for enrol, test in pairs]
    np.testing.assert_allclose(quality["duration"], durations, rtol=1e-5)

    program(
        *words,
        "--output",
        tmp_path / "p.txt",
        "--score_norm",
        "znorm",
        *cohort_of(corpus, "--cohort_by", "speaker"),
    )
    assert sorted(path.name for path in tmp_path.glob("p*")) == ["p.txt", "p_znorm.txt"]


def test_training_and_verification_with_a_norm(corpus, tmp_path, program):
    """Training logs raw and normalised metrics. --verify uses the threshold of its norm."""
    cohort = ["--score_norm", "snorm", *cohort_of(corpus, "--cohort_by", "speaker")]
    code, _, err = program(
        *small_run(
            corpus,
            tmp_path / "run",
            "--max_steps",
            2,
            "--test_list",
            corpus / "trials.txt",
            corpus / "trials.txt",
            *cohort,
        )
    )
    line = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])
    names = {"EER", "EER_snorm", "minDCF_snorm", "threshold_snorm", "EER_2", "EER_snorm_2"}
    assert code == 0, err
    assert names <= line.keys(), err
    assert {path.name for path in (tmp_path / "run" / "result").iterdir()} == {
        "scores.txt",
        "scores_snorm.txt",
        "scores_2.txt",
        "scores_2_snorm.txt",
    }

    trial = read_scores(tmp_path / "run" / "result" / "scores_snorm.txt")
    verify = [
        "--verify",
        *trial.lines[0].split()[1:],
        "--test_path",
        corpus / "wav",
        "--initial_model",
        tmp_path / "run" / "model" / "last.model",
        "--nDataLoaderThread",
        0,
    ]
    code, out, _ = program(*verify, *cohort)
    assert code == 0
    score = f"{trial.scores[0]:.3f}"
    assert re.search(rf"Score +{score}\d+\nThreshold +{line['threshold_snorm']:.4f}", out)
    assert re.search(rf"Threshold +{line['threshold']:#.5g}\n", program(*verify)[1])
    out = program(*verify, "--score_norm", "tnorm", *cohort[2:])[1]
    assert "not evaluated on trials with --score_norm tnorm\n" in out
    assert "give --threshold" in out


def calibration_file(path, inputs, weights, offset=0.0):
    """Writes a calibration with these inputs and weights, and returns its path."""
    calibration = Calibration(inputs, weights, offset, 0.05, 1, 1, ["dev.txt"])
    path.write_text(json.dumps(calibration._asdict()))
    return path


def test_verification_prints_a_probability(corpus, checkpoint, tmp_path, program):
    scores = read_scores(checkpoint.parent.parent / "result" / "scores.txt")
    words = [
        "--verify",
        *scores.lines[0].split()[1:],
        "--test_path",
        corpus / "wav",
        "--initial_model",
        checkpoint,
        "--nDataLoaderThread",
        0,
        "--calibration",
    ]
    plain = calibration_file(tmp_path / "c.json", ["score"], [0.0], float(np.log(3)))
    out = program(*words, plain)[1]
    assert "Probability 0.7500 " in out and "(prior 0.5, log-likelihood ratio 1.0986)" in out
    out = program(*words, plain, "--prior", 0.1)[1]
    assert "Probability 0.2500 " in out and "(prior 0.1," in out
    full = calibration_file(
        tmp_path / "q.json", ["score", "duration_min", "cohort_max"], [1.0, 1.0, 1.0]
    )
    assert "Probability" in program(*words, full, "--score_norm", "snorm", *cohort_of(corpus))[1]
    code, _, err = program(*words, full)
    assert code == 2
    assert "inputs score, duration_min, cohort_max, found score, duration_min." in err
    fusion = calibration_file(tmp_path / "f.json", ["score_1", "score_2"], [1.0, 1.0])
    code, _, err = program(*words, fusion)
    assert code == 2
    assert "inputs score_1, score_2, found score." in err
    for prior in (0, 1):
        code, _, err = program(*words, plain, "--prior", prior)
        assert code == 2
        assert "--prior: expected more than 0" in err or "--prior: expected less than 1" in err
    code, _, err = program(*words, corpus / "trials.txt")
    assert code == 2
    assert "expected a calibration" in err


@pytest.mark.parametrize(
    "words, message",
    [
        (
            lambda c: ["--score_norm", "asnorm"],
            "--score_norm asnorm: expected .* Add --cohort_list LIST",
        ),
        (
            lambda c: ["--score_norm", "asnorm", *cohort_of(c)],
            "expected a cohort of at least 300 utterances .*, found 48. Lower --top_n",
        ),
        (
            lambda c: [
                "--score_norm",
                "asnorm",
                *cohort_of(c, "--cohort_by", "speaker", "--top_n", 9),
            ],
            r"at least 9 speakers \(--cohort_by\), found 8",
        ),
        (
            lambda c: ["--score_norm", "asnorm", "--top_n", 5, *cohort_of(c)[:2]],
            "48 of 48 files are missing",
        ),
        (
            lambda c: [
                "--score_norm",
                "snorm",
                *cohort_of(c, "--encoder_type", "CAP", "--trainfunc", "proto", "--global_clf"),
            ],
            "--score_norm works on embeddings .*--encoder_type CAP",
        ),
        (
            lambda c: [
                "--qualities",
                "--encoder_type",
                "CAP",
                "--trainfunc",
                "proto",
                "--global_clf",
            ],
            "--qualities works on embeddings",
        ),
    ],
)
def test_is_refused_before_training(words, message, corpus, tmp_path, program):
    code, _, err = program(*small_run(corpus, tmp_path / "run", *words(corpus)))
    assert code == 2, err
    assert re.search(message, err), err
    assert not (tmp_path / "run").exists()


def test_a_list_without_speakers_is_an_error(tmp_path):
    (tmp_path / "cohort.txt").write_text("a.wav\nb.wav\n")
    with pytest.raises(
        InputError,
        match="cohort.txt:1: expected '<speaker> <file>' for --cohort_by speaker, found 'a.wav'",
    ):
        read_cohort(tmp_path / "cohort.txt", "speaker")


def test_spoofing_aware_scores_keep_their_head():
    """Only the speaker score is normalised. The score against spoofed speech is added unchanged."""

    class Headed(Loss):
        fusion = 2.0

        def bonafide(self, x):
            return x[..., 0]

    scorer = Scorer(SpeakerNet(Tiny(), Headed()))
    trials, reps = random_trials(6, crops=2)
    options = SimpleNamespace(scoring="similarity", trials_at_once=32, score_norm="snorm")
    moments = scorer.cohort_moments(trials, reps, embeddings(10, 2, seed=9))
    found = score_trials(scorer, trials, reps, options, moments=moments)
    head = 2 * scorer.bonafide(trials, reps)
    speaker_scores = scorer.score(trials, reps)
    np.testing.assert_allclose(found[""], speaker_scores + head, rtol=1e-6)
    normalised = normalise_scores(speaker_scores, *moments, "snorm")
    np.testing.assert_allclose(found["_snorm"], normalised + head, rtol=1e-6)
