"""Fusion of speaker scores with countermeasure scores, against independent computations.

Gaussians are compared with SciPy, logistic regression and the network with scikit-learn.
"""

import json

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

import tuneThreshold
from common.errors import InputError
from common.trial_kinds import TRIAL_KINDS
from metrics.calibration import load_calibration
from metrics.sasv import ADCF_SETS, a_dcf, a_dcf_at, sasv_eers
from metrics.sasv_fusion import cross_validated, load_fusion, train_fusion
from metrics.scores import read_scores

FUSIONS = ("linear", "gaussian", "mlp")
COSTS = ADCF_SETS["asvspoof5"]
# Two scores of each kind of trials: the mean and the deviations.
KINDS = {"target": ((2, 1), (1, 1)), "nontarget": ((-2, 1), (1, 1)), "spoof": ((1.5, -2), (1, 2))}


def trials_of(seed=0, counts=(300, 500, 400)):
    """Returns speaker scores, countermeasure scores and kinds. The scores of a kind correlate."""
    draw = np.random.default_rng(seed)
    points = []
    for count, (mean, deviation) in zip(counts, KINDS.values(), strict=True):
        x = draw.standard_normal((count, 2)) @ np.array([[1.0, 0.6], [0.0, 0.8]])
        points.append(x * deviation + mean)
    return *np.concatenate(points).T, np.repeat(TRIAL_KINDS, counts)


def ratios(logs):
    """Returns ratios of log-likelihoods [n, 3] with the costs of ASVspoof 5, in plain numbers."""
    target, nontarget, spoof = np.exp(logs).T
    costs = 10 * np.array([0.0095, 0.05])
    others = (costs[0] * nontarget + costs[1] * spoof) / costs.sum()
    return np.log(target / others)


# ---------------------------------------------------------------------- numbers
def test_gaussian_against_scipy():
    speaker, cm, kinds = trials_of()
    x = np.stack([speaker, cm], 1)
    logs = []
    for kind in TRIAL_KINDS:
        part = x[kinds == kind]
        covariance = np.cov(part.T, bias=True) + 1e-6 * np.diag(x.var(0))
        logs.append(multivariate_normal(part.mean(0), covariance).logpdf(x))
    found = train_fusion("gaussian", speaker, cm, kinds, COSTS).llrs(speaker, cm)
    np.testing.assert_allclose(found, ratios(np.stack(logs, 1)), rtol=1e-9, atol=1e-9)


def shares_of_costs():
    """Returns the weights of the three kinds with the costs of ASVspoof 5, with the sum 1."""
    share = np.array([0.9405, 0.095, 0.5])
    return share / share.sum()


def test_linear_against_scikit_learn():
    """The classes count as their costs say. Afterwards these weights are taken out again."""
    speaker, cm, kinds = trials_of()
    x = StandardScaler().fit_transform(np.stack([speaker, cm], 1))
    share = shares_of_costs()
    number = np.array([TRIAL_KINDS.index(kind) for kind in kinds])
    weight = (share * len(x) / np.bincount(number))[number]
    model = LogisticRegression(C=1e6 / len(x), tol=1e-10, max_iter=10_000)
    model.fit(x, number, sample_weight=weight)
    logs = model.predict_log_proba(x) - np.log(share)
    found = train_fusion("linear", speaker, cm, kinds, COSTS).llrs(speaker, cm)
    np.testing.assert_allclose(found, ratios(logs), rtol=1e-5, atol=1e-5)


