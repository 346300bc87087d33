"""Tests of the metrics of parts of a scores file, and of the worst speakers and trials.

The tests compare slices with trials that are filtered by hand. They compare errors of speakers with
a direct loop. Further tests check tables, durations and the command line.
"""

import itertools
import re
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import tuneThreshold
from corpus.durations import read_durations
from metrics import speakers
from metrics.rates import eer, error_rates, summarize
from metrics.scores import Scores, read_scores, select_trials
from metrics.slices import bins_of, read_table, slices_of, table_of_slices
from metrics.worst import SpeakerErrors, errors_of_speakers, hardest_trials

GENDER = {"a": "F", "b": "M", "c": "F", "d": "M"}


def plain(trials):
    """Returns the Scores of trials (score, speaker, speaker). Equal speakers: a target trial."""
    lines = [f"{int(a == b)} {a}/{i} {b}/x{i}" for i, (_, a, b) in enumerate(trials)]
    scores = np.array([float(score) for score, *_ in trials])
    labels = np.array([a == b for _, a, b in trials])
    return Scores(lines, scores, labels, None, None)


def speakers_of(read):
    """Returns a function that finds the speakers of trials from the folders of their files."""
    return lambda: speakers.speakers_of(
        read, Namespace(speaker_level=None, speaker_regex=None, speaker_table=None)
    )


def options(**more):
    """Returns the options of slices: the defaults, changed by the arguments."""
    return Namespace(**{"table": None, "path": None, "bins": None} | more)


lists_of_trials = st.lists(
    st.tuples(st.integers(-5, 5), st.sampled_from("abcd"), st.sampled_from("abcd")),
    min_size=1,
    max_size=40,
)


# ---------------------------------------------------------------------- slices
def numbers_of_trials(slices):
    """Returns {name of the slice: indices of its trials}."""
    return {name: np.flatnonzero(selected).tolist() for name, selected in slices.items()}


def edges_of(name):
    """Returns the lower and the upper edge that the name of a bin contains."""
    if name.startswith("below "):
        return -np.inf, float(name.split()[-1])
    if name.startswith("from "):
        return float(name.split()[-1]), np.inf
    low, _, high = name.partition(" to ")
    return float(low), float(high)


@given(lists_of_trials)
@settings(max_examples=20, deadline=None, derandomize=True)
def test_slices_are_what_filtering_gives(tmp_path_factory, trials):
    read = plain(trials)
    table = tmp_path_factory.mktemp("t") / "table.tsv"
    rows = [f"{speaker}\t{gender}\n" for speaker, gender in GENDER.items()]
    table.write_text("ID\tGender\n" + "".join(rows))
    found = slices_of("gender", read, speakers_of(read), options(table=table))
    by_hand = {}
    for i, (_, a, b) in enumerate(trials):
        name = "F / M" if GENDER[a] != GENDER[b] else GENDER[a]
        by_hand.setdefault(name, []).append(i)
    assert numbers_of_trials(found) == by_hand
    assert list(found) == sorted(by_hand)

    def summary_of(part, selected):
        return summarize(part.scores, part.labels)

    lines = table_of_slices("gender", found, read, summary_of).splitlines()
    for line, name in zip(lines[1:], found, strict=True):
        scores = [trials[i][0] for i in by_hand[name]]
        labels = [trials[i][1] == trials[i][2] for i in by_hand[name]]
        expected = [f"{sum(labels)}", f"{len(labels) - sum(labels)}"]
        if len({*labels}) == 2:
            known = summarize(scores, labels)
            expected += [f"{known.eer:.2f} %", f"{known.min_dcf:.4f}"]
        else:
            expected += ["-"] * (len(re.split("  +", lines[0])) - 3)
        assert re.split("  +", line) == [name, *expected]


