"""Scores through a back end: every way of scoring equals a plain loop over crops.

pytest tests/test_backend_scoring.py
"""

import numpy as np
import pytest
import torch
from test_score_norm import Embeddings, embeddings, random_trials
from test_trainer import Distance, Squares

from common.errors import InputError
from corpus.lists import Trials
from inference.backends import digest_of, own_mean
from inference.scorer import Scorer
from metrics.backends import estimate
from SpeakerNet import SpeakerNet

STAGES = (["mean"], ["wccn"], ["mean", "wccn"], ["mean", "length", "lda", "length"], ["plda"])


def back_end(stages, **settings):
    """A back end of 60 embeddings of 12 speakers, whose means are apart."""
    draw = np.random.default_rng(7)
    speaker = np.repeat(np.arange(12), 5)
    x = 1 + 2 * draw.normal(size=(12, 4))[speaker] + draw.normal(size=(60, 4))
    return estimate(x, [str(number) for number in speaker], stages, **settings)


def plain_score(backend, ref, qry):
    """The mean over all pairs of crops, in float64."""
    scores = []
    for x in ref:
        for y in qry:
            pair = backend.transform(np.stack([x, y]).astype(float))
            scores.append(backend.scores(pair[:1], pair[1:])[0])
    return np.mean(scores)


def sides(trials, reps, n):
    """The embeddings of the enrolment and of the test file of trial n, [K, D] each."""
    enrolment = torch.stack([reps[name] for name in trials.models[trials.enrol[n]]]).mean(0)
    return enrolment.numpy(), reps[trials.files[trials.test[n]]].numpy()


@pytest.mark.parametrize("stages", STAGES, ids=" ".join)
@pytest.mark.parametrize("loss", [Squares, Distance])
def test_scores_and_cohort_equal_a_plain_loop(stages, loss):
    backend = back_end(stages)
    scorer = Scorer(SpeakerNet(Embeddings(), loss()), backend=backend)
    count = 40
    # Trials of few files are computed as a matrix, and trials of many files one by one.
    trials, reps = random_trials(count, crops=3)
    many = dict(zip(map(str, range(140)), embeddings(140, 2, seed=5), strict=True))
    apart = Trials.of_pairs([(str(n), str(139 - n)) for n in range(70)])
    for listed, bank in ((trials, reps), (apart, many)):
        expected = [plain_score(backend, *sides(listed, bank, n)) for n in range(count)]
        assert scorer.score(listed, bank)[:count] == pytest.approx(expected, abs=1e-5)
    cohort = embeddings(5, 3, seed=9)
    mean, deviation = scorer.cohort_moments(trials, reps, cohort, top_n=4)
    for n in range(0, count, 8):
        for side, x in enumerate(sides(trials, reps, n)):
            against = sorted(plain_score(backend, x, other.numpy()) for other in cohort)[1:]
            assert mean[n, side] == pytest.approx(np.mean(against), abs=1e-5)
            assert deviation[n, side] == pytest.approx(np.std(against), abs=1e-4)


@pytest.mark.parametrize("stages", STAGES, ids=" ".join)
def test_matrix_lengths_and_embeddings(stages):
    backend = back_end(stages)
    scorer = Scorer(SpeakerNet(Embeddings(), Squares()), backend=backend)
    trials, reps = random_trials(6, crops=2)
    bank = list(reps.values())
    found = torch.cat(list(scorer.matrix(bank, bank[:3])))
    assert found.shape == (12, 3)
    for row, x in zip(found, bank, strict=True):
        expected = [plain_score(backend, x.numpy(), y.numpy()) for y in bank[:3]]
        assert row.numpy() == pytest.approx(expected, abs=1e-5)
    for row, n in zip(scorer.norms(trials, reps), range(6), strict=True):
        known = [backend.lengths(x).mean() for x in sides(trials, reps, n)]
        assert row.tolist() == pytest.approx(known, rel=1e-5)
    rep = bank[0].half()
    assert scorer.transform(rep).dtype == torch.float16
    assert scorer.transform(bank[0]).numpy() == pytest.approx(
        backend.transform(bank[0].numpy()), abs=1e-5
    )


def test_length_is_the_same_as_no_back_end():
    trials, reps = random_trials(20, crops=2)
    plain = Scorer(SpeakerNet(Embeddings(), Squares())).score(trials, reps)
    net = SpeakerNet(Embeddings(), Squares())
    found = Scorer(net, backend=back_end(["length"])).score(trials, reps)
    assert found == pytest.approx(plain, abs=1e-6)


def test_own_mean_is_the_mean_over_files():
    reps = {"a": torch.tensor([[1.0, 0.0], [3.0, 0.0]]), "b": torch.tensor([[0.0, 6.0]])}
    assert own_mean(reps).steps[0].offset.tolist() == [1.0, 3.0]


class Layer(Embeddings):
    """A network with weights."""

    def __init__(self, value=1.0):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((4,), value))


def test_a_back_end_of_another_network_is_refused():
    backend = back_end(["mean", "wccn"], network=digest_of(Layer()))
    Scorer(SpeakerNet(Layer(), Squares()), backend=backend)
    with pytest.raises(InputError, match="--backend: expected a back end of this network"):
        Scorer(SpeakerNet(Layer(2.0), Squares()), backend=backend)
    wide = Layer()
    wide.dim = 5
    with pytest.raises(InputError, match="--backend: expected embeddings of 4 numbers"):
        Scorer(SpeakerNet(wide, Squares()), backend=backend)
    # Embeddings in files have no network, but a size.
    scorer = Scorer(SpeakerNet(Embeddings(), Squares()), backend=backend)
    with pytest.raises(InputError, match="expected embeddings of 4 numbers"):
        scorer.transform(torch.zeros(2, 3))
    wide.pairwise = True
    with pytest.raises(InputError, match="compares two utterances"):
        Scorer(SpeakerNet(wide, Squares()), backend=backend)
    with pytest.raises(InputError, match="--scoring euclidean: a back end has a score of its own"):
        scorer.score(*random_trials(3, crops=1), "euclidean")