def test_network_against_scikit_learn():
    speaker, cm, kinds = trials_of()
    x = np.stack([speaker, cm], 1)
    share = shares_of_costs()
    number = np.array([TRIAL_KINDS.index(kind) for kind in kinds])
    weight = (share * len(x) / np.bincount(number))[number]
    x = StandardScaler().fit_transform(x)
    settings = {"activation": "tanh", "solver": "lbfgs", "max_iter": 1000, "random_state": 0}
    model = MLPClassifier((16,), alpha=3e-3 * len(x), **settings).fit(x, number, weight)
    logs = np.log(model.predict_proba(x)) - np.log(share)
    found = train_fusion("mlp", speaker, cm, kinds, COSTS).llrs(speaker, cm)
    np.testing.assert_allclose(found, ratios(logs), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_gains_on_other_trials(fusion):
    """The fusion beats both scores. Its threshold nearly has the lowest cost on other trials."""
    made = train_fusion(fusion, *trials_of(0), COSTS)
    speaker, cm, kinds = trials_of(1)
    fused = made.llrs(speaker, cm)
    value = a_dcf(fused, kinds, **COSTS)[0]
    assert value < 0.8 * min(a_dcf(part, kinds, **COSTS)[0] for part in (speaker, cm))
    assert value <= a_dcf_at(made.threshold, fused, kinds, **COSTS) < value + 0.05
    assert np.array_equal(fused, train_fusion(fusion, *trials_of(0), COSTS).llrs(speaker, cm))


def test_only_a_curved_boundary_separates():
    """Targets are inside a ring of the others: no linear fusion can accept only them."""
    draw = np.random.default_rng(0)
    angle = draw.uniform(0, 2 * np.pi, 600)
    ring = 3 * np.stack([np.cos(angle), np.sin(angle)], 1)
    x = np.concatenate([0.4 * draw.standard_normal((300, 2)), ring])
    kinds = np.concatenate([["target"] * 300, draw.choice(["nontarget", "spoof"], 600)])
    eers = {}
    for fusion in FUSIONS:
        llrs = train_fusion(fusion, *x.T, kinds, COSTS).llrs(*x.T)
        eers[fusion] = sasv_eers(llrs, kinds)["SASV-EER"]
    assert eers["linear"] > 25
    assert eers["gaussian"] < 1 and eers["mlp"] < 1


def test_the_ratio_of_a_part_by_hand():
    """A kind of trials without a cost has no effect: the ratio compares with the other kind."""
    speaker, cm, kinds = trials_of()
    costs = ADCF_SETS["default"] | {"p_nontarget": 0.0}
    made = train_fusion("gaussian", speaker, cm, kinds, costs)
    logs = made.log_likelihoods(speaker, cm)
    np.testing.assert_allclose(made.llrs(speaker, cm), logs[:, 0] - logs[:, 2])


def test_the_cost_at_a_threshold_by_hand():
    """One of two targets is missed, one of four non-targets and no spoof is accepted."""
    kinds = ["target"] * 2 + ["nontarget"] * 4 + ["spoof"]
    scores = np.array([2.0, 0.0, 1.0, -1.0, -1.0, -1.0, 0.5])
    expected = (0.9 / 2 + 10 * 0.05 / 4) / 0.9
    assert a_dcf_at(1.0, scores, kinds, **ADCF_SETS["default"]) == pytest.approx(expected)


def test_cross_validation_leaves_out_speakers():
    """The ratio of a trial does not depend on the trials of its speaker."""
    speaker, cm, kinds = trials_of()
    names = [f"s{i % 10}" for i in range(len(kinds))]
    first = cross_validated("gaussian", speaker, cm, kinds, names, COSTS)
    own = np.array(names) == "s3"
    fold_alone = cross_validated("gaussian", speaker, cm, kinds, np.where(own, "a", "b"), COSTS)
    made = train_fusion("gaussian", speaker[~own], cm[~own], kinds[~own], COSTS)
    np.testing.assert_allclose(fold_alone[own], made.llrs(speaker[own], cm[own]))
    assert np.isfinite(first).all() and not np.allclose(first[own], fold_alone[own])
    assert cross_validated("gaussian", speaker, cm, kinds, ["s"] * len(kinds), COSTS) is None


# ---------------------------------------------------------------------- commands
def write_pair(folder, name, seed, by_file=False):
    """Writes a speaker scores file and a countermeasure scores file. Returns their paths."""
    speaker, cm, kinds = trials_of(seed, (60, 90, 90))
    order = np.random.default_rng(seed).permutation(len(kinds))
    asv_lines = []
    cm_lines = []
    for i in order:
        attack = f"A0{i % 3} " if kinds[i] == "spoof" else "bonafide "
        trial = f"s{i % 8} f{i} {attack}{kinds[i]}"
        asv_lines.append(f"{trial} {speaker[i]:.9g}\n")
        cm_lines.append(f"f{i} {cm[i]:.9g}\n" if by_file else f"{trial} {cm[i]:.9g}\n")
    paths = folder / f"{name}.txt", folder / f"{name}_cm.txt"
    paths[0].write_text("".join(asv_lines))
    paths[1].write_text("".join(cm_lines))
    return paths


def command(capsys, *words):
    """Runs tuneThreshold.py. Returns the code, the output and the errors."""
    code = tuneThreshold.main([str(word) for word in words])
    return code, *capsys.readouterr()


@pytest.mark.parametrize(
    "fusion", ["linear", "gaussian", pytest.param("mlp", marks=pytest.mark.slow)]
)
def test_fuse_and_apply(fusion, tmp_path, capsys, monkeypatch):
    """Both commands give the numbers of the functions, and the file is the same each time."""
    monkeypatch.setattr(tuneThreshold, "plot_det", lambda *_, **__: None)
    asv, cm = write_pair(tmp_path, "dev", 0)
    test, test_cm = write_pair(tmp_path, "test", 1, by_file=True)
    saved = tmp_path / "fusion.json"
    words = ["fuse", asv, "--cm", cm, "--fusion", fusion, "--adcf", "asvspoof5"]
    words += ["--test", test, "--test_cm", test_cm, "--output", saved]
    code, out, err = command(capsys, *words)
    assert (code, err) == (0, "")
    first = saved.read_bytes()
    assert command(capsys, *words)[0] == 0 and saved.read_bytes() == first

    fused = tmp_path / "fused.txt"
    code, printed, err = command(
        capsys, "apply", saved, test, "--cm", test_cm, "--output", fused, "--adcf", "asvspoof5"
    )
    assert (code, err) == (0, "")
    read = read_scores(test)
    scores = np.array([float(line.split()[1]) for line in test_cm.read_text().splitlines()])
    expected = load_fusion(saved).llrs(read.scores, scores)
    np.testing.assert_allclose(read_scores(fused).scores, expected, rtol=1e-6)
    value = a_dcf(expected, read.kinds, **COSTS)[0]
    eers = sasv_eers(expected, read.kinds)
    row = [f"{value:.4f}", *(f"{number:.2f} %" for number in eers.values())]
    last = [line for line in out.splitlines() if line.startswith("fused  ")][-1]
    assert last.split("fused")[1].split() == " ".join(row).split()
    assert f"a-DCF             {value:.4f}" in printed and "at the threshold" in printed
    assert "5-fold cross-validation" in out


def test_too_few_speakers_for_a_cross_validation(tmp_path, capsys):
    asv, cm = write_pair(tmp_path, "dev", 0)
    for path in (asv, cm):
        path.write_text("".join(f"s {line[3:]}" for line in path.open()))
    code, out, err = command(capsys, "fuse", asv, "--cm", cm, "--output", tmp_path / "f.json")
    assert code == 0 and "cross-validation" not in out
    assert err.startswith("warning: the metrics of the fusion belong to the trials of its training")


def test_trials_without_labels(tmp_path, capsys):
    """Lines `speaker file score` are fused too."""
    asv, cm = write_pair(tmp_path, "dev", 0)
    saved = tmp_path / "f.json"
    assert command(capsys, "fuse", asv, "--cm", cm, "--output", saved)[0] == 0
    (tmp_path / "new.txt").write_text("s1 a 1.5\ns1 b -2\n")
    (tmp_path / "new_cm.txt").write_text("b 0.5\na 1\n")
    words = ["apply", saved, tmp_path / "new.txt", "--cm", tmp_path / "new_cm.txt"]
    code, out, _ = command(capsys, *words, "--output", tmp_path / "new_fused.txt")
    assert code == 0 and "no labels" in out
    expected = load_fusion(saved).llrs(np.array([1.5, -2]), np.array([1, 0.5]))
    np.testing.assert_allclose(np.loadtxt(tmp_path / "new_fused.txt", usecols=2), expected, 1e-6)


def test_wrong_commands(tmp_path, capsys):
    asv, cm = write_pair(tmp_path, "dev", 0)
    plain = tmp_path / "plain.txt"
    plain.write_text("1 a b 1\n0 a c 0\n")
    same = tmp_path / "same.txt"
    same.write_text("".join(f"{line.rsplit(' ', 1)[0]} 1\n" for line in cm.open()))
    saved = tmp_path / "f.json"
    old = tmp_path / "old.json"
    assert command(capsys, "fuse", asv, "--cm", cm, "--output", saved)[0] == 0
    assert command(capsys, "calibrate", plain, "--output", old)[0] == 0
    for words, message in (
        (["fuse", asv, asv, "--cm", cm], "--cm: expected one speaker scores file, found 2"),
        (["fuse", asv, "--cm", cm, "--quality", cm], "--quality: a fusion with countermeasure"),
        (["fuse", asv, "--cm", cm, "--test", asv], "--test, --test_cm: expected both or none"),
        (["fuse", plain, "--cm", cm], "plain.txt: expected spoofing-aware scores"),
        (["fuse", asv, "--cm", same], "found the same score of the countermeasure"),
        (["apply", saved, asv], "f.json: expected one speaker scores file and --cm FILE"),
        (["apply", saved, plain, "--cm", cm], "plain.txt: expected spoofing-aware scores"),
    ):
        code, _, err = command(capsys, *words, "--output", tmp_path / "new.json")
        assert code == 2 and err.startswith("error: ") and message in err, (words, err)
    with pytest.raises(InputError, match="found another file .a fusion with a countermeasure"):
        load_calibration(saved)
    with pytest.raises(InputError, match="expected a fusion that"):
        load_fusion(old)


def test_options_without_effect(tmp_path, capsys):
    asv, cm = write_pair(tmp_path, "dev", 0)
    saved = tmp_path / "f.json"
    words = ["fuse", asv, "--output", saved]
    _, _, err = command(capsys, *words, "--cm", cm, "--effective_prior", 0.1)
    assert err == "warning: --effective_prior has no effect with --cm.\n"
    _, _, err = command(capsys, *words, asv, "--fusion", "mlp", "--adcf", "asvspoof5")
    assert err == "warning: --fusion, --adcf have no effect without --cm.\n"


@pytest.mark.parametrize("name, value", [("threshold", None), ("fusion", "cubic"), ("costs", {})])
def test_spoiled_files_are_refused(name, value, tmp_path, capsys):
    asv, cm = write_pair(tmp_path, "dev", 0)
    saved = tmp_path / "f.json"
    assert command(capsys, "fuse", asv, "--cm", cm, "--output", saved)[0] == 0
    saved.write_text(json.dumps(json.loads(saved.read_text()) | {name: value}))
    with pytest.raises(InputError, match="expected a fusion that"):
        load_fusion(saved)


def test_too_few_trials_of_a_kind():
    speaker, cm, kinds = trials_of(0, (5, 5, 2))
    with pytest.raises(InputError, match="at least 3 trials of each kind.*found 5 target"):
        train_fusion("gaussian", speaker, cm, kinds, COSTS)
