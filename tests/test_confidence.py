"""Bootstrap over speakers against copied trials and known truths, comparison of systems, speakers of trials, the command."""

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
    adcf_p_spoof=0.05,
    adcf_p_nontarget=0.05,
    adcf_c_miss=1.0,
    adcf_c_fa_nontarget=10.0,
    adcf_c_fa_spoof=20.0,
)


def options(*words, **more):
    args = PARSER.parse_args(words)
    vars(args).update(more)
    return args


def plain(label):
    return {"target": label, "nontarget": ~label}


def drawn(scores, groups, sides, repeats, seed=0, gaps=None, **more):
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
    """Scores of trials with effects of speakers: targets of each, others of random pairs -> scores, label, who, and the EER of endless trials in per cent."""
    own, level = draw.standard_normal(people), draw.standard_normal(people) / np.sqrt(2)
    a = draw.integers(0, people, others)
    b = (a + draw.integers(1, people, others)) % people
    one = np.repeat(np.arange(people), targets)
    scores = np.concatenate(
        [
            shift + own[one] + draw.standard_normal(len(one)),
            level[a] + level[b] + draw.standard_normal(others),
        ]
    )
    sides = np.concatenate([np.stack([one, np.full(len(one), -1)], 1), np.stack([a, b], 1)])
    return (
        scores,
        np.arange(len(scores)) < len(one),
        sides,
        100 * NormalDist().cdf(-shift / 2 / np.sqrt(2)),
    )


# ---------------------------------------------------------------------- against copies
def copies(sides, repeats, seed):
    """Resamples as lists of indices of trials: a person drawn twice is two persons, who meet all others and have target trials of their own."""
    people = np.unique(sides[sides >= 0])
    draw = np.random.default_rng(seed)
    for _ in range(repeats):
        count = dict(
            zip(
                people.tolist(),
                draw.multinomial(len(people), np.full(len(people), 1 / len(people))).tolist(),
                strict=True,
            )
        )
        yield [
            i
            for i, (a, b) in enumerate(sides.tolist())
            for _ in range(count[a])
            for _ in range(1 if b < 0 else count[b])
        ]


@st.composite
def lists(draw, kinds):
    """Trials of 3 to 6 speakers: (score, kind, first speaker, second speaker or -1); scores with ties."""
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
    trials = [
        trial
        for pair in draw(st.lists(st.tuples(one, two), min_size=6, max_size=20))
        for trial in pair
    ]
    assume({*kinds} == {kind for _, kind, _, _ in trials})
    scores, names, a, b = zip(*trials, strict=True)
    sides = np.array([a, b]).T
    # neither ranks nor rows without gaps
    return np.array(scores) / 7, np.array(names), np.where(sides < 0, -1, 5 * sides)


def slow(scores, kinds, sides, wanted, repeats):
    """wanted(scores, kinds) -> numbers, of the copied trials of each resample that has all kinds."""
    some = [(scores[i], kinds[i]) for i in copies(sides, repeats, 3) if {*kinds[i]} == {*kinds}]
    return np.array([wanted(*one) for one in some])


@pytest.mark.parametrize("definition", EERS)
@given(lists(TRIAL_KINDS[:2]))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_weights_are_copies(definition, trials):
    scores, kinds, sides = trials

    def wanted(scores, kinds):
        rates = error_rates(scores, kinds == "target")
        return eer(*rates, definition)[0], min_dcf(*rates, 0.05)[0], min_dcf(*rates, 0.3)[0]

    known = slow(scores, kinds, sides, wanted, 12)
    if len(known) <= 6:
        with pytest.raises(TooFew, match=f"only {len(known)} of 12 resamples of"):
            drawn(scores, plain(kinds == "target"), sides, 12, 3, eer=definition)
    else:
        found = drawn(scores, plain(kinds == "target"), sides, 12, 3, eer=definition)
        assert found.speakers == len(np.unique(sides[sides >= 0])) and list(found.values) == [
            "EER",
            "minDCF(0.05)",
            "minDCF(0.3)",
        ]
        np.testing.assert_allclose(np.transpose(list(found.values.values())), known, atol=1e-9)


