"""Score normalisation: every norm against a plain loop, the published scoring, every loss, lists to scores files, and what is refused.

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
    return torch.randn(files, crops, dim, generator=torch.Generator().manual_seed(seed))


def some_trials(count, crops, seed=0):
    """Trials of 12 files and 9 speakers, of whom some are enrolled with several, and the files' representations."""
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
    """Mean over pairs of crops."""
    return np.mean(
        [getattr(loss, scoring)(x[None, None], y[None, None]).item() for x in a for y in b]
    )


def plain_norm(norm, loss, scoring, ref, qry, cohort, top_n):
    """The normalised score of a trial, by its definition."""

    def z(side):
        against = sorted(
            (plain_score(loss, scoring, side, other) for other in cohort), reverse=True
        )[: top_n if norm == "asnorm" else None]
        mean = sum(against) / len(against)
        return (plain_score(loss, scoring, ref, qry) - mean) / (
            sum((x - mean) ** 2 for x in against) / len(against)
        ) ** 0.5

    return {"znorm": lambda: z(ref), "tnorm": lambda: z(qry)}.get(
        norm, lambda: (z(ref) + z(qry)) / 2
    )()


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
    """Linear and other losses, crops, several enrolment files, a cohort of speakers of several files."""
    made = Scorer(SpeakerNet(Embeddings(), loss()))
    trials, reps = some_trials(12, crops=2)
    others = dict(zip("abcdefghij", embeddings(10, 2, seed=9), strict=True))
    cohort = made.references([("a", "b"), *((name,) for name in "cdefghij")], others)
    moments = made.cohort_moments(trials, reps, cohort, scoring, 4 if norm == "asnorm" else None)
    got = normalise_scores(made.score(trials, reps, scoring), *moments, norm)
    for n in range(12):
        ref = torch.stack([reps[name] for name in trials.models[trials.enrol[n]]]).mean(0)
        qry = reps[trials.files[trials.test[n]]]
        people = [(others["a"] + others["b"]) / 2, *(others[name] for name in "cdefghij")]
        assert got[n] == pytest.approx(
            plain_norm(norm, made.net.loss, scoring, ref, qry, people, 4), abs=2e-4
        )


@given(
    st.integers(1, 300), st.integers(2, 200), st.integers(1, 3), st.booleans(), st.integers(0, 99)
)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_blocks_of_any_size(files, members, crops, linear, seed):
    """Numbers of files, members and crops around the sizes of blocks: against one whole matrix."""
    made = Scorer(SpeakerNet(Embeddings(), Squares() if linear else Distance()))
    names = [str(i) for i in range(files)]
    draw = np.random.default_rng(seed)
    trials = Trials(
        [],
        [(name,) for name in names],
        names,
        draw.integers(0, files, 50),
        draw.integers(0, files, 50),
    )
    bank, cohort = embeddings(files, crops, seed), embeddings(members, crops, seed + 1)
    top_n = int(draw.integers(2, members + 1))
    mean, std = made.cohort_moments(
        trials, dict(zip(names, bank, strict=True)), cohort, top_n=top_n
    )
    a, b = (made.net.loss.project(x) for x in (bank, cohort))
    matrix = (
        a.mean(1) @ b.mean(1).T
        if linear
        else -((a[:, None, :, None] - b[None, :, None]) ** 2).sum(-1).mean((2, 3))
    )
    top = np.sort(matrix.numpy(), 1)[:, -top_n:]
    sides = np.stack([trials.enrol, trials.test], 1)
    np.testing.assert_allclose(mean, top.mean(1)[sides], atol=1e-4)
    np.testing.assert_allclose(std, top.std(1)[sides], atol=1e-3)


