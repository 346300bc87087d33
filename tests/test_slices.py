"""Slices against filtering by hand, tables, durations, the worst speakers and trials against a direct loop, the command."""

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
    """(score, speaker, speaker) of trials -> Scores, targets where both are one."""
    lines = [f"{int(a == b)} {a}/{i} {b}/x{i}" for i, (_, a, b) in enumerate(trials)]
    return Scores(
        lines,
        np.array([float(score) for score, *_ in trials]),
        np.array([a == b for _, a, b in trials]),
        None,
        None,
    )


def speakers_of(read):
    return lambda: speakers.speakers_of(
        read, Namespace(speaker_level=None, speaker_regex=None, speaker_table=None)
    )


def options(**more):
    return Namespace(**{"table": None, "path": None, "bins": None} | more)


lists_of_trials = st.lists(
    st.tuples(st.integers(-5, 5), st.sampled_from("abcd"), st.sampled_from("abcd")),
    min_size=1,
    max_size=40,
)


# ---------------------------------------------------------------------- slices
@given(lists_of_trials)
@settings(max_examples=20, deadline=None, derandomize=True)
def test_slices_are_what_filtering_gives(tmp_path_factory, trials):
    read, table = plain(trials), tmp_path_factory.mktemp("t") / "table.tsv"
    table.write_text(
        "ID\tGender\n" + "".join(f"{sides}\t{gender}\n" for sides, gender in GENDER.items())
    )
    found = slices_of("gender", read, speakers_of(read), options(table=table))
    by_hand = {}
    for i, (_, a, b) in enumerate(trials):
        by_hand.setdefault("F / M" if GENDER[a] != GENDER[b] else GENDER[a], []).append(i)
    assert {
        name: np.flatnonzero(used).tolist() for name, used in found.items()
    } == by_hand and list(found) == sorted(by_hand)

    lines = table_of_slices(
        "gender", found, read, lambda part, used: summarize(part.scores, part.labels)
    ).splitlines()
    for line, name in zip(lines[1:], found, strict=True):
        scores, labels = zip(
            *((trials[i][0], trials[i][1] == trials[i][2]) for i in by_hand[name]), strict=True
        )
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
    # every trial is in one of them
    assert np.sum([*found.values()], 0).tolist() == [1] * len(numbers)
    for name, used in found.items():
        low = (
            float(re.search(r"from (\S+)|^(\S+) to", name)[name.find("to") > 0 and 2 or 1])
            if not name.startswith("below")
            else -np.inf
        )
        high = float(name.split()[-1]) if not name.startswith("from") else np.inf
        assert used.any() and all(
            (low <= number < high) == is_in
            for number, is_in in zip(numbers, used.tolist(), strict=True)
        )


def test_numbers_are_binned_at_quartiles_and_the_smaller_one_counts(tmp_path):
    read = plain([(0, a, b) for a in "abcdefgh" for b in "abcdefgh"])
    table = tmp_path / "table"
    table.write_text(
        "who age\n" + "".join(f"{sides} {20 + i}\n" for i, sides in enumerate("abcdefgh"))
    )
    ages = [min(ord(a), ord(b)) - ord("a") + 20 for a in "abcdefgh" for b in "abcdefgh"]
    for bins, edges in (
        (None, np.unique(np.quantile(ages, [0.25, 0.5, 0.75]))),
        ([22, 24.5], [22, 24.5]),
    ):
        found = slices_of("Age", read, speakers_of(read), options(table=table, bins=bins))
        at = np.searchsorted(edges, ages, "right")
        assert [used.tolist() for used in found.values()] == [
            (at == i).tolist() for i in np.unique(at)
        ]
    table.write_text(
        "who age\n" + "".join(f"{sides} {20 + i % 2}\n" for i, sides in enumerate("abcdefgh"))
    )
    assert list(slices_of("age", read, speakers_of(read), options(table=table))) == [
        "20",
        "20 / 21",
        "21",
    ]


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
    assert (
        table["gender"] == {"a": "m", "b": "f"}
        and table["set"] == {"a": "dev", "b": "test"}
        and len(table) == 3
    )


