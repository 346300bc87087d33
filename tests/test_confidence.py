"""Tests of confidence intervals and of the comparison of systems.

The tests compare the bootstrap over speakers with copied trials and with known true values. Further
tests check the comparison of two systems, the speakers of trials, and the command line.
"""

import functools
import re
import tracemalloc
from argparse import ArgumentParser
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import tuneThreshold
from common.trial_kinds import TRIAL_KINDS
from metrics import options as metric_options
from metrics import speakers
from metrics.confidence import TooFew, bands, bootstrap, difference, interval, spread
from metrics.rates import EERS, eer, error_rates, min_dcf
from metrics.sasv import a_dcf, sasv_eers
from metrics.scores import Scores, read_scores, reorder_like
from tuneThreshold import measured

PARSER = ArgumentParser()
metric_options.add_speaker_options(PARSER)
metric_options.add_confidence_options(PARSER)
PARSER.set_defaults(
    p_target=[0.05, 0.3],
    c_miss=1.0,
    c_fa=1.0,
    eer="interpolated",
    adcf="default",
    adcf_p_spoof=0.05,
    adcf_p_nontarget=0.05,
    adcf_c_miss=1.0,
    adcf_c_fa_nontarget=10.0,
    adcf_c_fa_spoof=20.0,
)


def options(*words, **more):
    """Returns the options of the command line, changed by the keyword arguments."""
    args = PARSER.parse_args(words)
    vars(args).update(more)
    return args


def plain(label):
    """Returns the groups of trials {kind: mask} of a scores file without spoof trials."""
    return {"target": label, "nontarget": ~label}


def drawn(scores, groups, sides, repeats, seed=0, gaps=None, **more):
    """Runs the bootstrap with the default options, changed by the keyword arguments."""
    return bootstrap(
        np.asarray(scores),
        groups,
        np.asarray(sides),
        functools.partial(measured, args=options(**more)),
        gaps or {},
        repeats,
        seed,
    )


def simulated(draw, people=30, targets=6, others=600, shift=4.0):
    """Draws trials whose scores depend on the speakers.

    Each speaker has the same number of target trials. Non-target trials have random pairs of
    speakers. Returns scores [N], label [N] (True for target trials), speakers [N, 2], and the EER
    of infinitely many trials in per cent. The second speaker of a target trial is -1.
    """
    own = draw.standard_normal(people)
    level = draw.standard_normal(people) / np.sqrt(2)
    a = draw.integers(0, people, others)
    b = (a + draw.integers(1, people, others)) % people
    one = np.repeat(np.arange(people), targets)
    target_scores = shift + own[one] + draw.standard_normal(len(one))
    other_scores = level[a] + level[b] + draw.standard_normal(others)
    scores = np.concatenate([target_scores, other_scores])
    label = np.arange(len(scores)) < len(one)
    sides = np.concatenate([np.stack([one, np.full(len(one), -1)], 1), np.stack([a, b], 1)])
    true_eer = 100 * NormalDist().cdf(-shift / 2 / np.sqrt(2))
    return scores, label, sides, true_eer


# ---------------------------------------------------------------------- against copies
def copies(sides, repeats, seed):
    """Yields each resample as a list of indices of trials.

    A speaker that is drawn twice counts as two speakers. Each of the two has all target trials of
    the speaker, and all trials with the other speakers.
    """
    people = np.unique(sides[sides >= 0])
    draw = np.random.default_rng(seed)
    for _ in range(repeats):
        drawn_counts = draw.multinomial(len(people), np.full(len(people), 1 / len(people)))
        count = dict(zip(people.tolist(), drawn_counts.tolist(), strict=True))
        indices = []
        for i, (a, b) in enumerate(sides.tolist()):
            number = count[a] if b < 0 else count[a] * count[b]
            indices += [i] * number
        yield indices


