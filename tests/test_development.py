"""Development trials of training speakers who are held out."""

import pytest

import dataprep
from corpus.lists import read_trials

PROTOCOL = """\
s1 bonafide/z.flac - - bonafide
s1 G01/z.flac - G01 spoof
s2 bonafide/a.flac - - bonafide
s2 bonafide/b.flac - - bonafide
s2 G01/a.flac - G01 spoof
s2 G01/b.flac - G01 spoof
s2 bonafide/c.flac - A01 spoof
s3 bonafide/d.flac - - bonafide
s3 G01/d.flac - G01 spoof
"""
# Every trial of s2 and s3, written by hand.
TRIALS = """\
s2-1 bonafide/b.flac bonafide target
s2-1 G01/b.flac G01 spoof
s2-1 bonafide/c.flac A01 spoof
s2-1 bonafide/d.flac bonafide nontarget
s2-2 bonafide/a.flac bonafide target
s2-2 G01/a.flac G01 spoof
s2-2 bonafide/c.flac A01 spoof
s2-2 bonafide/d.flac bonafide nontarget
s3-1 bonafide/a.flac bonafide nontarget
s3-1 bonafide/b.flac bonafide nontarget
"""
ENROLMENTS = """\
s2-1 bonafide/a.flac
s2-2 bonafide/b.flac
s3-1 bonafide/d.flac
"""


def hold_out(folder, text, count=2):
    path = folder / "cm.txt"
    path.write_text(text)
    return dataprep.main(["hold-out", str(path), "--speakers", str(count), "--output", str(folder)])


def test_lists(tmp_path):
    assert hold_out(tmp_path, PROTOCOL) == 0
    lines = PROTOCOL.splitlines(keepends=True)
    assert (tmp_path / "train.txt").read_text() == "".join(lines[:2])
    assert (tmp_path / "dev.txt").read_text() == "".join(lines[2:])
    assert (tmp_path / "dev.trl.txt").read_text() == TRIALS
    assert (tmp_path / "dev.trn.txt").read_text() == ENROLMENTS


def test_the_evaluation_finds_the_enrolments(tmp_path):
    hold_out(tmp_path, PROTOCOL)
    trials = read_trials(str(tmp_path / "dev.trl.txt"))
    assert len(trials.lines) == 10
    assert set(trials.paths()) == {f"bonafide/{name}.flac" for name in "abcd"} | {
        "G01/a.flac",
        "G01/b.flac",
    }


@pytest.mark.parametrize(
    "text, count, message",
    [
        (PROTOCOL, 3, "less than the 3 speakers"),
        (PROTOCOL, 1, "expected target trials of the 1 held-out speakers, found none"),
        (PROTOCOL.replace("s3", "s2"), 1, "nontarget trials"),
        ("s1 a\ns2 b\ns2 c\ns3 d\n", 2, "expected spoof trials"),
    ],
)
def test_lists_without_trials(text, count, message, tmp_path, capsys):
    assert hold_out(tmp_path, text, count) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "train.txt").exists()


def test_other_lists_are_not_replaced(tmp_path, capsys):
    assert hold_out(tmp_path, PROTOCOL) == 0
    assert hold_out(tmp_path, PROTOCOL.replace("s1", "s0")) == 2
    assert "exists already" in capsys.readouterr().err
