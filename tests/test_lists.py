"""Lists as people have them: from pipes, with commas and headers, in other orders, with slips."""

import contextlib
import itertools
import os
import re

import numpy as np
import pytest
from conftest import small_run
from hypothesis import given, settings
from hypothesis import strategies as st

import dataprep
import tuneThreshold
from common import doubtful_trials
from common.errors import InputError
from corpus.embeddings import read_examples
from corpus.enrolment import read_enrolment_lists
from corpus.file_lists import read_cohort, read_file_list, read_speakers, read_utterances
from corpus.lists import Trials, read_train_list, read_trials
from corpus.raw_lists import read_raw_list
from corpus.rows import first_line_of
from corpus.trial_checks import warn_about_trials
from metrics.scores import read_scores
from prep.kaldi import read_kaldi_table


# ---------------------------------------------------------------------- pipes
@contextlib.contextmanager
def pipe(lines):
    """A path like the one that a shell makes of <(command). lines: fewer than 64 KB."""
    readable, writable = os.pipe()
    os.write(writable, "".join(f"{line}\n" for line in lines).encode())
    os.close(writable)
    yield f"/dev/fd/{readable}"
    os.close(readable)


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda path: [*zip(*read_train_list(path), strict=True)][1], id="train"),
        pytest.param(lambda path: read_raw_list(path, "").files(), id="check"),
        pytest.param(read_utterances, id="all pairs"),
        pytest.param(read_speakers, id="pack"),
        pytest.param(lambda path: itertools.chain(*read_cohort(path)), id="cohort"),
    ],
)
def test_a_list_from_a_pipe_is_complete(read):
    names = [f"{i}.wav" for i in range(300)]
    with pipe(f"s{i % 12} {name}" for i, name in enumerate(names)) as path:
        # Other readers have looked at the list before.
        assert first_line_of(path) == "s0 0.wav"
        assert [*read(path)] == names


def test_all_speakers_of_a_list_from_a_pipe_are_trained(corpus, tmp_path, program):
    lines = (corpus / "train_list.txt").read_text().splitlines()
    with pipe(lines) as path:
        words = small_run(corpus, tmp_path, "--train_list", path, "--max_steps", 1)
        code, out, _ = program(*words)
    assert code == 0
    assert "8 speakers, 48 utterances" in out


def test_several_processes_cannot_share_a_pipe(corpus, tmp_path, program):
    with pipe(["s 1.wav"]) as path:
        words = small_run(corpus, tmp_path, "--train_list", path, "--nproc", 2)
        code, _, err = program(*words)
    assert code == 2
    assert "--train_list: expected a file, because every process" in err
    assert path in err


# ---------------------------------------------------------------------- trials in other orders
def written(folder, *lines, name="list.txt"):
    """Write a list and return its path."""
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


# What all lists of the next test mean.
PAIRS = [("a/1.wav", "b/2.wav", True), ("a/1.wav", "c/3.wav", False), ("b/2.wav", "a/1.wav", True)]
ORDERS = {
    "1|0 file file": lambda a, b, same: [str(int(same)), a, b],
    "file file 1|0": lambda a, b, same: [a, b, str(int(same))],
    "target|nontarget file file": lambda a, b, same: ["target" if same else "nontarget", a, b],
    "file file target|nontarget": lambda a, b, same: [a, b, "target" if same else "nontarget"],
}


@pytest.mark.parametrize("header", [[], [["first", "second", "third"]]])
@pytest.mark.parametrize("separator", [" ", "\t", ",", ", "])
@pytest.mark.parametrize("order", ORDERS)
def test_plain_trials_in_any_order(order, separator, header, tmp_path):
    rows = [ORDERS[order](*pair) for pair in PAIRS]
    # Only comma-separated values can have a header.
    if "," in separator:
        rows = [*header, *rows]
    trials = read_trials(written(tmp_path, *map(separator.join, rows)))
    lines = [f"{int(same)} {a} {b}" for a, b, same in PAIRS]
    assert [" ".join(line.split()) for line in trials.lines] == lines
    assert trials.label.tolist() == [same for _, _, same in PAIRS]
    models = [trials.models[i] for i in trials.enrol]
    assert models == [(a,) for a, _, _ in PAIRS]
    assert [trials.files[i] for i in trials.test] == [b for _, b, _ in PAIRS]
    assert trials.kinds is None


