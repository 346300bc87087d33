"""--verify with a countermeasure: both scores, the fused one, and the decision with its reason."""

import json

import numpy as np
import pytest
from test_losses import loss_function

import tuneThreshold
from common.trial_kinds import TRIAL_KINDS
from inference.fused_verification import FusedScores, fused_rows
from metrics.sasv_fusion import load_fusion
from metrics.scores import read_scores
from network.checkpoints import read_checkpoint, write_checkpoint
from options.plugins import options_of


@pytest.fixture(scope="module")
def countermeasure(checkpoint, tmp_path_factory):
    """The network of the checkpoint with a head against spoofing of random weights."""
    path = tmp_path_factory.mktemp("cm") / "cm.model"
    state = read_checkpoint(checkpoint)
    defaults = {option.name: option.default for option in options_of("trainfunc", "cm_softmax")}
    state["options"] = state["options"] | defaults | {"trainfunc": "cm_softmax"}
    state["loss"] = loss_function("cm_softmax", dim=32).state_dict()
    state["classes"] = {"bonafide": 0, "spoof": 1}
    write_checkpoint(state, path)
    return path


@pytest.fixture(scope="module")
def fusion(tmp_path_factory):
    """The file of a fusion of random scores."""
    folder = tmp_path_factory.mktemp("fusion")
    draw = np.random.default_rng(0)
    kinds = np.repeat(TRIAL_KINDS, 40)
    scores = draw.normal(0.3 + 0.4 * (kinds == "target"), 0.3)
    cm = draw.normal(0.5 - 1.0 * (kinds == "spoof"), 0.5)
    lines = [f"s{i % 6} f{i} {kind}" for i, kind in enumerate(kinds)]
    for name, values in (("dev", scores), ("cm", cm)):
        text = "".join(f"{line} {value}\n" for line, value in zip(lines, values, strict=True))
        (folder / f"{name}.txt").write_text(text)
    words = ["fuse", folder / "dev.txt", "--cm", folder / "cm.txt"]
    words += ["--output", folder / "fusion.json"]
    assert tuneThreshold.main([str(word) for word in words]) == 0
    return folder / "fusion.json"


@pytest.fixture
def words(corpus, checkpoint):
    """The words of --verify for the first pair of the trials, and the pair."""
    _, first, second = (corpus / "trials.txt").read_text().split("\n")[0].split()
    use = ["--test_path", corpus / "wav", "--device", "cpu", "--nDataLoaderThread", 0]
    return ["--verify", first, second, "--initial_model", checkpoint, *use]


def printed_rows(out):
    """Returns {name of a line: its text}."""
    return dict(line.split(maxsplit=1) for line in out.splitlines() if " " in line)


def test_both_parts_and_the_decision(words, corpus, countermeasure, fusion, program, tmp_path):
    """The parts are the scores of --verify and --eval alone, and the fusion is the one of apply."""
    code, out, err = program(*words, "--cm_model", countermeasure, "--fusion_file", fusion)
    assert (code, err) == (0, "")
    rows = printed_rows(out)
    speaker = printed_rows(program(*words)[1])["Score"]
    assert rows["Speaker"].startswith(speaker)

    trials = tmp_path / "trials.txt"
    trials.write_text(f"1 {words[1]} {words[2]}\n0 {words[2]} {words[1]}\n")
    evaluation = ["--eval", "--initial_model", countermeasure, *words[5:], "--output"]
    assert program(*evaluation, tmp_path / "cm.txt", "--test_list", trials)[0] == 0
    genuine, other = read_scores(tmp_path / "cm.txt").scores
    assert float(rows["Genuine"].split()[0]) == pytest.approx(genuine, rel=1e-4)
    assert abs(genuine - other) > 1e-3 * abs(genuine)

    made = load_fusion(fusion)
    fused = made.llrs([float(speaker)], [genuine])[0]
    assert float(rows["Score"].split(",")[0]) == pytest.approx(fused, rel=1e-3)
    assert float(rows["Threshold"]) == pytest.approx(made.threshold, rel=1e-4)
    accepted = rows["Decision"].startswith("same speaker: ")
    assert accepted == (fused >= made.threshold)
    assert accepted or rows["Decision"].startswith("rejected: ")


@pytest.mark.parametrize(
    "parts, fused, reason",
    [
        ((0.5, 2.0), 1, "same speaker: the speaker matches and the speech looks genuine"),
        ((0.5, 0.9), -1, "rejected: the speaker matches, the speech looks synthetic"),
        ((0.4, 2.0), -1, "rejected: another speaker"),
        ((0.4, 0.9), -1, "rejected: another speaker, and the speech looks synthetic"),
    ],
)
def test_the_reasons(parts, fused, reason, fusion):
    """The thresholds of the parts are 0.45 and 1. A score at its threshold suffices."""
    made = load_fusion(fusion)._replace(speaker_threshold=0.45, cm_threshold=1.0)
    scores = FusedScores(*parts, fused, 0.0)
    assert dict(fused_rows(scores, made))["Decision"] == reason
    at = FusedScores(0.45, 1.0, 0.0, 0.0)
    expected = "same speaker: the speaker matches and the speech looks genuine"
    assert dict(fused_rows(at, made))["Decision"] == expected


def test_the_fused_score_decides(fusion):
    """A part that alone does not suffice is named, and the decision follows the fused score."""
    made = load_fusion(fusion)._replace(speaker_threshold=0.45, cm_threshold=1.0)
    for parts in ((0.5, 2.0), (0.5, 0.9), (0.4, 2.0), (0.4, 0.9)):
        for fused in (1.0, -1.0):
            decision = dict(fused_rows(FusedScores(*parts, fused, 0.0), made))["Decision"]
            assert decision.startswith("same speaker" if fused > 0 else "rejected")


@pytest.mark.slow
def test_a_threshold_of_the_user(words, countermeasure, fusion, program):
    more = ["--cm_model", countermeasure, "--fusion_file", fusion, "--threshold"]
    assert "Decision    same speaker" in program(*words, *more, -1000)[1]
    assert "Decision    rejected" in program(*words, *more, 1000)[1]


def test_wrong_combinations(words, checkpoint, countermeasure, fusion, program, tmp_path):
    """They are refused before a network is loaded."""
    spoiled = tmp_path / "spoiled.json"
    spoiled.write_text(json.dumps({"fusion": "linear"}))
    both = ["--cm_model", countermeasure, "--fusion_file", fusion]
    for more, message in (
        (both[:2], "--cm_model, --fusion_file: expected both"),
        (both[2:], "found only --fusion_file"),
        ([*both, "--calibration", fusion], "--calibration: expected no calibration with"),
        (["--cm_model", checkpoint, *both[2:]], "expected a network that detects"),
        (
            ["--cm_model", "none.model", *both[2:]],
            "--cm_model none.model: there is no such checkpoint",
        ),
        ([*both[:2], "--fusion_file", spoiled], "spoiled.json: expected a fusion that"),
    ):
        code, _, err = program(*words, *more)
        assert code == 2 and err.startswith("error: ") and message in err, err
    swapped = [countermeasure if word == checkpoint else word for word in words]
    code, _, err = program(*swapped, *both)
    assert code == 2 and "--verify compares speakers, but --trainfunc cm_softmax" in err


def test_without_verify_they_have_no_effect(words, fusion, program):
    extract = ["--extract", words[1], *words[3:], "--fusion_file", fusion]
    _, out, err = program(*extract)
    assert "warning: --fusion_file has no effect without --verify." in out + err