@given(lists(TRIAL_KINDS))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_weights_are_copies_of_spoofing_aware_trials(trials):
    scores, kinds, sides = trials
    known = slow(
        scores, kinds, sides, lambda *trials: (*sasv_eers(*trials).values(), a_dcf(*trials)[0]), 12
    )
    assume(len(known) > 6)
    found = drawn(scores, {kind: kinds == kind for kind in TRIAL_KINDS}, sides, 12, 3)
    assert list(found.values) == ["SASV-EER", "SV-EER", "SPF-EER", "a-DCF"]
    np.testing.assert_allclose(np.transpose(list(found.values.values())), known, atol=1e-9)


def test_lists_without_a_kind():
    scores, label, sides, _ = simulated(np.random.default_rng(0), 8, 4, 40)
    found = drawn(
        scores,
        {"target": label, "nontarget": np.zeros(len(label), bool), "spoof": ~label},
        sides,
        9,
    )
    assert list(found.values) == ["SASV-EER", "SPF-EER"]
    np.testing.assert_array_equal(
        found.values["SPF-EER"], drawn(scores, plain(label), sides, 9).values["EER"]
    )


# ---------------------------------------------------------------------- intervals
def test_coverage():
    """95 % intervals hold the truth about as often; if trials were taken for independent they would not."""
    draw = np.random.default_rng(0)
    hits = np.zeros(2)
    for seed in range(30):
        scores, label, sides, truth = simulated(draw, targets=15)
        # every trial has a speaker of its own
        alone = np.stack([np.arange(len(scores)), np.full(len(scores), -1)], 1)
        for i, speakers_of_trials in enumerate((sides, alone)):
            low, high = interval(
                drawn(scores, plain(label), speakers_of_trials, 60, seed).values["EER"],
                eer(*error_rates(scores, label))[0],
            )
            hits[i] += low <= truth <= high
    assert 0.8 <= hits[0] / 30 <= 1 and hits[1] / 30 < 0.7


def test_interval_by_hand():
    values = np.arange(101.0)
    # in the middle: percentiles
    np.testing.assert_allclose(interval(values, 50, 0.9), [5, 95])
    # resamples are too low: 60 is their quantile 61/102
    low, high = interval(values, 60, 0.9)
    shift = 2 * NormalDist().inv_cdf(61 / 102)
    assert (low, high) == pytest.approx(
        [100 * NormalDist().cdf(shift + at) for at in (-1.6449, 1.6449)], abs=0.01
    )
    both = interval(np.stack([values, values[::-1] * 2], 1), np.array([60, 100]), 0.9)
    np.testing.assert_allclose(both, np.transpose([[low, high], [10, 190]]))
    assert interval(np.zeros(7), 0).tolist() == [0, 0]


def test_seed_and_order():
    scores, label, sides, _ = simulated(np.random.default_rng(1), 10)
    first, again, other = (
        drawn(scores, plain(label), sides, 20, seed).values["EER"] for seed in (0, 0, 1)
    )
    shuffle = np.random.default_rng(0).permutation(len(scores))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(
        first, drawn(scores[shuffle], plain(label[shuffle]), sides[shuffle], 20).values["EER"]
    )
    np.testing.assert_array_equal(
        first,
        drawn(scores.astype(np.float32).astype(float) * 8, plain(label), sides, 20).values["EER"],
    )
    assert (first != other).any()


def test_band():
    scores, label, sides, _ = simulated(np.random.default_rng(2))
    threshold, p_miss, p_fa = error_rates(scores, label)
    gap = np.unique(np.append(spread(p_miss, p_fa), 0))
    found = drawn(scores, plain(label), sides, 100, gaps={"EER": gap})
    (miss, fa), at = (
        bands(found, {"EER": gap}, {"EER": (0, (threshold, p_miss, p_fa))})["EER"],
        np.searchsorted(gap, 0),
    )
    # the EER's interval
    np.testing.assert_allclose(
        miss[:, at] * 100, interval(found.values["EER"], eer(threshold, p_miss, p_fa)[0]), atol=1e-9
    )
    assert miss.min() >= -1e-12 and fa.min() >= -1e-12 and len(gap) > 50
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
    assert found.values["EER"] == pytest.approx([15.87, 15.87], abs=0.6) and peak < 300e6