@st.composite
def lists(draw, kinds):
    """Draws trials of 3 to 6 speakers.

    Returns scores [N], kinds [N] and speakers [N, 2]. There are equal scores. The second speaker is
    -1 where both files have one speaker.
    """
    people = draw(st.integers(3, 6))
    one = st.tuples(
        st.integers(-6, 6),
        st.sampled_from([kind for kind in kinds if kind != "nontarget"]),
        st.integers(0, people - 1),
        st.just(-1),
    )
    two = st.tuples(
        st.integers(-6, 6),
        st.just("nontarget"),
        st.integers(0, people - 1),
        st.integers(1, people - 1),
    ).map(lambda t: (*t[:3], (t[2] + t[3]) % people))
    trials = []
    for pair in draw(st.lists(st.tuples(one, two), min_size=6, max_size=20)):
        trials += pair
    assume({*kinds} == {kind for _, kind, _, _ in trials})
    scores, names, a, b = zip(*trials, strict=True)
    sides = np.array([a, b]).T
    # The scores are not ranks, and the numbers of the speakers have gaps.
    return np.array(scores) / 7, np.array(names), np.where(sides < 0, -1, 5 * sides)


def slow(scores, kinds, sides, metrics, repeats):
    """Returns metrics(scores, kinds) of the copied trials, for each resample that has all kinds."""
    values = []
    for indices in copies(sides, repeats, 3):
        if {*kinds[indices]} == {*kinds}:
            values.append(metrics(scores[indices], kinds[indices]))
    return np.array(values)


@pytest.mark.parametrize("definition", EERS)
@given(lists(TRIAL_KINDS[:2]))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_weights_are_copies(definition, trials):
    scores, kinds, sides = trials

    def metrics(scores, kinds):
        rates = error_rates(scores, kinds == "target")
        return eer(*rates, definition)[0], min_dcf(*rates, 0.05)[0], min_dcf(*rates, 0.3)[0]

    known = slow(scores, kinds, sides, metrics, 12)
    if len(known) <= 6:
        with pytest.raises(TooFew, match=f"only {len(known)} of 12 resamples of"):
            drawn(scores, plain(kinds == "target"), sides, 12, 3, eer=definition)
    else:
        found = drawn(scores, plain(kinds == "target"), sides, 12, 3, eer=definition)
        assert found.speakers == len(np.unique(sides[sides >= 0]))
        assert list(found.values) == ["EER", "minDCF(0.05)", "minDCF(0.3)"]
        np.testing.assert_allclose(np.transpose(list(found.values.values())), known, atol=1e-9)


@given(lists(TRIAL_KINDS))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_weights_are_copies_of_spoofing_aware_trials(trials):
    scores, kinds, sides = trials

    def metrics(scores, kinds):
        return *sasv_eers(scores, kinds).values(), a_dcf(scores, kinds)[0]

    known = slow(scores, kinds, sides, metrics, 12)
    assume(len(known) > 6)
    found = drawn(scores, {kind: kinds == kind for kind in TRIAL_KINDS}, sides, 12, 3)
    assert list(found.values) == ["SASV-EER", "SV-EER", "SPF-EER", "a-DCF"]
    np.testing.assert_allclose(np.transpose(list(found.values.values())), known, atol=1e-9)


def test_lists_without_a_kind():
    scores, label, sides, _ = simulated(np.random.default_rng(0), 8, 4, 40)
    groups = {"target": label, "nontarget": np.zeros(len(label), bool), "spoof": ~label}
    found = drawn(scores, groups, sides, 9)
    assert list(found.values) == ["SASV-EER", "SPF-EER"]
    known = drawn(scores, plain(label), sides, 9).values["EER"]
    np.testing.assert_array_equal(found.values["SPF-EER"], known)


# ---------------------------------------------------------------------- intervals
def test_coverage():
    """About 95 % of the 95 % intervals contain the true EER.

    Intervals that treat the trials as independent contain it less often.
    """
    draw = np.random.default_rng(0)
    hits = np.zeros(2)
    for seed in range(30):
        scores, label, sides, truth = simulated(draw, targets=15)
        # Here each trial has its own speaker, so the trials count as independent.
        alone = np.stack([np.arange(len(scores)), np.full(len(scores), -1)], 1)
        for i, speakers_of_trials in enumerate((sides, alone)):
            values = drawn(scores, plain(label), speakers_of_trials, 60, seed).values["EER"]
            low, high = interval(values, eer(*error_rates(scores, label))[0])
            hits[i] += low <= truth <= high
    assert 0.8 <= hits[0] / 30 <= 1
    assert hits[1] / 30 < 0.7