def test_tables_of_files(tmp_path):
    read, table = plain([(0, "a", "b"), (1, "a", "a")]), tmp_path / "t"
    table.write_text("file,room\na/0,big\nb/x0,small\na/1,big\na/x1,big\n")

    def unknown():
        raise AssertionError("speakers are not needed")

    assert {
        name: used.tolist()
        for name, used in slices_of("room", read, unknown, options(table=table)).items()
    } == {"big": [False, True], "big / small": [True, False]}


def spoofing_aware(path):
    path.write_text(
        "a u1 - target 3\na u2 - nontarget 1\nb u3 A07 spoof 0\nb u4 - target 2\na u5 A08 spoof 4\n"
    )
    return read_scores(path)


def test_spoofing_aware_slices(tmp_path):
    read, table = spoofing_aware(tmp_path / "s"), tmp_path / "t"
    attacks = slices_of("attack", read, None, options())
    assert {name: np.flatnonzero(used).tolist() for name, used in attacks.items()} == {
        "-": [0, 1, 3],
        "A07": [0, 2, 3],
        "A08": [0, 3, 4],
    }
    table.write_text("id gender\na f\nb m\n")
    by_claim = slices_of("gender", read, speakers_of(read), options(table=table))
    assert {name: np.flatnonzero(used).tolist() for name, used in by_claim.items()} == {
        "f": [0, 1, 4],
        "m": [2, 3],
    }
    table.write_text(
        "file codec\n" + "".join(f"u{i} {'opus' if i < 3 else '-'}\n" for i in range(1, 6))
    )
    by_file = slices_of("codec", read, None, options(table=table))
    assert {name: np.flatnonzero(used).tolist() for name, used in by_file.items()} == {
        "-": [2, 3, 4],
        "opus": [0, 1],
    }