# ---------------------------------------------------------------------- comparison
def test_difference():
    d = np.arange(1.0, 100)
    assert difference(d, 50).p == pytest.approx(2 * 0.5 / 100) and difference(np.zeros(9), 0) == (
        0,
        0,
        1,
    )
    assert difference(d - 50, 0).p == pytest.approx(1) and difference(
        d - 30, 20
    ).p == pytest.approx(0.6)
    for values, at in ((d - 30, 20), (d - 20, 31), (d - 5, 40)):
        low, high, p = difference(values, at, 0.8)
        assert difference(-values, -at, 0.8) == pytest.approx((-high, -low, p))
        edges = interval(values, at, 1 - p)
        # at this confidence 0 is on the edge
        assert min(abs(edges)) < 1


def test_comparison_finds_what_is_there():
    draw, p = np.random.default_rng(0), {}
    scores, label, sides, _ = simulated(draw)
    # the same scores elsewhere: another system, as good as the first one
    alike = scores.copy()
    for of in (label, ~label):
        alike[of] = draw.permutation(scores[of])
    better = scores + 2 * label
    known = drawn(scores, plain(label), sides, 200)
    for name, others in {"better": better, "alike": alike, "scaled": 3 * scores - 1}.items():
        found = drawn(others, plain(label), sides, 200)
        gap = eer(*error_rates(others, label))[0] - eer(*error_rates(scores, label))[0]
        p[name] = difference(found.values["EER"] - known.values["EER"], gap)
    assert p["better"].p < 0.03 and p["better"].high < 0
    assert (
        p["alike"].p > 0.1
        and p["alike"].low < 0 < p["alike"].high
        and p["scaled"] == pytest.approx((0, 0, 1), abs=1e-12)
    )


def test_pairing_narrows_the_interval():
    """Of two systems that err on the same speakers the difference is known better than either's EER."""
    draw = np.random.default_rng(3)
    scores, label, sides, _ = simulated(draw)
    noisy = scores + 0.3 * draw.standard_normal(len(scores))
    a, b = (drawn(some, plain(label), sides, 200).values["EER"] for some in (scores, noisy))
    assert np.std(a - b) < 0.6 * np.std(a) and np.corrcoef(a, b)[0, 1] > 0.8


@given(
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=12), st.randoms(use_true_random=False)
)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_trials_are_matched(names, random):
    # a trial may be on the list twice
    lines = [f"{int(name < 'c')} {name} x" for name in names]
    first = Scores(
        lines,
        np.arange(len(lines), dtype=float),
        np.array([name < "c" for name in names]),
        None,
        None,
    )
    order = random.sample(range(len(lines)), len(lines))
    other = Scores([lines[i] for i in order], first.scores[order], first.labels[order], None, None)
    found = reorder_like(first, other, "b.txt")
    assert found.lines == lines and found.labels.tolist() == first.labels.tolist()
    assert sorted(zip(found.lines, found.scores, strict=True)) == sorted(
        zip(lines, first.scores, strict=True)
    )


# ---------------------------------------------------------------------- speakers
def read(tmp_path, text):
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
    Path("table").write_text(
        "".join(f"x/{sides}/{i} {sides}\n" for sides in "abcd" for i in (1, 2))
    )
    found = speakers.speakers_of(read(tmp_path, PAIRS), options(*words))
    assert found.names == ["a", "b", "c"] and found.sides.tolist() == [[0, -1], [0, 1], [1, 2]]
    assert speakers.speakers_of(read(tmp_path, PAIRS.replace("x/", "")), options()).names == [
        "a",
        "b",
        "c",
    ]