def test_interval_by_hand():
    values = np.arange(101.0)
    # The estimate is the median of the resamples, so the interval has their percentiles.
    np.testing.assert_allclose(interval(values, 50, 0.9), [5, 95])
    # The resamples are too low: the estimate 60 is their quantile 61/102.
    low, high = interval(values, 60, 0.9)
    shift = 2 * NormalDist().inv_cdf(61 / 102)
    expected = [100 * NormalDist().cdf(shift + at) for at in (-1.6449, 1.6449)]
    assert (low, high) == pytest.approx(expected, abs=0.01)
    both = interval(np.stack([values, values[::-1] * 2], 1), np.array([60, 100]), 0.9)
    np.testing.assert_allclose(both, np.transpose([[low, high], [10, 190]]))
    assert interval(np.zeros(7), 0).tolist() == [0, 0]


def test_seed_and_order():
    scores, label, sides, _ = simulated(np.random.default_rng(1), 10)
    first = drawn(scores, plain(label), sides, 20, 0).values["EER"]
    again = drawn(scores, plain(label), sides, 20, 0).values["EER"]
    other_seed = drawn(scores, plain(label), sides, 20, 1).values["EER"]
    np.testing.assert_array_equal(first, again)
    shuffle = np.random.default_rng(0).permutation(len(scores))
    shuffled = drawn(scores[shuffle], plain(label[shuffle]), sides[shuffle], 20)
    np.testing.assert_array_equal(first, shuffled.values["EER"])
    scaled = drawn(scores.astype(np.float32).astype(float) * 8, plain(label), sides, 20)
    np.testing.assert_array_equal(first, scaled.values["EER"])
    assert (first != other_seed).any()


def test_band():
    scores, label, sides, _ = simulated(np.random.default_rng(2))
    threshold, p_miss, p_fa = error_rates(scores, label)
    gap = np.unique(np.append(spread(p_miss, p_fa), 0))
    found = drawn(scores, plain(label), sides, 100, gaps={"EER": gap})
    miss, fa = bands(found, {"EER": gap}, {"EER": (0, (threshold, p_miss, p_fa))})["EER"]
    # Where the two rates are equal, the band is the interval of the EER.
    at = np.searchsorted(gap, 0)
    known = interval(found.values["EER"], eer(threshold, p_miss, p_fa)[0])
    np.testing.assert_allclose(miss[:, at] * 100, known, atol=1e-9)
    assert miss.min() >= -1e-12
    assert fa.min() >= -1e-12
    assert len(gap) > 50
    curve = np.interp(gap, p_miss - p_fa, p_miss)
    assert np.mean((miss[0] <= curve) & (curve <= miss[1])) > 0.95