def test_durations(tmp_path):
    read, seconds = plain([(0, "a", "b"), (1, "a", "a"), (1, "c", "c")]), [1, 2, 0.5, 0.25, 3, 4]
    for file, length in zip(
        (word for line in read.lines for word in line.split()[1:]), seconds, strict=True
    ):
        # an extension that the list leaves out
        path = tmp_path / f"{file}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.full(int(16000 * length), 0.1), 16000)
    found = slices_of("duration", read, None, options(path=tmp_path, bins=[0.5, 2]), read_durations)
    assert {name: used.tolist() for name, used in found.items()} == {
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
    known = {}
    for sides in {name for _, *pair in trials for name in pair}:
        own, met = (
            [score for score, a, b in trials if sides in (a, b) and (a == b) == one]
            for one in (True, False)
        )
        known[sides] = SpeakerErrors(
            sides,
            sum(score < threshold for score in own),
            len(own),
            sum(score >= threshold for score in met),
            len(met),
        )
    found = errors_of_speakers(read, speakers_of(read)(), threshold)
    assert {errors.speaker: errors for errors in found} == known and len(found) == len(known)
    assert [e.rate for e in found] == sorted((e.rate for e in found), reverse=True)
    targets, others = hardest_trials(read, 3)
    assert read.scores[targets].tolist() == sorted(float(s) for s, a, b in trials if a == b)[:3]
    assert (
        read.scores[others].tolist()
        == sorted((float(s) for s, a, b in trials if a != b), reverse=True)[:3]
    )
    assert read.labels[targets].all() and not read.labels[others].any()


def test_rate():
    assert (
        SpeakerErrors("a", 1, 4, 1, 2).rate == 0.375
        and SpeakerErrors("a", 0, 0, 1, 2).rate == 0.5
        and SpeakerErrors("a", 1, 4, 0, 0).rate == 0.25
    )


# ---------------------------------------------------------------------- the command
def make(folder):
    draw = np.random.default_rng(0)
    names = [f"s{i}" for i in range(12)]
    pairs = [(a, a) for a in names for _ in range(5)] + [
        tuple(draw.choice(names, 2, replace=False)) for _ in range(300)
    ]
    Path(folder, "s.txt").write_text(
        "".join(
            f"{int(a == b)} {a}/{i} {b}/x{i} {draw.standard_normal() + 2 * (a == b):.5f}\n"
            for i, (a, b) in enumerate(pairs)
        )
    )
    Path(folder, "t.csv").write_text(
        "id,gender,age\n"
        + "".join(f"{name},{'fm'[i % 2]},{20 + i}\n" for i, name in enumerate(names))
    )


def test_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make(tmp_path)
    words = "s.txt --by gender AGE --table t.csv --bins 25 --worst 2 --bootstrap 20 --det det.png --p_target 0.05"
    assert tuneThreshold.main(words.split()) == 0
    out = capsys.readouterr().out
    read = read_scores("s.txt")
    gender = {f"s{i}": "fm"[i % 2] for i in range(12)}
    used = np.array(
        [all(gender[word.split("/")[0]] == "f" for word in line.split()[1:]) for line in read.lines]
    )
    known, part = summarize(read.scores[used], read.labels[used]), select_trials(read, used)
    (row,), crossed = (
        re.findall(r"^f  .*", out, re.M),
        re.findall(r"^f / m  .*", out, re.M)[0].split(),
    )
    assert (
        row.split()[1:3] == ["30", str(used.sum() - 30)]
        and f"{known.eer:.2f} %  [" in row
        and f"{known.min_dcf:.4f}  [" in row
    )
    assert len(part.lines) == used.sum() and crossed[3] == "0" and crossed[-2:] == ["-", "-"]
    assert re.search(r"^below 25 .*\nfrom 25 ", out, re.M)
    threshold = eer(*error_rates(read.scores, read.labels))[1]
    worst = errors_of_speakers(read, speakers_of(read)(), threshold)[:2]
    assert all(
        re.search(rf"^{e.speaker} +{e.misses} +{e.targets} .* {e.accepts} +{e.others} ", out, re.M)
        for e in worst
    )
    targets, others = hardest_trials(read, 2)
    assert all(f"{read.scores[i]:10.5g}  {read.lines[i]}" in out for i in (*targets, *others))
    assert "attack" not in out and out.count("0 s") >= 2


@pytest.mark.parametrize(
    "words, message",
    [
        ("--by gender", "--by gender: want --table FILE with this column$"),
        ("--by duration", "want --table FILE with this column, or --path DIR"),
        # of lines 1|0 nothing is known of attacks
        ("--by attack", "--by attack: want --table"),
        ("--by colour --table t.csv", "t.csv: want a column colour, got gender, age"),
        (
            "--by b --table short",
            "short: want all speakers of the trials in the first column, or all files; 11 of 12 speakers are missing, the first s1",
        ),
        ("--by b --table ragged", r"ragged:3: want 2 columns \(a, b\), got 3: 's1 2 3'"),
        ("--by b --table twice", "twice:3: want one line for s1, got another"),
        ("--by b --table none", "No such file"),
        ("--by b --table empty", "empty: empty: want lines"),
        ("--worst 0", "--worst: want 1 or more, got 0"),
        ("--by b --table short --bins nan", "--bins: want numbers"),
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
    assert (
        err.startswith("error: ")
        and re.search(message, err, re.M)
        and err.count("\n") == 1
        and not list(tmp_path.glob("*.png"))
    )


def test_slices_with_few_speakers_have_no_interval(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make(tmp_path)
    Path("t").write_text(
        "id group\n" + "".join(f"s{i} {'few' if i < 2 else 'many'}\n" for i in range(12))
    )
    assert (
        tuneThreshold.main(
            ["s.txt", "--by", "group", "--table", "t", "--bootstrap", "30", "--det", "det.png"]
        )
        == 0
    )
    out = capsys.readouterr().out
    few, many = (re.findall(rf"^{name}  .*", out, re.M)[0] for name in ("few", "many"))
    assert "[" not in few and "%" in few and "[" in many
