"""Back ends on embeddings: the numbers of wespeaker, independent versions, and their files.

pytest tests/test_backends.py
"""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
from reference import golden

from common.errors import InputError
from metrics import plda
from metrics.backend_stages import Settings, SpeakerEmbeddings, scaled_to
from metrics.backends import BackEnd, adapted, estimate, load_backend
from metrics.rates import error_rates, min_dcf
from metrics.score_norm import normalise_scores

REFERENCE = Path(__file__).parent / "reference"
CASES = {case.name: case for case in golden.load_cases(REFERENCE / "backend_wespeaker.npz")}
INPUTS = CASES["cosine"].inputs
TRAIN = INPUTS["train"].astype(float)
SPEAKERS = [str(number) for number in INPUTS["train_speaker"]]
EVAL = INPUTS["eval"].astype(float)
ENROL, TEST = INPUTS["trials"].T
CAMPPLUS = {
    case.name: case for case in golden.load_cases(REFERENCE / "pretrained_campplus_backends.npz")
}


def trial_scores(backend, x=EVAL):
    """The scores of the fixture's trials with a back end."""
    y = backend.transform(x)
    return backend.scores(y[ENROL], y[TEST])


def close(found, expected, tolerance=1e-9):
    """Whether two arrays differ at most by a share of the largest number."""
    return np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def covariances(backend):
    """B and W of the last step of a back end with plda, from A W A' = I and A B A' = psi."""
    back = np.linalg.inv(backend.steps[-1].matrix)
    return back.T * backend.psi @ back, back.T @ back


# ---------------------------------------------------------------------- wespeaker
def test_mean_subtraction_equals_wespeaker():
    backend = estimate(TRAIN, [], ["mean"])
    case = CASES["cosine_mean_subtracted"]
    assert close(backend.steps[0].offset, case.arrays["mean"], 1e-6)
    # The reference subtracts a float32 mean.
    assert close(trial_scores(backend), case.arrays["score"], 1e-6)
    lengths = np.linalg.norm(EVAL - case.arrays["mean"], axis=1)
    assert close(backend.lengths(EVAL), lengths, 1e-6)


@pytest.mark.parametrize("shrinkage", ["0.0", "0.5"])
@pytest.mark.parametrize("first", [[], ["mean"]], ids=["raw", "mean"])
def test_wccn_equals_its_definition(first, shrinkage):
    case = CASES[f"wccn_{shrinkage}_{'mean' if first else 'raw'}"]
    backend = estimate(TRAIN, SPEAKERS, [*first, "wccn"], wccn_shrinkage=float(shrinkage))
    matrix = backend.steps[-1].matrix
    assert close(np.linalg.inv(matrix @ matrix.T), case.arrays["within"])
    assert close(trial_scores(backend), case.arrays["score"])


def test_chain_of_lda_equals_wespeaker():
    case = CASES["chain_lda"]
    backend = estimate(TRAIN, SPEAKERS, ["mean", "length", "lda", "length"], lda_dim=10)
    processed = backend.transform(EVAL)
    # The reference has the directions in ascending order, with unknown signs.
    assert close(np.abs(processed)[:, ::-1], case.arrays["processed_abs"], 1e-5)
    assert close(trial_scores(backend), case.arrays["score"], 1e-5)


@pytest.mark.parametrize(
    ("name", "stages", "settings"),
    [
        ("plda_mean_length", ["mean", "plda"], {"plda_iterations": 10}),
        ("plda_plain", ["plda"], {"plda_iterations": 5, "plda_length": False}),
    ],
)
def test_plda_equals_wespeaker(name, stages, settings):
    arrays = CASES[name].arrays
    backend = estimate(TRAIN, SPEAKERS, stages, **settings)
    between, within = covariances(backend)
    # The mean of the reference is float32 in the first case.
    assert close(between, arrays["between"], 1e-6)
    assert close(within, arrays["within"], 1e-6)
    assert close(backend.psi, arrays["psi"], 1e-6)
    assert close(backend.steps[-1].offset, arrays["mu"], 2e-6)
    # The signs of the rows are unknown.
    assert close(np.abs(backend.steps[-1].matrix.T), np.abs(arrays["transform"]), 1e-5)
    assert close(trial_scores(backend), arrays["score"], 1e-5)
    # Models of three files, each with all tests.
    files = EVAL.reshape(8, 5, -1)
    models = backend.transform(files[:, :3].mean(1)).repeat(16, 0)
    tests = np.tile(backend.transform(files[:, 3:].reshape(16, -1)), (8, 1))
    assert close(backend.scores(models, tests), arrays["multi_score_averaged"], 1e-5)
    counted = plda.log_ratios(models, tests, backend.psi, files=3)
    assert close(counted, arrays["multi_score_counted"], 1e-5)


