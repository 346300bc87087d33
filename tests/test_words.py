"""Words for unusual results: scores that are distances, infinite thresholds."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import small_run

import tuneThreshold
from inference.verification import PairScore, decide, rows_of
from metrics import direction
from metrics.direction import OF_SCORES, warn_of_direction
from metrics.rates import summarize
from metrics.sasv import summarize_sasv
from network.checkpoints import read_checkpoint, write_checkpoint

LOWER = "targets score lower than non-targets"


def scores_file(path, sign):
    """20 trials whose targets are far above (sign 1) or below (-1) the non-targets."""
    lines = []
    for number in range(20):
        is_target = number % 2
        score = sign * is_target + number / 100
        lines.append(f"{is_target} a/{number}.wav b/1.wav {score:.3f}\n")
    path.write_text("".join(lines))
    return path


# ---------------------------------------------------------------------- distances
@pytest.mark.parametrize("sign", [1, -1])
def test_scores_that_are_distances(sign, tmp_path, capsys):
    path = scores_file(tmp_path / "s.txt", sign)
    assert tuneThreshold.main([str(path)]) == 0
    captured = capsys.readouterr()
    text = captured.out + captured.err
    line = f"warning: {path}: {LOWER} (EER 100.00 %). Are these distances? Then change the sign"
    assert (line in text) == (sign < 0) and (LOWER in text) == (sign < 0)


def test_equal_scores_have_no_direction(caplog):
    labels = np.arange(8) % 2
    summary = summarize(np.ones(8), labels, definition="corner")
    assert summary.eer == 100
    warn_of_direction("s.txt", summary, OF_SCORES)
    assert caplog.messages == []


def test_spoofs_may_score_higher(caplog):
    kinds = np.array(["target", "nontarget", "spoof"] * 4)
    attacks = np.where(kinds == "spoof", "A01", "bonafide")
    rank = {"target": 1.0, "nontarget": 0.0, "spoof": 2.0}
    scores = np.array([rank[kind] for kind in kinds])
    warn_of_direction("s.txt", summarize_sasv(scores, kinds, attacks), OF_SCORES)
    assert caplog.messages == []
    warn_of_direction("s.txt", summarize_sasv(-scores, kinds, attacks), OF_SCORES)
    assert "(EER 100.00 %)" in caplog.messages[0]


def swapped(corpus, folder):
    """The trials of the corpus with wrong labels."""
    lines = (corpus / "trials.txt").read_text().splitlines()
    path = folder / "swapped.txt"
    path.write_text("".join(f"{1 - int(line[0])}{line[1:]}\n" for line in lines))
    return path


def test_chance_has_no_direction(caplog):
    """Of 100 trials each, an EER of 55 % is chance, and of 10,000 each it is not."""
    for trials, messages in ((100, 0), (10_000, 1)):
        above = np.arange(trials) % 100 < 55
        scores = np.concatenate([np.where(above, -1.0, 1.0), np.where(above, 1.0, -1.0)])
        labels = np.repeat([1, 0], trials)
        caplog.clear()
        warn_of_direction("s.txt", summarize(scores, labels), OF_SCORES)
        assert len(caplog.messages) == messages


def test_eval_and_training_say_it(corpus, checkpoint, tmp_path, program, monkeypatch):
    """A network is good or bad on this corpus, so that one of the two lists has an EER > 50 %."""
    monkeypatch.setattr(direction, "DEVIATIONS", 0)
    found = []
    for number, trials in enumerate((corpus / "trials.txt", swapped(corpus, tmp_path))):
        words = ["--eval", "--initial_model", checkpoint, "--test_list", trials]
        output = ["--save_path", tmp_path / str(number)]
        _, out, _ = program(*words, "--test_path", corpus / "wav", *output)
        eer = float(re.search(r"EER +([\d.]+) %", out)[1])
        found.append((eer > 50, LOWER in out))
    assert sorted(found) == [(False, False), (True, True)]
    trials = swapped(corpus, tmp_path) if found[1][0] else corpus / "trials.txt"
    words = ["--test_list", trials, "--initial_model", checkpoint, "--lr", 1e-9]
    _, out, _ = program(*small_run(corpus, tmp_path / "run", *words, "--max_epoch", 1))
    assert f"scores.txt: {LOWER}" in out and "Check the labels" in out


# ---------------------------------------------------------------------- thresholds
def test_a_threshold_that_rejects_all_is_above_the_scores(tmp_path, capsys):
    path = scores_file(tmp_path / "s.txt", -1)
    report = tmp_path / "report.html"
    assert tuneThreshold.main(["report", str(path), "--output", str(report)]) == 0
    assert tuneThreshold.main([str(path)]) == 0
    out = capsys.readouterr().out
    assert "at threshold > 0.18" in out
    for text in (out, report.read_text()):
        assert not re.search(r"\binf\b|∞", text)
    assert "> 0.18" in report.read_text().replace("&gt;", ">")


def test_verify_without_a_useful_threshold():
    score = PairScore(0.7)
    decision = decide(score, SimpleNamespace(threshold=None), {"threshold": np.inf})
    _, threshold, verdict = rows_of(score, decision, 0.5)
    assert threshold[1].startswith("none: in its last evaluation")
    assert "give --threshold" in verdict[1]


def test_an_infinite_threshold_is_not_exported(checkpoint, tmp_path, program, monkeypatch):
    state = read_checkpoint(checkpoint)
    state["result"] = {"threshold": float("inf"), "EER": 50.0}
    write_checkpoint(state, tmp_path / "x.model")
    found = {}

    def keep(_, facts):
        found.update(facts)
        raise ValueError("enough")

    monkeypatch.setattr("inference.actions.to_onnx", keep)
    monkeypatch.setattr("inference.actions.require_packages", lambda: None)
    program("--export", tmp_path / "x.onnx", "--initial_model", tmp_path / "x.model")
    assert found["EER"] == "50.0" and "threshold" not in found