def test_speakers_of_spoofing_aware_trials(tmp_path):
    trials = read(
        tmp_path,
        "a u1 bonafide target 3\na b/u2 bonafide nontarget 1\nb a/u3 A07 spoof 0\nc c/u4 A07 spoof 0\n",
    )
    assert speakers.speakers_of(trials, options()).sides.tolist() == [
        [0, -1],
        [0, -1],
        [1, -1],
        [2, -1],
    ]
    (tmp_path / "table").write_text("u1 a\nb/u2 b\na/u3 a\nc/u4 c\n")
    assert speakers.speakers_of(
        trials, options("--speaker_table", str(tmp_path / "table"))
    ).sides.tolist() == [[0, -1], [0, 1], [1, -1], [2, -1]]


@pytest.mark.parametrize(
    "words, message",
    [
        (
            [],
            r"trial 2, '0 x/a/1 x/b/1': got one speaker, x, .*its label contradicts; give --speaker_level",
        ),
        (["--speaker_level", "3"], "x/a/1: has no folder number 3 "),
        (["--speaker_level", "0"], "want 1 .* got 0"),
        (["--speaker_regex", "/([0-9])"], "'1 x/a/1 x/a/2': got two speakers, 1 and 2,"),
        (["--speaker_regex", "(b)"], r"\(b\): finds no speaker in x/a/1"),
        (["--speaker_regex", "b"], "want one group"),
        (["--speaker_regex", "("], "--speaker_regex"),
        (
            ["--speaker_table", "short"],
            "short: want the speakers of all files of the trials, x/b/1 is missing",
        ),
        (
            ["--speaker_table", "twice"],
            "twice:2: want '<file> <speaker>', one speaker for a file, got 'x/a/1 b'",
        ),
        (["--bootstrap", "1"], "want 2 resamples or more"),
        (["--confidence", "95"], "a share between 0 and 1, got 95"),
        (["--seed", "-1"], "--seed: want 0"),
    ],
)
def test_bad_words(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("s.txt").write_text(PAIRS)
    Path("short").write_text("x/a/1 a\nx/a/2 a\n")
    Path("twice").write_text("x/a/1 a\nx/a/1 b\n")
    assert tuneThreshold.main(["s.txt", "--bootstrap", "9", *words]) == 2
    err = capsys.readouterr().err
    assert re.search(message, err) and err.count("\n") == 1 and not list(tmp_path.glob("*.png"))


# ---------------------------------------------------------------------- the command
def scores_file(path, seed=0, better=0.0, order=None):
    scores, label, sides, _ = simulated(np.random.default_rng(seed), 12, 6, 200, 2.0)
    scores = scores + better * label
    lines = [
        f"{int(y)} s{a}/{i} s{a if b < 0 else b}/x{i} {s:.7g}\n"
        for i, (s, y, (a, b)) in enumerate(zip(scores, label, sides.tolist(), strict=True))
    ]
    path.write_text("".join(lines if order is None else [lines[i] for i in order]))
    return path


def test_command(tmp_path, capsys):
    path = scores_file(tmp_path / "s.txt")
    assert tuneThreshold.main([str(path)]) == 0
    before = capsys.readouterr().out
    assert (
        tuneThreshold.main(
            [
                str(path),
                "--bootstrap",
                "50",
                "--confidence",
                "0.8",
                "--seed",
                "4",
                "--det",
                str(tmp_path / "band.png"),
            ]
        )
        == 0
    )
    out, err = capsys.readouterr()
    trials = read_scores(path)
    known = drawn(
        trials.scores,
        plain(trials.labels),
        speakers.speakers_of(trials, options()).sides,
        50,
        4,
        p_target=[0.05, 0.01],
    ).values
    rates = error_rates(trials.scores, trials.labels)
    (low, high), (least, most) = (
        interval(known["EER"], eer(*rates)[0], 0.8),
        interval(known["minDCF(0.01)"], min_dcf(*rates, 0.01)[0], 0.8),
    )
    assert (
        f" %  [{low:.2f}, {high:.2f}] " in out
        and f"[{least:.4f}, {most:.4f}]" in out
        and not err.replace("\r", "").strip()
    )
    assert "in brackets 80 % intervals: 50 resamples of 12 speakers" in out
    # the numbers are the same
    assert [line.split()[:2] for line in out.splitlines()[2:8]] == [
        line.split()[:2] for line in before.splitlines()[2:8]
    ]
    assert (tmp_path / "band.png").stat().st_size > (tmp_path / "s_det.png").stat().st_size


def test_compare(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tuneThreshold, "plot_det", lambda *_, **__: None)
    order = np.random.default_rng(0).permutation(272)
    a, b, same = (
        scores_file(tmp_path / "a.txt"),
        scores_file(tmp_path / "b.txt", better=2, order=order),
        scores_file(tmp_path / "c.txt", order=order),
    )

    def told(*paths):
        assert tuneThreshold.main(["--compare", *map(str, paths), "--bootstrap", "99"]) == 0
        lines = capsys.readouterr().out.split("difference")[1].splitlines()
        return lines[1].replace("[", "").replace("]", "").replace(",", "").split()

    _, first, _, second, _, gap, _, low, high, p = told(a, b)
    assert (
        float(gap) == pytest.approx(float(first) - float(second), abs=0.011)
        and 0 < float(low) < float(high)
        and float(p) < 0.1
    )
    assert told(b, a) == [
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
    assert told(a, same)[5:] == ["+0.00", "%", "+0.00", "+0.00", "1.000"]


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda lines: lines[1:],
            "want the trials of the other scores file, 272 in any order, got 271; 1 are not as often in both, the first: 1 s0/0 s0/x0\n",
        ),
        (
            lambda lines: [*lines, lines[4]],
            "272 in any order, got 273; 1 are not as often in both, the first: 1 s0/4 s0/x4\n",
        ),
        (
            lambda lines: ["0 s0/0 s0/x0 1\n", *lines[1:]],
            "2 are not as often in both, the first: 0 s0/0 s0/x0\n",
        ),
    ],
)
def test_other_trials(change, message, tmp_path, capsys):
    a, b = scores_file(tmp_path / "a.txt"), tmp_path / "b.txt"
    b.write_text("".join(change(a.read_text().splitlines(keepends=True))))
    assert tuneThreshold.main(["--compare", str(a), str(b), "--bootstrap", "2"]) == 2
    assert f"{b}: " in (err := capsys.readouterr().err) and message in err
    with pytest.raises(SystemExit):
        tuneThreshold.main([str(a), "--compare", str(a), str(b)])