@pytest.mark.parametrize(
    "lines, columns",
    [
        (["enrol,test", "a/1.wav,b/2.wav", "c/3.wav,b/2.wav"], ["a/1.wav", "c/3.wav"]),
        # Names without folder and extension do not differ from names of columns.
        (["a,b", "c,b"], ["a", "c"]),
        (["a.wav,b.wav", "c.wav,b.wav"], ["a.wav", "c.wav"]),
    ],
)
def test_unlabelled_table(lines, columns, tmp_path):
    trials = read_trials(written(tmp_path, *lines))
    assert [model for (model,) in trials.models] == columns
    assert trials.lines == [line.replace(",", " ") for line in lines if "enrol" not in line]


def test_train_list_with_a_header(tmp_path):
    path = written(tmp_path, "speaker,file", "s1,a/1.wav", "s2,a/2.wav")
    assert [u.speaker for u in read_train_list(path)] == ["s1", "s2"]
    assert read_utterances(path) == {"a/1.wav": "s1", "a/2.wav": "s2"}


def test_a_table_of_trials_gives_a_scores_file(corpus, checkpoint, tmp_path, program):
    """tuneThreshold.py can read the scores, and they do not depend on the format of the list."""
    trials = (corpus / "trials.txt").read_text().splitlines()
    lists = {"plain.txt": trials, "table.csv": ["label,enrol,test"], "kaldi": []}
    for line in trials:
        label, a, b = line.split()
        lists["table.csv"].append(f"{label},{a},{b}")
        lists["kaldi"].append(f"{a} {b} {'target' if label == '1' else 'nontarget'}")
    scores = set()
    for name, lines in lists.items():
        words = ["--test_list", written(tmp_path, *lines, name=name), "--test_path", corpus / "wav"]
        output = tmp_path / f"{name}.scores"
        words += ["--initial_model", checkpoint, "--output", output, "--device", "cpu"]
        code, out, _ = program("--eval", *words)
        assert code == 0
        assert "minDCF" in out and "SASV" not in out
        scores.add(output.read_text())
    assert len(scores) == 1
    read = read_scores(output)
    assert read.lines == trials
    assert read.labels.sum() == 30


def test_names_with_blanks_have_no_scores_file(tmp_path):
    path = written(tmp_path, "1,a.wav,b.wav", "0,a.wav,my b.wav")
    with pytest.raises(InputError, match="expected files without blanks .* found 'my b.wav'"):
        read_trials(path)


def test_trials_of_speakers(tmp_path):
    """Without spoofed speech they are plain trials of several enrolment files."""
    enrolment = str(written(tmp_path, "s1 x.wav,z.wav", "s2 y.wav", name="enrol.txt"))
    path = written(tmp_path, "s1 a.wav target", "s2 a.wav nontarget")
    trials = read_trials(path, [enrolment])
    assert trials.kinds is None and trials.label.tolist() == [True, False]
    assert list(trials.lines) == ["1 s1 a.wav", "0 s2 a.wav"]
    assert [trials.models[i] for i in trials.enrol] == [("x.wav", "z.wav"), ("y.wav",)]
    with pytest.raises(InputError, match="expected enrolment files for 3 speakers"):
        read_trials(written(tmp_path, "s1 a target", "s2 a nontarget", "s3 a target"), [enrolment])
    path = written(tmp_path, "s1 a.wav target", "s2 a.wav nontarget", "s1 b.wav spoof")
    assert read_trials(path, [enrolment]).kinds.tolist() == ["target", "nontarget", "spoof"]
    path = written(tmp_path, "x.wav a.wav target", "y.wav a.wav nontarget", "x.wav b.wav spoof")
    assert read_trials(path).kinds.tolist() == ["target", "nontarget", "spoof"]


