"""Evaluation of countermeasures: protocols of single files, their scores files, and their metrics.

pytest tests/test_countermeasures.py
"""

import argparse
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Tiny
from reference import golden
from test_losses import REFERENCE, loss_function

import trainSpeakerNet
import tuneThreshold
from common.errors import InputError
from corpus.lists import described_trials
from corpus.protocols import is_protocol, read_protocol
from inference.evaluation import score_trials
from inference.networks import refuse_countermeasure
from inference.scorer import Scorer
from inference.sources import source_of
from inference.trial_lists import read_tests
from metrics.countermeasure import summarize_plain
from metrics.rates import eer, error_rates
from metrics.scores import read_cm_scores, read_scores, write_scores
from network.checkpoints import read_checkpoint
from options.parser import parse
from SpeakerNet import SpeakerNet

# The same four files in every format: bona fide, A07, A08, bona fide.
PROTOCOLS = {
    "ASVspoof 2019": [
        "S1 f1 - - bonafide",
        "S1 f2 - A07 spoof",
        "S2 f3 - A08 spoof",
        "S2 f4 - - bonafide",
    ],
    "ASVspoof 5": [
        "S1 f1 F - - bonafide",
        "S1 f2 F C01 A07 spoof",
        "S2 f3 M - A08 spoof",
        "S2 f4 M - - bonafide",
    ],
    "ASVspoof 5, release": [
        "S1 f1 F - - - AC3 bonafide bonafide -",
        "S1 f2 F C01 2 x AC1 A07 spoof -",
        "S2 f3 M - - - AC1 A08 spoof -",
        "S2 f4 M - - - - bonafide bonafide -",
    ],
    "ASVspoof 2021 LA": [
        "S1 f1 alaw ita_tx bonafide bonafide notrim eval",
        "S9 f9 alaw ita_tx bonafide bonafide notrim progress",
        "S1 f2 alaw ita_tx A07 spoof notrim eval",
        "S2 f3 none - A08 spoof notrim eval",
        "S2 f4 none - bonafide bonafide notrim eval",
        "S9 f8 none - A07 spoof trim hidden",
    ],
    "ASVspoof 2021 DF": [
        "S1 f1 nocodec asvspoof bonafide bonafide notrim eval bonafide - - - -",
        "S1 f2 low_mp3 asvspoof A07 spoof notrim eval neural_vocoder_autoregressive - - - -",
        "S2 f3 nocodec vcc2020 A08 spoof notrim eval waveform_concatenation Task1 T1 M-F E",
        "S2 f4 nocodec asvspoof bonafide bonafide notrim eval bonafide - - - -",
        "S2 f7 nocodec asvspoof A07 spoof notrim progress traditional_vocoder - - - -",
    ],
}
# The codecs of the four files in the formats that have codecs.
CODECS = {
    "ASVspoof 5": ["-", "C01", "-", "-"],
    "ASVspoof 5, release": ["-", "C01", "-", "-"],
    "ASVspoof 2021 LA": ["alaw", "alaw", "none", "none"],
    "ASVspoof 2021 DF": ["nocodec", "low_mp3", "nocodec", "nocodec"],
}
SPEAKERS = ["S1", "S1", "S2", "S2"]
LINES = ["f1 - bonafide", "f2 A07 spoof", "f3 A08 spoof", "f4 - bonafide"]
# Scores, and the EERs in per cent of the two attacks.
SCORES = np.array([1.0, 0.5, 2.0, 3.0])


@pytest.fixture(params=PROTOCOLS)
def protocol(request, tmp_path):
    path = tmp_path / "protocol.txt"
    path.write_text("\n".join(PROTOCOLS[request.param]) + "\n")
    return path


def lines_of(name):
    """The lines of the four files in a scores file, with the speaker before a codec."""
    lines = []
    for line, speaker, codec in zip(LINES, SPEAKERS, CODECS.get(name, SPEAKERS), strict=True):
        file, _, rest = line.partition(" ")
        lines.append(f"{file} {speaker} {codec} {rest}" if name in CODECS else line)
    return lines


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_format_of_protocols(name, tmp_path):
    protocol = tmp_path / "protocol.txt"
    protocol.write_text("\n".join(PROTOCOLS[name]) + "\n")
    assert is_protocol(protocol)
    trials = read_protocol(protocol)
    assert list(trials.lines) == lines_of(name)
    assert (trials.codecs is None) == (name not in CODECS)
    if name in CODECS:
        assert trials.codecs.tolist() == CODECS[name]
    assert trials.files == ["f1", "f2", "f3", "f4"]
    assert trials.label.tolist() == [True, False, False, True]
    assert described_trials(trials) == "4 single files: A07 1, A08 1, bonafide 2"