@given(
    st.lists(st.integers(-9, 9), min_size=1, max_size=30),
    st.lists(st.integers(-9, 9), min_size=1, max_size=4, unique=True),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_bins(numbers, edges):
    edges = np.sort(np.array(edges, float))
    found = bins_of(np.array(numbers, float), edges)
    # Each number is in exactly one bin.
    assert np.sum([*found.values()], 0).tolist() == [1] * len(numbers)
    for name, selected in found.items():
        low, high = edges_of(name)
        assert selected.any()
        assert selected.tolist() == [low <= number < high for number in numbers]


def test_numbers_are_binned_at_quartiles_and_the_smaller_one_counts(tmp_path):
    names = "abcdefgh"
    pairs = list(itertools.product(names, names))
    read = plain([(0, a, b) for a, b in pairs])
    table = tmp_path / "table"
    rows = [f"{name} {20 + i}\n" for i, name in enumerate(names)]
    table.write_text("who age\n" + "".join(rows))
    ages = [min(ord(a), ord(b)) - ord("a") + 20 for a, b in pairs]
    for bins, edges in (
        (None, np.unique(np.quantile(ages, [0.25, 0.5, 0.75]))),
        ([22, 24.5], [22, 24.5]),
    ):
        found = slices_of("Age", read, speakers_of(read), options(table=table, bins=bins))
        at = np.searchsorted(edges, ages, "right")
        selected = [trials.tolist() for trials in found.values()]
        assert selected == [(at == i).tolist() for i in np.unique(at)]
    rows = [f"{name} {20 + i % 2}\n" for i, name in enumerate(names)]
    table.write_text("who age\n" + "".join(rows))
    found = slices_of("age", read, speakers_of(read), options(table=table))
    assert list(found) == ["20", "20 / 21", "21"]


@pytest.mark.parametrize(
    "text",
    [
        "VoxCeleb1 ID\tVGGFace1 ID\tGender\tSet\na\tA.J._Buckley\tm\tdev\nb\tB, B\tf\ttest\n",
        "VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set\na ,n1 ,m ,dev\nb ,n2 ,f ,test\n",
        "id name gender set\na x  m dev\nb y f test\n",
        'id,name,gender,set\na,"x, y",m,dev\nb,z,f,test\n',
    ],
)
def test_tables(text, tmp_path):
    (tmp_path / "t").write_text(text)
    table = read_table(tmp_path / "t")
    assert table["gender"] == {"a": "m", "b": "f"}
    assert table["set"] == {"a": "dev", "b": "test"}
    assert len(table) == 3


def test_tables_of_files(tmp_path):
    read = plain([(0, "a", "b"), (1, "a", "a")])
    table = tmp_path / "t"
    table.write_text("file,room\na/0,big\nb/x0,small\na/1,big\na/x1,big\n")

    def unknown():
        raise AssertionError("speakers are not needed")

    found = slices_of("room", read, unknown, options(table=table))
    selected = {name: trials.tolist() for name, trials in found.items()}
    assert selected == {"big": [False, True], "big / small": [True, False]}


def spoofing_aware(path):
    """Writes and reads a spoofing-aware scores file of five trials."""
    path.write_text(
        "a u1 - target 3\na u2 - nontarget 1\nb u3 A07 spoof 0\nb u4 - target 2\na u5 A08 spoof 4\n"
    )
    return read_scores(path)


def test_spoofing_aware_slices(tmp_path):
    read = spoofing_aware(tmp_path / "s")
    table = tmp_path / "t"
    attacks = slices_of("attack", read, None, options())
    assert numbers_of_trials(attacks) == {"-": [0, 1, 3], "A07": [0, 2, 3], "A08": [0, 3, 4]}
    table.write_text("id gender\na f\nb m\n")
    by_claim = slices_of("gender", read, speakers_of(read), options(table=table))
    assert numbers_of_trials(by_claim) == {"f": [0, 1, 4], "m": [2, 3]}
    table.write_text("file codec\nu1 opus\nu2 opus\nu3 -\nu4 -\nu5 -\n")
    by_file = slices_of("codec", read, None, options(table=table))
    assert numbers_of_trials(by_file) == {"-": [2, 3, 4], "opus": [0, 1]}


def test_durations(tmp_path):
    read = plain([(0, "a", "b"), (1, "a", "a"), (1, "c", "c")])
    seconds = [1, 2, 0.5, 0.25, 3, 4]
    files = []
    for line in read.lines:
        files += line.split()[1:]
    for file, length in zip(files, seconds, strict=True):
        # The scores file names the file without its extension.
        path = tmp_path / f"{file}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.full(int(16000 * length), 0.1), 16000)
    found = slices_of("duration", read, None, options(path=tmp_path, bins=[0.5, 2]), read_durations)
    assert {name: selected.tolist() for name, selected in found.items()} == {
        "below 0.5": [False, True, False],
        "0.5 to 2": [True, False, False],
        "from 2": [False, False, True],
    }


# ---------------------------------------------------------------------- the worst
@given(
    lists_of_trials.filter(lambda trials: len({a == b for _, a, b in trials}) == 2),
    st.integers(-5, 5),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_errors_of_speakers_against_a_direct_loop(trials, threshold):
    read = plain(trials)
    names = {a for _, a, _ in trials} | {b for _, _, b in trials}
    known = {}
    for name in names:
        targets = []
        others = []
        for score, a, b in trials:
            if a == b == name:
                targets.append(score)
            elif name in (a, b):
                others.append(score)
        misses = sum(score < threshold for score in targets)
        accepts = sum(score >= threshold for score in others)
        known[name] = SpeakerErrors(name, misses, len(targets), accepts, len(others))
    found = errors_of_speakers(read, speakers_of(read)(), threshold)
    assert {errors.speaker: errors for errors in found} == known
    assert len(found) == len(known)
    rates = [errors.rate for errors in found]
    assert rates == sorted(rates, reverse=True)
    targets, others = hardest_trials(read, 3)
    lowest_targets = sorted(float(score) for score, a, b in trials if a == b)
    highest_others = sorted((float(score) for score, a, b in trials if a != b), reverse=True)
    assert read.scores[targets].tolist() == lowest_targets[:3]
    assert read.scores[others].tolist() == highest_others[:3]
    assert read.labels[targets].all()
    assert not read.labels[others].any()


def test_rate():
    assert SpeakerErrors("a", 1, 4, 1, 2).rate == 0.375
    assert SpeakerErrors("a", 0, 0, 1, 2).rate == 0.5
    assert SpeakerErrors("a", 1, 4, 0, 0).rate == 0.25


# ---------------------------------------------------------------------- the command
def make(folder):
    """Writes the scores file s.txt of 12 speakers and the table t.csv of the speakers."""
    draw = np.random.default_rng(0)
    names = [f"s{i}" for i in range(12)]
    pairs = []
    for name in names:
        pairs += [(name, name)] * 5
    for _ in range(300):
        pairs.append(tuple(draw.choice(names, 2, replace=False)))
    lines = []
    for i, (a, b) in enumerate(pairs):
        score = draw.standard_normal() + 2 * (a == b)
        lines.append(f"{int(a == b)} {a}/{i} {b}/x{i} {score:.5f}\n")
    Path(folder, "s.txt").write_text("".join(lines))
    rows = [f"{name},{'fm'[i % 2]},{20 + i}\n" for i, name in enumerate(names)]
    Path(folder, "t.csv").write_text("id,gender,age\n" + "".join(rows))


def test_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make(tmp_path)
    words = (
        "s.txt --by gender AGE --table t.csv --bins 25 --worst 2 --bootstrap 20 "
        "--det det.png --p_target 0.05"
    )
    assert tuneThreshold.main(words.split()) == 0
    out = capsys.readouterr().out
    read = read_scores("s.txt")
    gender = {f"s{i}": "fm"[i % 2] for i in range(12)}
    selected = []
    for line in read.lines:
        genders = {gender[word.split("/")[0]] for word in line.split()[1:]}
        selected.append(genders == {"f"})
    selected = np.array(selected)
    known = summarize(read.scores[selected], read.labels[selected])
    part = select_trials(read, selected)
    (row,) = re.findall(r"^f  .*", out, re.M)
    crossed = re.findall(r"^f / m  .*", out, re.M)[0].split()
    assert row.split()[1:3] == ["30", str(selected.sum() - 30)]
    assert f"{known.eer:.2f} %  [" in row
    assert f"{known.min_dcf:.4f}  [" in row
    assert len(part.lines) == selected.sum()
    assert crossed[3] == "0"
    assert crossed[-2:] == ["-", "-"]
    assert re.search(r"^below 25 .*\nfrom 25 ", out, re.M)
    threshold = eer(*error_rates(read.scores, read.labels))[1]
    worst = errors_of_speakers(read, speakers_of(read)(), threshold)[:2]
    for e in worst:
        row = rf"^{e.speaker} +{e.misses} +{e.targets} .* {e.accepts} +{e.others} "
        assert re.search(row, out, re.M)
    targets, others = hardest_trials(read, 2)
    for i in (*targets, *others):
        assert f"{read.scores[i]:10.5g}  {read.lines[i]}" in out
    assert "attack" not in out
    assert out.count("0 s") >= 2


@pytest.mark.parametrize(
    "words, message",
    [
        ("--by gender", "--by gender: this needs --table FILE with the column.$"),
        ("--by duration", "this needs --table FILE with the column, or --path DIR"),
        # Lines '1|0 <file> <file> <score>' do not name attacks.
        ("--by attack", "--by attack: this needs --table"),
        ("--by colour --table t.csv", "t.csv: expected a column colour, found gender, age"),
        (
            "--by b --table short",
            "short: expected all speakers or all files of the trials in the first column, but "
            "11 of 12 speakers are missing. The first one is s1",
        ),
        ("--by b --table ragged", r"ragged:3: expected 2 columns \(a, b\), found 3: 's1 2 3'"),
        ("--by b --table twice", "twice:3: expected one line for s1, found another"),
        ("--by b --table none", "none: there is no such file"),
        ("--by b --table empty", "empty: expected lines .*, found an empty file"),
        ("--worst 0", "--worst: expected at least 1, found 0"),
        ("--by b --table short --bins nan", "--bins: expected finite numbers"),
        ("--by duration --path .", "files are missing in ."),
    ],
)
def test_bad_words(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make(tmp_path)
    for name, text in {
        "short": "a b\ns0 1\n",
        "ragged": "a b\ns0 1\ns1 2 3\n",
        "twice": "a b\ns1 1\ns1 2\n",
        "empty": "",
    }.items():
        Path(name).write_text(text)
    assert tuneThreshold.main(["s.txt", *words.split()]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert re.search(message, err, re.M)
    assert err.count("\n") == 1
    assert not list(tmp_path.glob("*.png"))


def test_slices_with_few_speakers_have_no_interval(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make(tmp_path)
    rows = [f"s{i} {'few' if i < 2 else 'many'}\n" for i in range(12)]
    Path("t").write_text("id group\n" + "".join(rows))
    words = "s.txt --by group --table t --bootstrap 30 --det det.png"
    assert tuneThreshold.main(words.split()) == 0
    out = capsys.readouterr().out
    few = re.findall(r"^few  .*", out, re.M)[0]
    many = re.findall(r"^many  .*", out, re.M)[0]
    assert "[" not in few
    assert "%" in few
    assert "[" in many