def test_utterances_of_kaldi_without_a_folder(tmp_path, caplog):
    """Their names look like speakers, which have enrolment lists."""
    path = written(tmp_path, "id1-abc id2-def target", "id1-abc id3-ghi nontarget")
    trials = read_trials(path)
    assert trials.kinds is None and trials.label.tolist() == [True, False]
    assert trials.paths() == ["id1-abc", "id2-def", "id3-ghi"]
    assert trials.lines == ["1 id1-abc id2-def", "0 id1-abc id3-ghi"]
    assert caplog.messages == [
        f"warning: {path}: both names of a trial are read as files, because no enrolment list was "
        "found. If the first name is a speaker, add --enroll_list LIST."
    ]
    path = written(tmp_path, "id1-abc id2-def target", "id1-abc id3-ghi spoof")
    with pytest.raises(InputError, match="expected enrolment files for 1 speakers"):
        read_trials(path)


@pytest.mark.parametrize("names", [("a.wav", "b.wav", "c.wav"), ("id1-a", "id1-b", "id2-c")])
def test_files_of_the_trials_of_kaldi(names, tmp_path):
    a, b, c = names
    path = written(tmp_path, f"{a} {b} target", f"{a} {c} nontarget")
    assert read_file_list(path) == [a, b, c]
    assert read_speakers(path) == dict.fromkeys(names, "")


# ---------------------------------------------------------------------- blank lines
def test_blank_lines_are_skipped_with_a_note(tmp_path, caplog):
    caplog.set_level("INFO")
    path = written(tmp_path, "", "s1 a.wav", "  ", "", "s2 b.wav", "s1 c.wav", "")
    assert [u.path for u in read_train_list(path)] == ["a.wav", "b.wav", "c.wav"]
    read_train_list(path)
    assert caplog.messages == [f"{path}: skipped 3 blank lines."]
    assert first_line_of(path) == "s1 a.wav"


@pytest.mark.parametrize(
    "read, lines, message",
    [
        (read_train_list, ["s a.wav", "", "s b.wav", "word"], ":4: expected .*, found 'word'"),
        (read_train_list, ["s a.wav", "", "s a.wav"], ":3: .* is also in line 1 "),
        (read_train_list, ["speaker,file", "", "s,a.wav", "", "s"], ":5: expected .*, found 's'"),
        (read_trials, ["1 a b", "", "0 a b", "0 a"], ":4: expected .*, found '0 a'"),
        (read_trials, ["a b 1", "", "a b 0", "a b c"], ":4: expected .*, found 'a b c'"),
        (read_examples, ["s a.npy", "", "s a.npy"], ":3: .* is also in line 1"),
        (lambda p: read_enrolment_lists([p]), ["s a", "", "s b"], ":3: .* has an earlier line"),
        (read_kaldi_table, ["u a", "", "u b"], ":3: "),
    ],
)
def test_errors_name_the_line_of_the_file(read, lines, message, tmp_path):
    with pytest.raises(InputError, match=f"list.txt{message}"):
        read(written(tmp_path, *lines))


# ---------------------------------------------------------------------- contradictory trials
DOUBTFUL = ["1 a b", "0 b a", "1 a c", "1 a c", "1 a c", "0 c c", "1 c d", "0 d e", "1 d c"]
WARNING = (
    "pairs of files that are target and non-target: 1 (first '1 a b'); repeated trials: 2 (first "
    "'1 a c'); trials of a file against itself: 1 (first '0 c c'). Such trials distort the EER. "
    "Correct or remove them."
)


def test_doubtful_trials_are_counted(tmp_path, caplog):
    path = written(tmp_path, *DOUBTFUL)
    warn_about_trials(path, read_trials(path))
    assert caplog.messages == [f"warning: {path}: {WARNING}"]


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.sampled_from("abcd")] * 2, st.booleans()), min_size=1, max_size=12))
def test_numbers_of_doubtful_trials(trials):
    """Against loops over the trials."""
    labels = {}
    for a, b, same in trials:
        labels.setdefault(frozenset((a, b)), set()).add(same)
    earlier = set()
    repeated = 0
    for trial in trials:
        repeated += trial in earlier
        earlier.add(trial)
    expected = [
        sum(len(found) == 2 for found in labels.values()),
        repeated,
        sum(a == b for a, b, _ in trials),
    ]
    label = np.array([same for _, _, same in trials])
    built = Trials.of_pairs([(a, b) for a, b, _ in trials], label=label)
    records = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doubtful_trials.log, "warning", lambda *words: records.append(words[2]))
        warn_about_trials("list", built)
    found = [int(n) for n in re.findall(r": (\d+) \(first", "".join(records))]
    assert found == [number for number in expected if number]