def test_spoofing_aware_command(tmp_path, capsys):
    draw = np.random.default_rng(0)
    kinds = draw.choice(TRIAL_KINDS, 300)
    path = tmp_path / "s.txt"
    path.write_text(
        "".join(
            f"id{draw.integers(9)} u{i} {'A07' if kind == 'spoof' else '-'} {kind} {draw.standard_normal() + 2 * (kind == 'target'):.5f}\n"
            for i, kind in enumerate(kinds)
        )
    )
    assert (
        tuneThreshold.main([str(path), "--bootstrap", "20", "--det", str(tmp_path / "det.png")])
        == 0
    )
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert (
        all("[" in rows[name] for name in ("SASV-EER", "SV-EER", "SPF-EER", "a-DCF"))
        and "20 resamples of 9 speakers" in rows["in"]
    )


def test_options_without_effect_are_told(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tuneThreshold, "plot_det", lambda *_, **__: None)
    path = scores_file(tmp_path / "s.txt")
    assert tuneThreshold.main([str(path), "--seed", "3", "--bins", "2"]) == 0
    assert (
        capsys.readouterr().err
        == "warning: --seed has no effect without --bootstrap\nwarning: --bins has no effect without --by\n"
    )
    assert tuneThreshold.main([str(path), "--speaker_level", "1", "--adcf_c_miss", "2"]) == 0
    assert capsys.readouterr().err == (
        "warning: --adcf_c_miss has no effect on '1|0' scores\n"
        "warning: --speaker_level has no effect without --bootstrap or --by or --worst\n"
    )
    assert (
        tuneThreshold.main([str(path), "--speaker_level", "1", "--worst", "2"]) == 0
        and not capsys.readouterr().err
    )