def test_adaptation_of_plda_equals_wespeaker():
    arrays = CASES["plda_adapted"].arrays
    _, speaker, counts = np.unique(SPEAKERS, return_inverse=True, return_counts=True)
    group = SpeakerEmbeddings(TRAIN - TRAIN.mean(0), speaker, counts, "")
    base = plda.trained(group, Settings(plda_iterations=5))
    assert close(base.within, arrays["base_within"], 1e-6)
    assert close(base.between, arrays["base_between"], 1e-6)
    cohort = INPUTS["cohort"].astype(float)
    cohort = plda.prepared(cohort - cohort.mean(0), Settings())
    changed_model = plda.adapted_plda(base, cohort, between_scale=0.5, within_scale=0.25)
    assert close(changed_model.between, arrays["between"], 1e-6)
    assert close(changed_model.within, arrays["within"], 1e-6)
    # The adapted object of the reference forgets the scaling.
    steps, psi = changed_model.steps(Settings(plda_length=False))
    assert close(np.sort(psi), np.sort(arrays["psi"]), 1e-6)
    assert close(trial_scores(BackEnd(tuple(steps), "", 0, 0, psi=psi)), arrays["score"], 1e-6)


def test_an_adapted_back_end_equals_wespeaker():
    arrays = CASES["plda_adapted"].arrays
    base = estimate(TRAIN, SPEAKERS, ["mean", "plda"], plda_iterations=5, source="train.txt")
    scales = {"between_scale": 0.5, "within_scale": 0.25}
    found = adapted(base, INPUTS["cohort"], source="cohort.txt", **scales)
    between, within = covariances(found)
    assert close(between, arrays["between"], 1e-5)
    assert close(within, arrays["within"], 1e-5)
    assert close(found.steps[0].offset, INPUTS["cohort"].astype(float).mean(0))
    assert found.stages == ["mean", "plda"]
    assert found.source == "train.txt, adapted to cohort.txt"
    with pytest.raises(InputError, match="--adapt: expected a back end that ends in plda"):
        adapted(estimate(TRAIN, [], ["mean"]), TRAIN)
    with pytest.raises(InputError, match="expected more files than numbers"):
        adapted(base, TRAIN[:24])


# ---------------------------------------------------------------------- independent versions
def test_plda_equals_a_loop_over_speakers():
    """The iteration as the papers write it, with an inverse for each speaker."""
    x = [TRAIN[np.array(SPEAKERS) == speaker] for speaker in sorted(set(SPEAKERS))]
    mu = np.mean([rows.mean(0) for rows in x], 0)
    B = W = np.eye(TRAIN.shape[1])
    for _ in range(3):
        new_B = np.zeros_like(B)
        new_W = np.zeros_like(W)
        for rows in x:
            n, m = len(rows), rows.mean(0)
            V = np.linalg.inv(np.linalg.inv(B) + n * np.linalg.inv(W))
            w = V @ (n * np.linalg.inv(W)) @ (m - mu)
            new_B += (V + np.outer(w, w)) / len(x)
            new_W += (rows - m).T @ (rows - m) + n * (V + np.outer(m - mu - w, m - mu - w))
        B, W = new_B, new_W / len(TRAIN)
    backend = estimate(TRAIN, SPEAKERS, ["plda"], plda_iterations=3, plda_length=False)
    between, within = covariances(backend)
    assert close(between, B)
    assert close(within, W)
    # The ratio of two Gaussian densities of the pair of embeddings.
    joint = np.block([[B + W, B], [B, B + W]])
    apart = scipy.linalg.block_diag(B + W, B + W)
    pairs = np.hstack([EVAL[ENROL] - mu, EVAL[TEST] - mu])
    ratios = 0.5 * (np.linalg.slogdet(apart)[1] - np.linalg.slogdet(joint)[1])
    ratios -= 0.5 * (pairs @ (np.linalg.inv(joint) - np.linalg.inv(apart)) * pairs).sum(1)
    assert close(trial_scores(backend), ratios)


def test_wccn_makes_speakers_round():
    """Afterwards embeddings vary equally within their speakers in all directions."""
    y = estimate(TRAIN, SPEAKERS, ["wccn"], wccn_shrinkage=0.0).transform(TRAIN)
    scatter = 0
    for speaker in set(SPEAKERS):
        own = y[np.array(SPEAKERS) == speaker]
        scatter = scatter + (own - own.mean(0)).T @ (own - own.mean(0))
    assert close(scatter / (len(y) - 1), np.eye(len(scatter)))