@pytest.mark.parametrize(
    "lines, message",
    [
        (["S1 f1 - - bonafide"], "expected bona fide and spoofed files, found only one"),
        (["S1 f1 - - bonafide", "S1 f1 - A07 spoof"], "txt:2: expected each file once, but f1"),
        (["S1 f1 - - bonafide", "S1 f2 - - spoof"], "txt:2: expected .*, found 'S1 f2 - - spoof'"),
    ],
)
def test_wrong_protocols_are_refused(lines, message, tmp_path):
    path = tmp_path / "protocol.txt"
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=message):
        read_protocol(path)


def test_trials_are_no_protocol(tmp_path):
    for line in ("1 a.wav b.wav", "S1 f1 bonafide target", "S1 f1 A07 spoof", "a.wav"):
        (tmp_path / "list.txt").write_text(line)
        assert not is_protocol(tmp_path / "list.txt")
    spoofed = "S1 f1 F - - - AC1 A08 spoof -"
    for kind, expected in (("target", False), ("bonafide", True)):
        (tmp_path / "list.txt").write_text(f"{spoofed}\nS1 f2 F - - - - bonafide {kind} -\n")
        assert is_protocol(tmp_path / "list.txt") is expected


@pytest.mark.parametrize("name", ["cm_softmax", "sasv_multitask"])
def test_single_files_are_scored_alone(name, protocol):
    """Also by a network that compares speakers, whose other scores are fused."""
    net = SpeakerNet(Tiny(), loss_function(name, dim=16))
    trials = read_protocol(protocol)
    reps = {file: torch.randn(2, 16) for file in trials.files}
    options = None
    found = score_trials(Scorer(net), trials, reps, options)
    expected = [net.loss.bonafide(reps[file]).mean().item() for file in trials.files]
    np.testing.assert_allclose(found[""], expected, rtol=1e-5)


# ---------------------------------------------------------------------- scores files
@pytest.mark.parametrize("order", [[0, 1, 2, 3], [1, 2, 3, 0]])
def test_scores_of_files_are_read_again(order, tmp_path):
    """The first line may be spoofed, as in a list of trials."""
    path = tmp_path / "cm.txt"
    lines = [LINES[i] for i in order]
    write_scores(path, lines, SCORES)
    read = read_scores(path)
    assert list(read.lines) == lines
    assert read.kinds is None
    assert read.labels.tolist() == [line.endswith("bonafide") for line in lines]
    assert read.attacks.tolist() == [line.split()[1] for line in lines]


def test_scores_of_files_are_what_tandem_metrics_take(tmp_path):
    write_scores(tmp_path / "cm.txt", LINES, SCORES)
    asv = ["S1 f1 bonafide target", "S2 f1 bonafide nontarget", "S1 f3 A08 spoof"]
    write_scores(tmp_path / "asv.txt", asv, np.arange(3.0))
    found = read_cm_scores(tmp_path / "cm.txt", read_scores(tmp_path / "asv.txt"))
    assert found.tolist() == [1.0, 1.0, 2.0]


def test_a_wrong_attack_of_a_file_is_refused(tmp_path):
    (tmp_path / "cm.txt").write_text("f1 - bonafide 1\nf2 - spoof 2\n")
    with pytest.raises(ValueError, match="cm.txt:2: expected .* before bonafide, .*'- spoof'"):
        read_scores(tmp_path / "cm.txt")