def test_a_million_scores():
    draw = np.random.default_rng(0)
    label = draw.random(10**6) < 0.1
    scores = draw.standard_normal(10**6) + 2 * label
    a = draw.integers(0, 5000, 10**6)
    sides = np.stack([a, np.where(label, -1, (a + 1 + draw.integers(0, 4999, 10**6)) % 5000)], 1)
    tracemalloc.start()
    found = drawn(scores, plain(label), sides, 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.values["EER"] == pytest.approx([15.87, 15.87], abs=0.6)
    # The limit is in bytes.
    assert peak < 300e6


# ---------------------------------------------------------------------- comparison
def test_difference():
    d = np.arange(1.0, 100)
    assert difference(d, 50).p == pytest.approx(2 * 0.5 / 100)
    assert difference(np.zeros(9), 0) == (0, 0, 1)
    assert difference(d - 50, 0).p == pytest.approx(1)
    assert difference(d - 30, 20).p == pytest.approx(0.6)
    for values, at in ((d - 30, 20), (d - 20, 31), (d - 5, 40)):
        low, high, p = difference(values, at, 0.8)
        assert difference(-values, -at, 0.8) == pytest.approx((-high, -low, p))
        edges = interval(values, at, 1 - p)
        # With the confidence 1 - p, one edge of the interval is at 0.
        assert min(abs(edges)) < 1


def test_comparison_finds_true_differences():
    draw = np.random.default_rng(0)
    scores, label, sides, _ = simulated(draw)
    # Permuted scores represent another system with the same EER.
    alike = scores.copy()
    for mask in (label, ~label):
        alike[mask] = draw.permutation(scores[mask])
    better = scores + 2 * label
    known = drawn(scores, plain(label), sides, 200)
    found = {}
    for name, others in {"better": better, "alike": alike, "scaled": 3 * scores - 1}.items():
        resamples = drawn(others, plain(label), sides, 200)
        gap = eer(*error_rates(others, label))[0] - eer(*error_rates(scores, label))[0]
        found[name] = difference(resamples.values["EER"] - known.values["EER"], gap)
    assert found["better"].p < 0.03
    assert found["better"].high < 0
    assert found["alike"].p > 0.1
    assert found["alike"].low < 0 < found["alike"].high
    assert found["scaled"] == pytest.approx((0, 0, 1), abs=1e-12)


def test_pairing_narrows_the_interval():
    """Two systems make errors on the same speakers: their difference varies less than each EER."""
    draw = np.random.default_rng(3)
    scores, label, sides, _ = simulated(draw)
    noisy = scores + 0.3 * draw.standard_normal(len(scores))
    a = drawn(scores, plain(label), sides, 200).values["EER"]
    b = drawn(noisy, plain(label), sides, 200).values["EER"]
    assert np.std(a - b) < 0.6 * np.std(a)
    assert np.corrcoef(a, b)[0, 1] > 0.8


@given(
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=12), st.randoms(use_true_random=False)
)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_trials_are_matched(names, random):
    # The list may contain a trial more than once.
    lines = [f"{int(name < 'c')} {name} x" for name in names]
    labels = np.array([name < "c" for name in names])
    first = Scores(lines, np.arange(len(lines), dtype=float), labels, None, None)
    order = random.sample(range(len(lines)), len(lines))
    other = Scores([lines[i] for i in order], first.scores[order], first.labels[order], None, None)
    found = reorder_like(first, other, "b.txt")
    assert found.lines == lines
    assert found.labels.tolist() == first.labels.tolist()
    found_pairs = sorted(zip(found.lines, found.scores, strict=True))
    assert found_pairs == sorted(zip(lines, first.scores, strict=True))


# ---------------------------------------------------------------------- speakers
def read(tmp_path, text):
    """Writes the text to a scores file and reads this file."""
    path = tmp_path / "s.txt"
    path.write_text(text)
    return read_scores(path)


PAIRS = "1 x/a/1 x/a/2 3\n0 x/a/1 x/b/1 1\n0 x/b/2 x/c/1 2\n"