def test_lda_equals_scikit_learn():
    """Their directions span the same space. The scale and the signs are free."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    theirs = LinearDiscriminantAnalysis(solver="eigen", n_components=5).fit(TRAIN, SPEAKERS)
    ours = estimate(TRAIN, SPEAKERS, ["lda"], lda_dim=5)
    expected = (TRAIN - TRAIN.mean(0)) @ theirs.scalings_[:, :5]
    found = ours.transform(TRAIN)
    assert close(scaled_to(np.abs(found.T), 1), scaled_to(np.abs(expected.T), 1), 1e-6)


def test_lda_leaves_out_speakers_with_one_file():
    more = np.vstack([TRAIN, EVAL[:1]])
    expected = estimate(TRAIN, SPEAKERS, ["lda"], lda_dim=5)
    found = estimate(more, [*SPEAKERS, "somebody"], ["lda"], lda_dim=5)
    assert close(found.transform(EVAL), expected.transform(EVAL))


def test_a_later_stage_is_estimated_after_the_earlier_ones():
    first = estimate(TRAIN, SPEAKERS, ["wccn", "length"])
    second = estimate(first.transform(TRAIN), [], ["mean"])
    both = estimate(TRAIN, SPEAKERS, ["wccn", "length", "mean"])
    assert both.stages == ["wccn", "length", "mean"]
    assert close(both.transform(EVAL), second.transform(first.transform(EVAL)))
    # Lengths are a quality measure before the scaling only.
    assert close(both.lengths(EVAL), np.linalg.norm(EVAL @ first.steps[0].matrix, axis=1))


# ---------------------------------------------------------------------- released CAM++
def campplus_scores(name):
    """Scores of the trials of speechocean_mini with the embeddings of the released CAM++."""
    inputs = CAMPPLUS[name].inputs
    method, _, mean = name.partition("_")
    stages = ["mean"] if name.endswith("_mean") else []
    if method == "wccn":
        stages.append("wccn")
        settings = {"wccn_shrinkage": float(name.split("_")[1])}
        backend = estimate(inputs["train"], list(inputs["train_speaker"]), stages, **settings)
    else:
        # Without a mean, scaling alone leaves the cosine as it is.
        backend = estimate(inputs["train"], [], stages or ["length"])
    y = backend.transform(inputs["test"])
    enrol, test = inputs["trials"].T
    scores = backend.scores(y[enrol], y[test])
    if method.startswith("asnorm"):
        return normalised(scores, backend, y, int(method[6:]), inputs)
    return scores


def normalised(scores, backend, y, top, inputs):
    """AS-norm with the cohort of the fixture: the mean direction of each training speaker."""
    rows = scaled_to(backend.transform(inputs["train"]), 1)
    speakers = inputs["train_speaker"]
    cohort = np.array([rows[speakers == name].mean(0) for name in sorted(set(speakers))])
    against = np.sort(scaled_to(y, 1) @ scaled_to(cohort, 1).T)[:, -top:]
    trials = inputs["trials"]
    return normalise_scores(scores, against.mean(1)[trials], against.std(1)[trials], "asnorm")


@pytest.mark.parametrize("name", CAMPPLUS)
def test_back_ends_of_the_released_campplus(name):
    """EER and minDCF of NOTES: raw 1.53 %, minus mean 1.07 %, WCCN 0.5 0.71 %, and so on."""
    case = CAMPPLUS[name]
    scores = campplus_scores(name)
    assert close(scores[::40], case.arrays["scores_every_40th"])
    _, p_miss, p_fa = error_rates(scores, case.inputs["labels"].astype(bool))
    nearest = np.abs(p_miss - p_fa).argmin()
    eer = 50 * (p_miss[nearest] + p_fa[nearest])
    # Two trials compare the same files in the other order. Rounding decides whether they are tied,
    # which moves one of the 7,200 non-target trials of one case.
    assert eer == pytest.approx(float(case.arrays["eer_percent"]), abs=50.1 / 7200)
    costs = min_dcf(*error_rates(scores, case.inputs["labels"].astype(bool)), 0.05, 1, 1)
    assert costs[0] == pytest.approx(float(case.arrays["mindcf_005"]), abs=1e-9)


# ---------------------------------------------------------------------- what cannot be used
@pytest.mark.parametrize(
    ("stages", "settings", "words"),
    [
        ([], {}, "--backend_stages: expected at least one stage, found none"),
        (["plda", "length"], {}, "expected plda as the last stage"),
        (["mean", "mean"], {}, "found mean twice"),
        (["whitening"], {}, "found whitening"),
        (["lda"], {"lda_dim": 30}, "--lda_dim: expected at most 24"),
    ],
)
def test_stages_that_make_no_sense(stages, settings, words):
    with pytest.raises(InputError, match=words):
        estimate(TRAIN, SPEAKERS, stages, **settings)


def test_lists_that_are_too_small():
    with pytest.raises(InputError, match="list.txt: expected at least 2 files for the mean"):
        estimate(TRAIN[:1], [], ["mean"], source="list.txt")
    for stage in ("lda", "wccn", "plda"):
        for speakers in ([], [str(number) for number in range(len(TRAIN))], ["a"] * len(TRAIN)):
            with pytest.raises(InputError, match=f"2 or more files for the stage {stage}"):
                estimate(TRAIN, speakers, [stage])
    few = slice(0, 10)
    with pytest.raises(InputError, match="--wccn_shrinkage 0 is too small.* 24 directions"):
        estimate(TRAIN[few], SPEAKERS[few], ["wccn"], wccn_shrinkage=0.0)
    same = np.ones((4, 3))
    for stage in ("wccn", "lda"):
        with pytest.raises(InputError):
            estimate(same, ["a", "a", "b", "b"], [stage])
    with pytest.raises(InputError, match="found NaN or infinity in 1 of 160 files"):
        estimate(np.where(np.arange(160)[:, None] == 3, np.nan, TRAIN), [], ["mean"])


# ---------------------------------------------------------------------- files
@pytest.fixture(scope="module")
def backend():
    stages = ["mean", "length", "lda", "plda"]
    return estimate(TRAIN, SPEAKERS, stages, lda_dim=8, source="train_list.txt", network="abc")


def test_a_file_keeps_the_back_end(backend, tmp_path):
    backend.save(tmp_path / "a.npz")
    backend.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    found = load_backend(tmp_path / "a.npz")
    assert found.stages == backend.stages
    assert (found.source, found.files, found.speakers) == ("train_list.txt", 160, 30)
    assert (found.network, found.dim) == ("abc", 24)
    assert (trial_scores(found) == trial_scores(backend)).all()
    assert str(found) == (
        "mean length lda plda, estimated from train_list.txt (160 files of 30 speakers)"
    )
    with pytest.raises(InputError, match="expected embeddings of 24 numbers.* found 7"):
        found.transform(np.zeros((2, 7)))


def changed(data, **arrays):
    """The bytes of a back end with other arrays. None removes an array."""
    with np.load(io.BytesIO(data)) as file:
        parts = dict(file)
    parts |= arrays
    buffer = io.BytesIO()
    np.savez(buffer, **{name: part for name, part in parts.items() if part is not None})
    return buffer.getvalue()


def compressed(data):
    """The archive, compressed: a few bytes could become gigabytes."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as source,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file,
    ):
        for name in source.namelist():
            file.writestr(name, source.read(name))
    return buffer.getvalue()