def test_sound_trials_give_no_warning(tmp_path, caplog):
    path = written(tmp_path, "1 a b", "0 a c", "1 c d", "1 b a")
    warn_about_trials(path, read_trials(path))
    enrolment = str(written(tmp_path, "s1 a,b", "s2 a", name="enrol.txt"))
    path = written(tmp_path, "s1 a target", "s2 c nontarget", "s1 c nontarget", "s2 d spoof")
    warn_about_trials(path, read_trials(path, [enrolment]))
    path = written(tmp_path, "a b", "b c")
    warn_about_trials(path, read_trials(path))
    assert not caplog.messages


def test_programs_warn_of_doubtful_trials(corpus, checkpoint, tmp_path, program, capsys):
    files = sorted(str(p.relative_to(corpus / "wav")) for p in corpus.glob("wav/**/*.wav"))
    names = dict(zip("abcde", files[::5], strict=False))
    lines = []
    for line in DOUBTFUL:
        lines.append(" ".join(names.get(word, word) for word in line.split()))
    path = written(tmp_path, *lines)
    words = ["--test_list", path, "--test_path", corpus / "wav", "--initial_model", checkpoint]
    code, out, _ = program("--eval", *words, "--output", tmp_path / "s.txt", "--device", "cpu")
    assert code == 0
    assert out.count(f"warning: {path}: pairs of files that are target and non-target: 1 ") == 1
    dataprep.main(["check", str(path), "--path", str(corpus / "wav"), "--output", str(tmp_path)])
    assert "; repeated trials: 2 (first " in capsys.readouterr().out
    assert tuneThreshold.main([str(tmp_path / "s.txt")]) == 0
    assert capsys.readouterr().out.count("; repeated trials: 2 (first ") == 1


@pytest.mark.parametrize(
    "line",
    [
        "{0} {1} {2} {3}",
        "{1} {2} {3} {0}",
        "{1} {2} {0} {3}",
        "{1} {2} {3} {kind}",
        "{1} {2} {kind} {3}",
    ],
)
def test_scores_of_doubtful_trials_give_the_same_warning(line, tmp_path, caplog):
    """In every order of the words. The warning has the words in one order."""
    lines = []
    for number, (key, a, b) in enumerate(map(str.split, DOUBTFUL)):
        kind = "target" if key == "1" else "nontarget"
        lines.append(line.format(key, a, b, 0.5 * number, kind=kind))
    path = written(tmp_path, *lines)
    read_scores(path)
    assert caplog.messages == [f"warning: {path}: {WARNING}"]


@pytest.mark.parametrize("words", [("{score} {label}"), ("{label} {score}")])
def test_scores_that_look_like_labels(words, tmp_path):
    """A later line shows which column has the scores. Without such a line nothing does."""
    numbers = [(1, 1), (0, 1), (0.5, 0), (1, 1)]
    lines = [f"a{i} b " + words.format(score=s, label=k) for i, (s, k) in enumerate(numbers)]
    read = read_scores(written(tmp_path, *lines))
    assert read.scores.tolist() == [1, 0, 0.5, 1] and read.labels.tolist() == [1, 1, 0, 1]
    with pytest.raises(ValueError, match="found only 0 and 1 in both of the last two columns"):
        read_scores(written(tmp_path, lines[0], lines[1]))


def test_scores_of_single_files_and_of_claims_have_no_doubtful_trials(tmp_path, caplog):
    read_scores(written(tmp_path, "a - bonafide 1.5", "b A01 spoof 0.5", "b A01 spoof 0.5"))
    read_scores(written(tmp_path, "s a bonafide target 1.5", "s b A01 spoof 0.5"))
    assert not caplog.messages


# ---------------------------------------------------------------------- formats with slips
@pytest.mark.parametrize(
    "lines",
    [
        ["w/1 0 None", "w/2 10 None", "w/3 0"],
        ["w/1 0", "w/2 10 None", "w/3 0 -1"],
        ["w/1 0", "w/2 10", "w/3 0"],
    ],
)
def test_labels_without_a_third_column(lines, tmp_path):
    path = written(tmp_path, *lines)
    expected = [("00", "w/1"), ("10", "w/2"), ("00", "w/3")]
    assert [(u.speaker, u.path) for u in read_train_list(path)] == expected
    assert read_raw_list(path, "").files() == ["w/1", "w/2", "w/3"]
    assert [*read_speakers(path)] == ["w/1", "w/2", "w/3"]