@pytest.mark.parametrize(
    "words",
    [["--speaker_level", "2"], ["--speaker_regex", "/([a-z])/"], ["--speaker_table", "table"]],
)
def test_speakers(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [f"x/{name}/1 {name}\nx/{name}/2 {name}\n" for name in "abcd"]
    Path("table").write_text("".join(rows))
    found = speakers.speakers_of(read(tmp_path, PAIRS), options(*words))
    assert found.names == ["a", "b", "c"]
    assert found.sides.tolist() == [[0, -1], [0, 1], [1, 2]]
    found = speakers.speakers_of(read(tmp_path, PAIRS.replace("x/", "")), options())
    assert found.names == ["a", "b", "c"]


def test_speakers_of_spoofing_aware_trials(tmp_path):
    lines = (
        "a u1 bonafide target 3\n"
        "a b/u2 bonafide nontarget 1\n"
        "b a/u3 A07 spoof 0\n"
        "c c/u4 A07 spoof 0\n"
    )
    trials = read(tmp_path, lines)
    found = speakers.speakers_of(trials, options())
    assert found.sides.tolist() == [[0, -1], [0, -1], [1, -1], [2, -1]]
    (tmp_path / "table").write_text("u1 a\nb/u2 b\na/u3 a\nc/u4 c\n")
    found = speakers.speakers_of(trials, options("--speaker_table", str(tmp_path / "table")))
    assert found.sides.tolist() == [[0, -1], [0, 1], [1, -1], [2, -1]]


@pytest.mark.parametrize(
    "words, message",
    [
        (
            [],
            "trial 2, '0 x/a/1 x/b/1': the names of its files have one speaker, x. "
            "This contradicts the label. Give --speaker_level",
        ),
        (["--speaker_level", "3"], "x/a/1: the name has no folder number 3, "),
        (["--speaker_level", "0"], "expected at least 1 .* found 0"),
        (
            ["--speaker_regex", "/([0-9])"],
            "'1 x/a/1 x/a/2': the names of its files have two speakers, 1 and 2.",
        ),
        (["--speaker_regex", "(b)"], r"\(b\): the expression finds no speaker in x/a/1"),
        (["--speaker_regex", "b"], "expected one group, which is the speaker, found 0 groups"),
        (["--speaker_regex", "("], "--speaker_regex"),
        (
            ["--speaker_table", "short"],
            "short: expected the speakers of all files of the trials, but x/b/1 is missing",
        ),
        (
            ["--speaker_table", "twice"],
            "twice:2: expected '<file> <speaker>' with one speaker for each file, found 'x/a/1 b'",
        ),
        (["--bootstrap", "1"], "expected at least 2 resamples, found 1"),
        (["--confidence", "95"], "a number between 0 and 1, found 95"),
        (["--seed", "-1"], "--seed: expected at least 0, found -1"),
    ],
)
def test_bad_words(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("s.txt").write_text(PAIRS)
    Path("short").write_text("x/a/1 a\nx/a/2 a\n")
    Path("twice").write_text("x/a/1 a\nx/a/1 b\n")
    assert tuneThreshold.main(["s.txt", "--bootstrap", "9", *words]) == 2
    err = capsys.readouterr().err
    assert re.search(message, err)
    assert err.count("\n") == 1
    assert not list(tmp_path.glob("*.png"))


# ---------------------------------------------------------------------- the command
def scores_file(path, seed=0, better=0.0, order=None):
    """Writes a scores file of 272 simulated trials and returns its path.

    Target scores are higher by `better`. `order` gives the order of the trials in the file.
    """
    scores, label, sides, _ = simulated(np.random.default_rng(seed), 12, 6, 200, 2.0)
    scores = scores + better * label
    lines = []
    for i, (score, target, (a, b)) in enumerate(zip(scores, label, sides.tolist(), strict=True)):
        second = a if b < 0 else b
        lines.append(f"{int(target)} s{a}/{i} s{second}/x{i} {score:.7g}\n")
    if order is not None:
        lines = [lines[i] for i in order]
    path.write_text("".join(lines))
    return path


def test_command(tmp_path, capsys):
    path = scores_file(tmp_path / "s.txt")
    assert tuneThreshold.main([str(path)]) == 0
    before = capsys.readouterr().out
    words = ["--bootstrap", "50", "--confidence", "0.8", "--seed", "4"]
    assert tuneThreshold.main([str(path), *words, "--det", str(tmp_path / "band.png")]) == 0
    out, err = capsys.readouterr()
    trials = read_scores(path)
    sides = speakers.speakers_of(trials, options()).sides
    resamples = drawn(trials.scores, plain(trials.labels), sides, 50, 4, p_target=[0.05, 0.01])
    known = resamples.values
    rates = error_rates(trials.scores, trials.labels)
    low, high = interval(known["EER"], eer(*rates)[0], 0.8)
    assert f" %  [{low:.2f}, {high:.2f}] " in out
    low, high = interval(known["minDCF(0.01)"], min_dcf(*rates, 0.01)[0], 0.8)
    assert f"[{low:.4f}, {high:.4f}]" in out
    assert not err.replace("\r", "").strip()
    assert "Brackets show 80 % intervals from 50 resamples of 12 speakers." in out
    # The option --bootstrap does not change the metrics.
    numbers = [line.split()[:2] for line in out.splitlines()[2:8]]
    assert numbers == [line.split()[:2] for line in before.splitlines()[2:8]]
    assert (tmp_path / "band.png").stat().st_size > (tmp_path / "s_det.png").stat().st_size


def test_compare(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tuneThreshold, "plot_det", lambda *_, **__: None)
    order = np.random.default_rng(0).permutation(272)
    a = scores_file(tmp_path / "a.txt")
    b = scores_file(tmp_path / "b.txt", better=2, order=order)
    same = scores_file(tmp_path / "c.txt", order=order)

    def compared(*paths):
        """Returns the words that the command prints about the EERs of two files."""
        assert tuneThreshold.main(["--compare", *map(str, paths), "--bootstrap", "99"]) == 0
        lines = capsys.readouterr().out.split("difference")[1].splitlines()
        return lines[1].replace("[", "").replace("]", "").replace(",", "").split()

    _, first, _, second, _, gap, _, low, high, p = compared(a, b)
    assert float(gap) == pytest.approx(float(first) - float(second), abs=0.011)
    assert 0 < float(low) < float(high)
    assert float(p) < 0.1
    assert compared(b, a) == [
        "EER",
        second,
        "%",
        first,
        "%",
        gap.replace("+", "-"),
        "%",
        high.replace("+", "-"),
        low.replace("+", "-"),
        p,
    ]
    assert compared(a, same)[5:] == ["+0.00", "%", "+0.00", "+0.00", "1.000"]


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda lines: lines[1:],
            "expected the 272 trials of the other scores file in any order, found 271 trials. The "
            "number of occurrences differs for 1 trials, first for '1 s0/0 s0/x0'.\n",
        ),
        (
            lambda lines: [*lines, lines[4]],
            "found 273 trials. The number of occurrences differs for 1 trials, first for "
            "'1 s0/4 s0/x4'.\n",
        ),
        (
            lambda lines: ["0 s0/0 s0/x0 1\n", *lines[1:]],
            "The number of occurrences differs for 2 trials, first for '0 s0/0 s0/x0'.\n",
        ),
    ],
)
def test_other_trials(change, message, tmp_path, capsys):
    a = scores_file(tmp_path / "a.txt")
    b = tmp_path / "b.txt"
    b.write_text("".join(change(a.read_text().splitlines(keepends=True))))
    assert tuneThreshold.main(["--compare", str(a), str(b), "--bootstrap", "2"]) == 2
    err = capsys.readouterr().err
    assert f"{b}: " in err
    assert message in err
    with pytest.raises(SystemExit):
        tuneThreshold.main([str(a), "--compare", str(a), str(b)])