def test_another_file_is_refused(backend, tmp_path):
    backend.save(tmp_path / "good.npz")
    data = (tmp_path / "good.npz").read_bytes()
    with np.load(tmp_path / "good.npz") as file:
        facts = str(file["facts"])
    wrong = {
        "empty": b"",
        "text": b"1 a.wav b.wav 0.5\n",
        "short": data[: len(data) // 2],
        "compressed": compressed(data),
        "other arrays": changed(data, facts=None),
        "other kind": changed(data, facts=np.array(facts.replace("back end", "picture"))),
        "newer": changed(data, facts=np.array(facts.replace('"version": 1', '"version": 2'))),
        "infinite": changed(data, offset_0=np.full(24, np.inf)),
        "other size": changed(data, offset_0=np.zeros(23)),
        "other type": changed(data, offset_0=np.zeros(24, np.int64)),
        "no psi": changed(data, psi=None),
        "negative psi": changed(data, psi=-np.ones(8)),
        "unknown stage": changed(data, facts=np.array(facts.replace('"lda"', '"ldx"'))),
        "endless": changed(data, facts=np.array(facts.replace('"length": 1.0', '"length": 1e999'))),
        "flipped bit": data.replace(b"train_list".decode().encode("utf-32-le"), b"x" * 40),
    }
    for name, content in wrong.items():
        path = tmp_path / "wrong.npz"
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"wrong\.npz: ") as caught:
            load_backend(path)
        assert "back end" in str(caught.value) or "stage" in str(caught.value), name
    with pytest.raises(InputError, match="there is no such file"):
        load_backend(tmp_path / "missing.npz")