def test_a_speaker_with_a_number_stays_a_speaker(tmp_path):
    path = written(tmp_path, "7 12", "8 13")
    assert [u.speaker for u in read_train_list(path)] == ["7", "8"]


@pytest.mark.parametrize("lines", [["a/1.wav s1", "a/2.wav s1"], ["u1 s1", "u2 s2", "u3 s1"]])
def test_swapped_columns_are_named(lines, tmp_path):
    message = f"found '<file> <speaker>', first '{lines[0]}': {len(lines)} different words"
    with pytest.raises(InputError, match=message):
        read_train_list(written(tmp_path, *lines))


def test_check_does_not_take_swapped_columns_for_trials(tmp_path):
    path = written(tmp_path, "a/1.wav s1", "a/2.wav s1", "b/1.wav s2")
    with pytest.raises(InputError, match="found '<file> <speaker>', first 'a/1.wav s1': no word"):
        read_raw_list(path, "")
    for line in ("a/1.wav b/1", "a.wav b.wav"):
        assert read_raw_list(written(tmp_path, line), "").owners is None


TRACK_2 = ["s1 E_1 F bonafide target", "s1 E_2 M - nontarget", "s2 E_1 F A01 spoof"]


@pytest.mark.parametrize("lines", [TRACK_2, TRACK_2[::-1]])
def test_track_2_of_asvspoof5(lines, tmp_path):
    """A line of spoofed speech looks like a line of a train list of ASVspoof 2019."""
    written(tmp_path, "s1 A_1,A_2", "s2 A_3", name="d.trn.txt")
    path = written(tmp_path, *lines, name="d.trl.txt")
    trials = read_trials(path)
    kinds = [line.split()[-1] for line in lines]
    assert trials.kinds.tolist() == kinds
    attacks = {"target": "bonafide", "nontarget": "-", "spoof": "A01"}
    assert trials.attacks.tolist() == [attacks[kind] for kind in kinds]
    assert read_raw_list(path, "").owners is None
    assert {*read_speakers(path)} == {"A_1", "A_2", "A_3", "E_1", "E_2"}


# ---------------------------------------------------------------------- scores in other orders
SCORE_ORDERS = {
    "label enrol test score": lambda a, b, same, s: [str(int(same)), a, b, s],
    "enrol test label score": lambda a, b, same, s: [a, b, str(int(same)), s],
    "enrol test score label": lambda a, b, same, s: [a, b, s, str(int(same))],
    "enrol test score key": lambda a, b, same, s: [a, b, s, "target" if same else "nontarget"],
    "enrol test key score": lambda a, b, same, s: [a, b, "target" if same else "nontarget", s],
}


@pytest.mark.parametrize("order", SCORE_ORDERS)
def test_scores_in_any_order(order, tmp_path, capsys):
    lines = []
    for (a, b, same), score in zip(PAIRS, ("0.5", "-1.5", "2"), strict=True):
        lines.append(" ".join(SCORE_ORDERS[order](a, b, same, score)))
    path = written(tmp_path, *lines, name="s.txt")
    read = read_scores(path)
    assert read.lines == [f"{int(same)} {a} {b}" for a, b, same in PAIRS]
    assert read.scores.tolist() == [0.5, -1.5, 2]
    assert read.labels.tolist() == [True, False, True]
    assert read.kinds is None
    assert tuneThreshold.main([str(path), "--det", str(tmp_path / "d.png")]) == 0
    out = capsys.readouterr().out
    assert "minDCF" in out and "SASV" not in out


def test_spoofed_scores_before_the_key(tmp_path):
    path = written(tmp_path, "s a 0.5 target", "s b 0.1 spoof", "s c 0 nontarget", name="s.txt")
    read = read_scores(path)
    assert read.kinds.tolist() == ["target", "spoof", "nontarget"]
    assert read.lines == ["s a target", "s b spoof", "s c nontarget"]
