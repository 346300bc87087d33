"""Tests of the sub-commands of tuneThreshold.py: help, older spellings, and errors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tuneThreshold
from metrics.command_options import COMMANDS, ScoresParser, translate_old_flags

ROOT = Path(__file__).parent.parent
TRIALS = "1 a/1 a/2 2\n1 b/1 b/2 1\n1 c/1 c/2 3\n0 a/1 b/2 0\n0 b/1 c/2 1.5\n0 c/1 a/2 1\n"
# Options that every sub-command of the first column must not accept.
FOREIGN = {
    "plot": ["--far", "--output", "--embeddings", "--bootstrap"],
    "report": ["--det", "--curves", "--quality", "--by"],
    "calibrate": ["--curves", "--cm", "--far", "--bootstrap"],
    "compare": ["--output", "--curves", "--quality"],
}


def help_of_command(words, columns="40"):
    """Returns the lines that the program prints for --help in a terminal of this width."""
    command = [sys.executable, "tuneThreshold.py", *words, "--help"]
    env = os.environ | {"COLUMNS": columns}
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=env)
    return run.stdout.splitlines()


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Writes scores files into a new working directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("s.txt", "t.txt", "compare"):
        Path(name).write_text(TRIALS)
    return tmp_path


def failed(capsys, *words):
    """Runs the program, which must end with code 2. Returns its message."""
    try:
        code = tuneThreshold.main(list(words))
    except SystemExit as exit:
        code = exit.code
    assert code == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


# ---------------------------------------------------------------------- help
@pytest.mark.parametrize("columns", ["40", "300"])
def test_help_of_the_program_is_short(columns):
    lines = help_of_command([], columns)
    assert len(lines) <= 80
    assert max(map(len, lines)) <= 100
    for name in ("compare", "calibrate", "fuse", "apply", "average", "plot", "report"):
        assert sum(line.startswith(f"  {name} ") for line in lines) == 1
    text = "\n".join(lines)
    for option in ("--far", "--p_target", "--cm", "--bootstrap", "--by", "--llr"):
        assert f"  {option}" in text
    for option in ("--output", "--curves", "--embeddings", "--effective_prior"):
        assert option not in text


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_sub_command(name):
    lines = help_of_command([name])
    assert len(lines) <= 50
    assert max(map(len, lines)) <= 100
    text = "\n".join(lines)
    assert f"python tuneThreshold.py {name} " in text.partition("examples:")[2]
    for option in FOREIGN.get(name, []):
        assert f"  {option} " not in text


# ---------------------------------------------------------------------- spellings
@pytest.mark.parametrize(
    "old, new",
    [
        ("--compare a b --seed 1", "compare a b --seed 1"),
        ("--bootstrap 9 --compare a b", "compare a b --bootstrap 9"),
        ("--far 0.1 0.2 --compare a b", "compare a b --far 0.1 0.2"),
        ("--calibrate a --output c", "calibrate a --output c"),
        ("--output c --fuse a b", "fuse a b --output c"),
        ("--apply c a b", "apply c a b"),
        ("--apply=c a", "apply c a"),
        ("a --apply c --output d", "apply c a --output d"),
        ("--plot x y --curves z", "plot x y --curves z"),
        ("--report x --embeddings y", "report x --embeddings y"),
        ("compare a b", "compare a b"),
        ("a b --det c", "a b --det c"),
        ("--plots x", "--plots x"),
        ("", ""),
    ],
)
def test_older_spellings(old, new):
    assert translate_old_flags(old.split()) == new.split()


def test_both_spellings_do_the_same(files, capsys):
    found = []
    for words in ("--compare s.txt t.txt", "compare s.txt t.txt"):
        assert tuneThreshold.main([*words.split(), "--bootstrap", "30"]) == 0
        found.append(capsys.readouterr().out)
    assert found[0] == found[1]
    assert "difference" in found[0]


def test_scores_file_named_like_a_sub_command(files, capsys):
    assert tuneThreshold.main(["./compare"]) == 0
    assert "6 trials" in capsys.readouterr().out
    assert "A, B: expected" in failed(capsys, "compare")


def test_words_in_any_order(files, capsys):
    assert tuneThreshold.main(["s.txt", "--det", "d.png", "t.txt"]) == 0
    out = capsys.readouterr().out
    assert out.index("s.txt") < out.index("t.txt")


def test_average(files, capsys):
    """The files have the trials in different orders. The first file decides on the order."""
    Path("t.txt").write_text(
        "0 c/1 a/2 -1\n1 a/1 a/2 0.5\n1 b/1 b/2 1\n1 c/1 c/2 4\n0 a/1 b/2 -2\n0 b/1 c/2 0.5\n"
    )
    assert tuneThreshold.main(["average", "s.txt", "t.txt", "--output", "m.txt"]) == 0
    lines = [line.rsplit(" ", 1) for line in Path("m.txt").read_text().splitlines()]
    assert [line for line, _ in lines] == [line.rsplit(" ", 1)[0] for line in TRIALS.splitlines()]
    assert [float(score) for _, score in lines] == [1.25, 1, 3.5, -1, 1, 0]
    out = capsys.readouterr().out
    assert "scores: m.txt" in out and "6 trials: 3 target, 3 non-target" in out
    for name in ("s.txt", "t.txt"):
        unlabelled = [line[2:] for line in Path(name).read_text().splitlines()]
        Path(f"un{name}").write_text("\n".join(unlabelled) + "\n")
    assert tuneThreshold.main(["average", "uns.txt", "unt.txt", "--output", "n.txt"]) == 0
    assert "The trials have no labels" in capsys.readouterr().out
    assert Path("n.txt").read_text().splitlines()[0].startswith("a/1 a/2 1.25")


def test_average_refuses(files, capsys):
    assert "expected several scores files, found one" in failed(
        capsys, "average", "s.txt", "--output", "m.txt"
    )
    Path("t.txt").write_text(TRIALS.replace("c/2", "d/2"))
    failed(capsys, "average", "s.txt", "t.txt", "--output", "m.txt")
    failed(capsys, "average", "s.txt", "compare", "--output", "s.txt")
    assert not Path("m.txt").exists() and Path("s.txt").read_text() == TRIALS


# ---------------------------------------------------------------------- errors
@pytest.mark.parametrize(
    "words, message",
    [
        ("compar s.txt t.txt", "Did you mean compare?"),
        ("reprot x", "Did you mean report?"),
        ("s.txt --bootstrp 9", "--bootstrp: the program without a sub-command has no such option."),
        ("s.txt --bootstrp 9", "Did you mean --bootstrap?"),
        ("plot x --curves", "--curves: expected one value, found none."),
        ("report s.txt --outptu x", "Did you mean --output?"),
        ("compare s.txt t.txt --curves x", "It belongs to plot."),
        ("plot x --cm y", "It belongs to the metrics of scores files."),
        ("compare s.txt t.txt u.txt", "u.txt: compare has no use for this word."),
        ("calibrate s.txt", "--output: expected a value, found none."),
        ("s.txt --far x", "--far: expected a number, found 'x'."),
        ("s.txt --worst 1.5", "--worst: expected a whole number, found '1.5'."),
        ("s.txt --eer corn", "--eer: expected one of interpolated, corner, grid, found 'corn'."),
        ("no/such.txt", "no/such.txt: there is no such file."),
    ],
)
def test_errors_of_words(words, message, files, capsys):
    assert message in failed(capsys, *words.split())


@pytest.mark.parametrize("name, options", FOREIGN.items())
def test_a_sub_command_has_only_options_that_it_reads(name, options, capsys):
    for option in options:
        with pytest.raises(SystemExit):
            ScoresParser(name).parse(["x", "y", "--output", "z", option, "1"])
        assert f"{name} has no such option" in capsys.readouterr().err


def test_calibrate_apply_and_report(files, capsys):
    assert tuneThreshold.main(["calibrate", "s.txt", "--output", "c.json"]) == 0
    assert tuneThreshold.main(["apply", "c.json", "t.txt", "--det", "d.png"]) == 0
    assert "actDCF" in capsys.readouterr().out
    assert Path("t_calibrated.txt").exists()
    assert tuneThreshold.main(["fuse", "s.txt", "t.txt", "--output", "f.json"]) == 0
    assert (
        tuneThreshold.main(
            ["apply", "f.json", "s.txt", "t.txt", "--output", "f.txt", "--det", "d.png"]
        )
        == 0
    )
    assert tuneThreshold.main(["report", "s.txt", "--output", "r.html"]) == 0
    assert Path("r.html").exists()