@pytest.mark.parametrize("case", [2, 3])
def test_the_published_scoring(case):
    """ska-tdnn takes unbiased deviations, which are larger by a factor that all trials share; without a number, all of the cohort."""
    case = golden.load_cases(ROOT / "tests" / "reference" / "score_ska.npz")[case]
    cohort = torch.from_numpy(case.inputs["cohort"])
    top_n = case.hparams["top_coh_size"] or len(cohort)
    reps = {str(i): torch.from_numpy(rep) for i, rep in enumerate(case.inputs["emb_whole"])}
    trials = Trials.of_pairs([(str(a), str(b)) for _, a, b in case.arrays["trials"].astype(int)])
    made = Scorer(SpeakerNet(Embeddings(), Squares()))
    moments = made.cohort_moments(trials, reps, cohort, top_n=top_n)
    for norm in ("asnorm", "snorm"):
        got = (
            normalise_scores(made.score(trials, reps), *moments, norm)
            * ((top_n - 1) / top_n) ** 0.5
        )
        np.testing.assert_allclose(got, case.arrays["scores"].flatten(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("trainfunc", components("trainfunc"))
@torch.no_grad()
def test_similarities_are_symmetric(trainfunc):
    """So that a file needs its scores against the cohort only once, on whichever side of trials it is."""
    loss = loss_function(trainfunc, dim=4, num_classes=3)
    ref, qry = embeddings(3, 5, seed=1)[:, 0], embeddings(4, 5, seed=2)[:, 0]
    for scoring in ("similarity", "euclidean"):
        method = getattr(loss, scoring)
        torch.testing.assert_close(
            method(ref[None], qry[:, None]), method(qry[None], ref[:, None]).T
        )


def test_a_flat_side_is_an_error_where_it_counts():
    mean, std = np.zeros((2, 2)), np.array([[1.0, 0.0], [2.0, 0.0]])
    np.testing.assert_allclose(normalise_scores(np.array([1.0, 3.0]), mean, std, "znorm"), [1, 1.5])
    for norm in ("tnorm", "snorm", "asnorm"):
        with pytest.raises(
            InputError, match="trial 1 scores the same against every file of the cohort"
        ):
            normalise_scores(np.array([1.0, 3.0]), mean, std, norm)


def test_by_hand():
    mean, std = np.array([[1.0, 2.0]]), np.array([[2.0, 4.0]])
    assert {norm: normalise_scores(np.array([6.0]), mean, std, norm).item() for norm in NORMS} == {
        "znorm": 2.5,
        "tnorm": 1,
        "snorm": 1.75,
        "asnorm": 1.75,
    }


def test_norms_of_embeddings():
    made = Scorer(SpeakerNet(Embeddings(), Squares()))
    trials, reps = some_trials(8, crops=3)
    for row, enrol, test in zip(made.norms(trials, reps), trials.enrol, trials.test, strict=True):
        merged = sum(reps[name] for name in trials.models[enrol]) / len(trials.models[enrol])
        assert row.tolist() == pytest.approx(
            [
                np.mean([np.linalg.norm(crop) for crop in x])
                for x in (merged, reps[trials.files[test]])
            ]
        )


def test_quality_measures():
    made = Scorer(SpeakerNet(Embeddings(), Squares()))
    trials, reps = some_trials(8, crops=3)
    mean, std = made.cohort_moments(trials, reps, embeddings(10, 3, seed=9))
    found = quality_measures(
        made,
        trials,
        SimpleNamespace(seconds=lambda: {f"f{i}": 2.0**i for i in range(12)}),
        reps,
        (mean, std),
    )
    assert list(found) == ["duration", "norm", "cohort"] and found["cohort"] is mean
    for row, enrol, test in zip(found["duration"], trials.enrol, trials.test, strict=True):
        assert row.tolist() == [
            sum(2.0 ** int(name[1:]) for name in trials.models[enrol]),
            2.0**test,
        ]
    # embeddings have no duration
    assert list(
        quality_measures(made, trials, SimpleNamespace(seconds=lambda: None), reps, None)
    ) == ["norm"]


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
    return ["--cohort_list", corpus / "train_list.txt", "--cohort_path", corpus / "wav", *more]


def test_evaluation(corpus, checkpoint, tmp_path, program):
    """Both scores files, both metrics, quality measures; the raw scores are those of an evaluation without a cohort."""
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
    assert (
        code == 0
        and not err
        and len(re.findall(r"^EER", out, re.M)) == 2
        and "a cohort of 48, by utterance" in out
    )
    assert (tmp_path / "s.txt").read_text() == (
        checkpoint.parent.parent / "result" / "scores.txt"
    ).read_text()
    raw, normed = read_scores(tmp_path / "s.txt"), read_scores(tmp_path / "s_asnorm.txt")
    assert raw.lines == normed.lines and np.abs(raw.scores - normed.scores).max() > 0.1
    quality = read_qualities(tmp_path / "s_qualities.txt", raw.lines)
    assert list(quality) == ["duration", "norm", "cohort"]
    files = sorted({word for line in raw.lines for word in line.split()[1:]})
    seconds = EvalDataset(files, corpus / "wav", eval_frames=0, num_eval=1).seconds()
    wanted = [[seconds[word] for word in line.split()[1:]] for line in raw.lines]
    np.testing.assert_allclose(quality["duration"], wanted, rtol=1e-5)

    program(
        *words,
        "--output",
        tmp_path / "p.txt",
        "--score_norm",
        "znorm",
        *cohort_of(corpus, "--cohort_by", "speaker"),
    )
    assert sorted(path.name for path in tmp_path.glob("p*")) == ["p.txt", "p_znorm.txt"]


def test_training_tells_both_and_verification_takes_the_normalised_one(corpus, tmp_path, program):
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
    assert (
        code == 0
        and {"EER", "EER_snorm", "minDCF_snorm", "threshold_snorm", "EER_2", "EER_snorm_2"}
        <= line.keys()
    ), err
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
    assert code == 0 and re.search(
        rf"score {trial.scores[0]:.3f}\d  threshold {line['threshold_snorm']:.4f}", out
    )
    assert f"threshold {line['threshold']:.4f}" in program(*verify)[1]
    assert (
        "no trials with --score_norm tnorm, give --threshold"
        in program(*verify, "--score_norm", "tnorm", *cohort[2:])[1]
    )


def calibration_file(path, inputs, weights, offset=0.0):
    path.write_text(
        json.dumps(Calibration(inputs, weights, offset, 0.05, 1, 1, ["dev.txt"])._asdict())
    )
    return path


def test_verification_tells_a_probability(corpus, checkpoint, tmp_path, program):
    words = [
        "--verify",
        *read_scores(checkpoint.parent.parent / "result" / "scores.txt").lines[0].split()[1:],
        "--test_path",
        corpus / "wav",
        "--initial_model",
        checkpoint,
        "--nDataLoaderThread",
        0,
        "--calibration",
    ]
    plain = calibration_file(tmp_path / "c.json", ["score"], [0.0], float(np.log(3)))
    assert (
        "probability of the same speaker 0.7500  prior 0.5  log-likelihood ratio 1.0986"
        in program(*words, plain)[1]
    )
    assert (
        "probability of the same speaker 0.2500  prior 0.1"
        in program(*words, plain, "--prior", 0.1)[1]
    )
    full = calibration_file(
        tmp_path / "q.json", ["score", "duration_min", "cohort_max"], [1.0, 1.0, 1.0]
    )
    assert "probability" in program(*words, full, "--score_norm", "snorm", *cohort_of(corpus))[1]
    code, _, err = program(*words, full)
    assert code == 2 and "takes score, duration_min, cohort_max, got score, duration_min;" in err
    code, _, err = program(
        *words, calibration_file(tmp_path / "f.json", ["score_1", "score_2"], [1.0, 1.0])
    )
    assert code == 2 and "takes score_1, score_2, got score;" in err
    for prior in (0, 1):
        code, _, err = program(*words, plain, "--prior", prior)
        assert code == 2 and "--prior: want a probability" in err
    code, _, err = program(*words, corpus / "trials.txt")
    assert code == 2 and "want a calibration" in err


@pytest.mark.parametrize(
    "words, message",
    [
        (lambda c: ["--score_norm", "asnorm"], "--score_norm asnorm: want --cohort_list FILE"),
        (
            lambda c: ["--score_norm", "asnorm", *cohort_of(c)],
            "want a cohort of at least 300, got 48 .*lower --top_n",
        ),
        (
            lambda c: [
                "--score_norm",
                "asnorm",
                *cohort_of(c, "--cohort_by", "speaker", "--top_n", 9),
            ],
            r"at least 9, got 8 \(--cohort_by speaker\)",
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
            "--score_norm: works on embeddings .*--encoder_type CAP",
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
            "--qualities: works on embeddings",
        ),
    ],
)
def test_is_refused_before_training(words, message, corpus, tmp_path, program):
    code, _, err = program(*small_run(corpus, tmp_path / "run", *words(corpus)))
    assert code == 2 and re.search(message, err) and not (tmp_path / "run").exists(), err


def test_a_list_without_speakers_has_none(tmp_path):
    (tmp_path / "cohort.txt").write_text("a.wav\nb.wav\n")
    with pytest.raises(InputError, match="want the speakers .* got 'a.wav'"):
        read_cohort(tmp_path / "cohort.txt", "speaker")


def test_spoofing_aware_scores_keep_their_head():
    """The speaker's part is normalised, what tells real from spoofed speech is added as it is."""

    class Headed(Loss):
        fusion = 2.0

        def bonafide(self, x):
            return x[..., 0]

    made = Scorer(SpeakerNet(Tiny(), Headed()))
    trials, reps = some_trials(6, crops=2)
    options = SimpleNamespace(scoring="similarity", trials_at_once=32, score_norm="snorm")
    moments = made.cohort_moments(trials, reps, embeddings(10, 2, seed=9))
    got = score_trials(made, trials, reps, options, moments=moments)
    head = 2 * made.bonafide(trials, reps)
    np.testing.assert_allclose(got[""], made.score(trials, reps) + head, rtol=1e-6)
    np.testing.assert_allclose(
        got["_snorm"],
        normalise_scores(made.score(trials, reps), *moments, "snorm") + head,
        rtol=1e-6,
    )