def test_metrics_of_files(tmp_path, capsys):
    draw = np.random.default_rng(0)
    attacks = np.array(["-", "A07", "A08", "-"] * 50)
    bonafide = attacks == "-"
    scores = draw.normal(2.0 * bonafide + (attacks == "A08"), 1.0)
    found = summarize_plain(scores, bonafide, attacks, p_target=(0.95,), c_fa=10.0)
    for attack in ("A07", "A08"):
        selected = bonafide | (attacks == attack)
        expected = eer(*error_rates(scores[selected], bonafide[selected]))[0]
        assert found.attack_eers[attack] == pytest.approx(expected)
    lines = []
    for i, attack in enumerate(attacks):
        lines.append(f"f{i} {attack} {'bonafide' if attack == '-' else 'spoof'}")
    path = tmp_path / "cm.txt"
    write_scores(path, lines, scores)
    words = [str(path), "--p_target", "0.95", "--c_fa", "10", "--llr"]
    assert tuneThreshold.main([*words, "--det", str(tmp_path / "det.png")]) == 0
    shown = capsys.readouterr().out
    assert "200 files: 100 bona fide, 100 spoofed" in shown
    assert f"  A07 {found.attack_eers['A07']:16.2f} %" in shown
    for name in ("minDCF(0.95)", "actDCF(0.95)", "Cllr"):
        assert name in shown


# ---------------------------------------------------------------------- the program
SPEECH = Path(os.environ.get("SPEECH_DATA", "/nonexistent"), "asvspoof_mini")
WEIGHTS = Path(os.environ.get("SPEAKER_WEIGHTS", "/nonexistent"))


def closest_eer(scores, labels):
    """The mean of the two rates where they differ least, in per cent, as in the fixture."""
    _, p_miss, p_fa = error_rates(scores, labels)
    closest = np.argmin(np.abs(p_miss - p_fa))
    return 50 * (p_miss[closest] + p_fa[closest])


@pytest.mark.slow
@pytest.mark.skipif(not SPEECH.is_dir() or not WEIGHTS.is_dir(), reason="no SPEECH_DATA or weights")
@pytest.mark.parametrize(
    "case", golden.load_cases(REFERENCE / "pretrained_aasist.npz"), ids=lambda case: case.name
)
def test_released_weights_on_a_protocol(case, tmp_path, capsys):
    """The error rates and scores of the authors' program on all 294 files."""
    protocol = SPEECH / "protocols" / "ASVspoof2019.LA.cm.eval.trl.txt"
    words = ["--eval", "--initial_model", WEIGHTS / case.hparams["weights"]]
    words += ["--test_list", protocol, "--test_path", SPEECH / "ASVspoof2019_LA_eval" / "flac"]
    words += ["--nDataLoaderThread", 0, "--output", tmp_path / "cm.txt"]
    assert not trainSpeakerNet.main([str(word) for word in words])
    read = read_scores(tmp_path / "cm.txt")
    eers = [closest_eer(read.scores, read.labels)]
    for attack in case.arrays["attacks"]:
        selected = read.labels | (read.attacks == attack)
        eers.append(closest_eer(read.scores[selected], read.labels[selected]))
    expected = [case.arrays["eer_percent"], *case.arrays["eer_per_attack_percent"]]
    np.testing.assert_allclose(eers, expected, atol=1e-6)
    scores = {line.split()[0]: score for line, score in zip(read.lines, read.scores, strict=True)}
    places = [scores[file] for file in case.arrays["files"].tolist()]
    np.testing.assert_allclose(places, case.arrays["logits"][:, 1], atol=1e-3)
    assert "294 files: 42 bona fide, 252 spoofed" in capsys.readouterr().out


def test_a_speaker_network_takes_no_protocol(tmp_path):
    path = tmp_path / "protocol.txt"
    path.write_text("\n".join(PROTOCOLS["ASVspoof 2019"]))
    for loss, message in (("softmax", "found a train list"), ("cm_softmax", "names 4 files in it")):
        words = ["--test_list", str(path), "--test_path", "nowhere", "--trainfunc", loss]
        options = parse(words, {}, "", read_checkpoint)[0]
        with pytest.raises(InputError, match=message):
            read_tests(options, source_of(options))


@pytest.mark.parametrize("option", ["verify", "all_pairs", "score_norm", "qualities"])
def test_comparisons_of_speakers_are_refused(option):
    net = SpeakerNet(Tiny(), loss_function("cm_softmax", dim=16))
    options = argparse.Namespace(trainfunc="cm_softmax", **{option: "x"})
    with pytest.raises(InputError, match=f"--{option} compares speakers, but --trainfunc cm_soft"):
        refuse_countermeasure(net, options)
    refuse_countermeasure(SpeakerNet(Tiny(), loss_function("softmax", dim=16)), options)