def test_spoofing_aware_command(tmp_path, capsys):
    draw = np.random.default_rng(0)
    kinds = draw.choice(TRIAL_KINDS, 300)
    path = tmp_path / "s.txt"
    lines = []
    for i, kind in enumerate(kinds):
        speaker = draw.integers(9)
        attack = "A07" if kind == "spoof" else "-"
        score = draw.standard_normal() + 2 * (kind == "target")
        lines.append(f"id{speaker} u{i} {attack} {kind} {score:.5f}\n")
    path.write_text("".join(lines))
    words = [str(path), "--bootstrap", "20", "--det", str(tmp_path / "det.png")]
    assert tuneThreshold.main(words) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    for name in ("SASV-EER", "SV-EER", "SPF-EER", "a-DCF"):
        assert "[" in rows[name]
    assert "20 resamples of 9 speakers" in rows["Brackets"]


def test_options_without_effect_give_a_warning(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tuneThreshold, "plot_det", lambda *_, **__: None)
    path = scores_file(tmp_path / "s.txt")
    assert tuneThreshold.main([str(path), "--seed", "3", "--bins", "2"]) == 0
    assert capsys.readouterr().err == (
        "warning: --seed has no effect without --bootstrap.\n"
        "warning: --bins has no effect without --by.\n"
    )
    assert tuneThreshold.main([str(path), "--speaker_level", "1", "--adcf_c_miss", "2"]) == 0
    assert capsys.readouterr().err == (
        "warning: --adcf_c_miss has no effect on '1|0' scores.\n"
        "warning: --speaker_level has no effect without --bootstrap or --by or --worst.\n"
    )
    assert tuneThreshold.main([str(path), "--speaker_level", "1", "--worst", "2"]) == 0
    assert not capsys.readouterr().err
