"""Curves of runs: what is read from a log, what is drawn, and the errors."""

import json
import re

import pytest

import tuneThreshold
from report.curves import curves_of, read_log

LINES = [
    {"epoch": 0, "step": 0, "EER": 40.0, "EER_2": 30.0},
    {"epoch": 1, "step": 5, "loss": 2.0, "lr": 0.1},
    {
        "epoch": 2,
        "step": 10,
        "loss": 1.0,
        "valid_loss": 1.5,
        "EER": 5.0,
        "EER_2": 4.0,
        "minDCF": 0.5,
    },
]


def make_run(folder, lines=LINES, end="\n"):
    """Write a run folder with these lines in log.jsonl. Returns the folder."""
    folder.mkdir()
    (folder / "log.jsonl").write_text("\n".join(map(json.dumps, lines)) + end)
    return folder


def test_curves_hold_what_the_log_holds():
    assert curves_of(LINES) == {
        "Loss": {"training": ((1, 2), (2.0, 1.0)), "validation": ((2,), (1.5,))},
        "EER (%)": {"EER": ((0, 2), (40.0, 5.0)), "EER 2": ((0, 2), (30.0, 4.0))},
    }
    assert curves_of([{"epoch": 1, "loss": 2.0}]) == {"Loss": {"training": ((1,), (2.0,))}}


def test_runs_are_drawn_over_each_other(tmp_path, capsys):
    runs = [make_run(tmp_path / "first"), make_run(tmp_path / "second", LINES[1:2])]
    assert tuneThreshold.main(["--plot", *map(str, runs)]) == 0
    drawn = (tmp_path / "first" / "curves.svg").read_text()
    for text in (
        ">first: training<",
        ">first: validation<",
        ">first: EER 2<",
        ">second: training<",
        "Epoch",
        "Loss",
        "EER (%)",
    ):
        assert text in drawn
    assert "second: EER" not in drawn
    assert (tmp_path / "first" / "curves.png").read_bytes()[1:4] == b"PNG"
    assert tuneThreshold.main(["--plot", *map(str, runs), "--curves", str(tmp_path / "both")]) == 0
    assert (tmp_path / "both.svg").read_text() == drawn
    assert (tmp_path / "both.png").exists()


def test_an_incomplete_last_line_is_left_out(tmp_path):
    assert read_log(make_run(tmp_path / "run", LINES, end="")) == LINES[:2]


@pytest.mark.parametrize(
    "text, message",
    [
        (None, r"log\.jsonl: there is no such file. Give the run folder"),
        ("", r"log\.jsonl: the log has no complete line yet"),
        (
            '{"epoch": 1}\nnonsense\n',
            r"log\.jsonl:2: expected the JSON line of an epoch.*'nonsense'",
        ),
        ("3\n", r"log\.jsonl:1: expected the JSON line of an epoch"),
        ('{"epoch": 1}\n', r"neither losses nor EERs"),
    ],
)
def test_errors_of_logs(text, message, tmp_path, capsys):
    if text is not None:
        (tmp_path / "log.jsonl").write_text(text)
    assert tuneThreshold.main(["--plot", str(tmp_path)]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_scores_file_is_no_run(tmp_path, capsys):
    run = make_run(tmp_path / "run")
    for words in (["scores.txt", "--plot", str(run)], ["plot", str(run), "scores.txt"]):
        assert tuneThreshold.main(words) == 2
        assert "scores.txt/log.jsonl: " in capsys.readouterr().err
    assert not (run / "curves.png").exists()
