"""What a run prints: its first lines, a line for each epoch, and where --eval writes its scores."""

import argparse
import json
import math
import re
import shutil
from pathlib import Path

import pytest
import torch
from conftest import small_run
from kill_resume import equal

from common.errors import InputError
from inference.score_paths import names_of_lists, require_writable
from inference.verification import texts_that_differ
from network import devices
from training import overview
from training.epoch_lines import Best, EpochLines

LINES = EpochLines(["loss", "acc"], max_epoch=20, last_step=1500, by_step=False)
TRAINED = {"loss": 3.21, "acc": 7.5, "lr": 0.0007, "utt_per_s": 98.76, "waiting": 0.013}
TRIALS = {"EER": 4.2871, "minDCF": 0.312, "threshold": 0.4142135}
SPOOFING = {"EER": 4.0, "SV-EER": 2.0, "SPF-EER": 12.5, "a-DCF": 0.1, "threshold": -1.5}


# ---------------------------------------------------------------------- lines of epochs
def text_of(results, best=None, **changes):
    """Returns the line of epoch 3 without the time of day."""
    numbers = {"epoch": 3, "step": 225} | TRAINED | changes
    line = LINES.of_epoch(numbers, results, 0.00095, best)
    assert re.match(r"\d\d:\d\d:\d\d  ", line)
    return line[10:]


def test_line_of_an_epoch():
    assert text_of(TRIALS, Best(4.1, 2)) == (
        "epoch  3/20  step  225  loss   3.2100  acc   7.50 %  lr 0.00095       98.8 utt/s  "
        "data wait   1 %  EER  4.29 %  minDCF 0.3120  best  4.10 % (epoch  2)  threshold 0.414214"
    )


def test_the_epoch_of_the_best_may_be_unknown():
    assert "best  4.10 %  threshold" in text_of(TRIALS, Best(4.1, None))


def test_only_evaluations_name_the_best():
    assert "best" not in text_of({}, Best(4.1, 2))


def test_evaluations_by_step_name_the_best_step():
    lines = EpochLines(["loss"], max_epoch=2, last_step=100, by_step=True)
    line = lines.of_epoch({"epoch": 1, "step": 50}, TRIALS, 0.1, Best(4.1, 25))
    assert "best  4.10 % (step  25)" in line


def test_columns_are_aligned():
    """Numbers of all sizes, and missing ones, leave the columns where they are."""
    lines = [
        text_of(TRIALS, Best(4.1, 2)),
        text_of(TRIALS, Best(14.1, 12), epoch=13, step=1500, loss=123.4, acc=100.0, utt_per_s=9e4),
        text_of(TRIALS, Best(4.1, 2), loss=1.2e-5, waiting=1.0),
        text_of(TRIALS | {"EER": 24.0}, Best(4.1, 2), loss=float("nan")),
        LINES.of_epoch({"epoch": 0, "step": 0}, TRIALS, 1e-05, Best(4.1, 2))[10:],
    ]
    for word in ("lr", "EER", "minDCF", "threshold"):
        assert len({line.index(word) for line in lines}) == 1, lines


def test_updates_are_aligned_with_epochs():
    line = LINES.of_update(3, 225, {"loss": 3.21, "acc": 7.5, "lr": 0.00095})
    assert text_of({}, epoch=3).startswith(line[10:])


def test_spoofing_aware_trials_are_named():
    line = text_of(TRIALS | {f"{name}_2": value for name, value in SPOOFING.items()}, Best(4.1, 2))
    assert "  EER  4.29 %  minDCF 0.3120  best  4.10 %" in line
    assert "SASV-EER list 2  4.00 %  SV-EER list 2  2.00 %  SPF-EER list 2 12.50 %" in line
    assert "a-DCF list 2 0.1000  threshold list 2 -1.5" in line
    assert "SASV-EER  4.00 %  SV-EER  2.00 %  SPF-EER 12.50 %" in text_of(SPOOFING)


def test_thresholds_keep_the_digits_that_decide():
    texts = {"threshold": "0.414213562"}
    line = LINES.of_epoch({"epoch": 3, "step": 225}, TRIALS, 0.1, None, texts)
    assert line.endswith("threshold 0.414213562")


def test_normalised_scores_are_named():
    results = TRIALS | {"EER_asnorm": 3.9, "minDCF_asnorm": 0.3, "threshold_asnorm": 2.5}
    assert "EER asnorm  3.90 %  minDCF asnorm 0.3000" in text_of(results)


def test_validation_loss_without_trials():
    line = text_of({"valid_loss": 2.5, "valid_acc": 50.0}, Best(2.25, 2))
    assert line.endswith("valid loss   2.5000  valid acc  50.00 %  best   2.2500 (epoch  2)")


# ---------------------------------------------------------------------- a run
def log_lines(folder):
    """Returns the lines of log.jsonl."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_run_prints_the_current_learning_rate_and_the_best_epoch(corpus, tmp_path, program):
    """The learning rate follows half a cosine; log.jsonl has the mean over the epoch."""
    schedule = ["--scheduler", "cosine_annealing_warmup_restarts", "--lr_per_step", "--lr", 0.01]
    words = small_run(corpus, tmp_path, *schedule, "--eval_first")
    _, out, _ = program(*words)
    printed = re.findall(r"^\d\d:\d\d:\d\d  epoch (\d)/2 .* lr (\S+) .* EER +(\S+) %", out, re.M)
    logged = log_lines(tmp_path)
    assert (
        [int(epoch) for epoch, _, _ in printed] == [line["epoch"] for line in logged] == [0, 1, 2]
    )
    for (_, lr, eer), line in zip(printed, logged, strict=True):
        assert float(eer) == pytest.approx(line["EER"], abs=0.006)
        last_update = max(line["step"] - 1, 0) / logged[-1]["step"]
        expected = 0.01 * (1 + math.cos(math.pi * last_update)) / 2
        assert float(lr) == pytest.approx(expected, rel=1e-3)
    best = min(logged[1:], key=lambda line: line["EER"])
    text = rf"best +{best['EER']:.2f} % \(epoch {best['epoch']}\)"
    last_line = [line for line in out.splitlines() if "epoch 2/2" in line][-1]
    assert re.search(text, last_line)
    assert f"Done: {tmp_path}" in out
    # A resumed run still names the epoch of the best.
    _, out, _ = program(*words, "--max_epoch", 3)
    assert f"Resuming {tmp_path / 'model' / 'last.model'} at epoch 3, step" in out
    new = log_lines(tmp_path)[-1]
    if new["EER"] >= best["EER"]:
        assert re.search(text, out)


def test_first_lines_of_a_run(corpus, tmp_path, program, monkeypatch):
    monkeypatch.setattr(overview, "has_bfloat16_instructions", lambda: True)
    words = small_run(corpus, tmp_path, "--max_epoch", 1, "--trainfunc", "softmax")
    _, out, _ = program(*words)
    for row in (
        r"Model +ResNetSE34L \(default\), SAP pooling \(default\), 1\.4 million parameters",
        r"Front end +40 mel bands, a window of 25 ms every 10 ms",
        r"Loss +softmax, 8 classes, 264 parameters",
        r"Data +48 utterances, \d+ updates per epoch, 8 utterances per update",
        r"Optimizer +adam \(default\), learning rate 0\.001 at the first update, "
        r"schedule steplr \(default\)",
        r"Device +cpu, 1 process, 1 thread, 0 loader processes, float32",
        rf"Output +{tmp_path}",
    ):
        assert re.search(rf"^{row}$", out, re.M), row
    assert "With --mixedprec training would be about 1.7 times as fast." in out
    _, out, _ = program(*words, "--max_epoch", 2, "--mixedprec")
    assert "bfloat16 (--mixedprec)" in out and "1.7 times" not in out


@pytest.mark.parametrize(
    "supported, mixedprec, takes, device, expected",
    [
        (True, False, "waves", "cpu", True),
        (False, False, "waves", "cpu", False),
        (True, True, "waves", "cpu", False),
        (True, False, "embeddings", "cpu", False),
        (True, False, "waves", "cuda", False),
    ],
)
def test_when_mixed_precision_is_recommended(
    supported, mixedprec, takes, device, expected, monkeypatch
):
    monkeypatch.setattr(overview, "has_bfloat16_instructions", lambda: supported)
    options = argparse.Namespace(mixedprec=mixedprec)
    found = overview.mixed_precision_would_help(options, takes, torch.device(device))
    assert found is expected


def test_bfloat16_instructions_are_those_of_the_processor():
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        pytest.skip("needs /proc/cpuinfo")
    flags = cpuinfo.read_text().split()
    assert devices.has_bfloat16_instructions() is bool({"avx512_bf16", "amx_bf16"} & {*flags})


# ---------------------------------------------------------------------- scores of --eval
def evaluation(corpus, checkpoint):
    """Returns the words of an evaluation."""
    words = ["--eval", "--initial_model", checkpoint, "--test_list", corpus / "trials.txt"]
    return [*words, "--test_path", corpus / "wav", "--nDataLoaderThread", 0, "--device", "cpu"]


@pytest.fixture
def run_copy(checkpoint, tmp_path):
    """A copy of the run of `checkpoint`, with changed contents of its scores file."""
    folder = tmp_path / "run"
    shutil.copytree(checkpoint.parent.parent, folder)
    (folder / "result" / "scores.txt").write_text("the scores of the training\n")
    return folder


def files_in(folder):
    """Returns the paths of all files below a folder, relative to it."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_evaluation_writes_next_to_the_checkpoint(
    run_copy, checkpoint, corpus, program, monkeypatch
):
    monkeypatch.chdir(run_copy.parent)
    expected = (checkpoint.parent.parent / "result" / "scores.txt").read_text()
    before = files_in(run_copy)
    # Two times, because a command overwrites its own file.
    for _ in range(2):
        code, out, err = program(*evaluation(corpus, Path("run", "model", "last.model")))
        assert code == 0, err
        assert "Scores: run/result/scores_last_trials.txt\n" in out
    assert (run_copy / "result" / "scores.txt").read_text() == "the scores of the training\n"
    assert (run_copy / "result" / "scores_last_trials.txt").read_text() == expected
    assert files_in(run_copy) - before == {"result/scores_last_trials.txt"}
    # The default run folder is not touched.
    assert not (run_copy.parent / "exps").exists()


def test_evaluation_says_what_it_uses(run_copy, corpus, program):
    model = run_copy / "model" / "last.model"
    _, out, _ = program(*evaluation(corpus, model))
    assert re.search(r"^Model +ResNetSE34L, SAP pooling, 1\.4 million parameters$", out, re.M)
    assert re.search(rf"^Checkpoint +{model}$", out, re.M)


@pytest.mark.parametrize(
    "words, place",
    [
        ([], "{}/bare/scores_net_trials.txt"),
        (["--save_path", "{}/other"], "{}/other/result/scores_net_trials.txt"),
        (["--output", "{}/x/mine.txt"], "{}/x/mine.txt"),
        (["--output", "{}/mine.txt", "--save_path", "{}/other"], "{}/mine.txt"),
    ],
)
def test_evaluation_of_a_bare_checkpoint(words, place, checkpoint, corpus, tmp_path, program):
    (tmp_path / "bare").mkdir()
    bare = shutil.copy(checkpoint, tmp_path / "bare" / "net.model")
    words = [word.format(tmp_path) for word in words]
    code, out, err = program(*evaluation(corpus, bare), *words)
    assert code == 0, err
    path = place.format(tmp_path)
    assert f"Scores: {path}\n" in out
    assert files_in(tmp_path) == {"bare/net.model", str(Path(path).relative_to(tmp_path))}


def test_an_explicit_default_folder_is_explicit(run_copy, corpus, tmp_path, program, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = evaluation(corpus, run_copy / "model" / "last.model")
    _, out, _ = program(*words, "--save_path", "exps/exp1")
    assert "Scores: exps/exp1/result/scores_last_trials.txt\n" in out


def test_scores_of_several_lists(run_copy, corpus, tmp_path, program):
    other = tmp_path / "other" / "trials.txt"
    other.parent.mkdir()
    lines = (corpus / "trials.txt").read_text().splitlines(keepends=True)
    other.write_text("".join(lines[:40]))
    words = evaluation(corpus, run_copy / "model" / "last.model")
    words += ["--test_list", corpus / "trials.txt", other, "--score_norm", "snorm"]
    words += ["--cohort_list", corpus / "train_list.txt", "--cohort_path", corpus / "wav"]
    before = files_in(run_copy)
    code, out, err = program(*words, "--qualities")
    assert code == 0, err
    names = set()
    for part in ("", "_snorm", "_qualities"):
        names |= {f"result/scores_last_trials{part}.txt", f"result/scores_last_trials_2{part}.txt"}
    assert files_in(run_copy) - before == names
    assert out.count("Scores: ") == 4


def test_names_of_lists():
    options = argparse.Namespace(
        valid_clients="a/clients.txt",
        valid_impostors="b/impostors.txt",
        test_list=None,
        test_path=None,
        test_list_libri="c/clients.lst",
        test_path_libri="",
    )
    assert names_of_lists(options) == ["clients_impostors", "clients"]


def test_a_folder_that_cannot_be_written(run_copy, corpus, program):
    shutil.rmtree(run_copy / "result")
    (run_copy / "result").write_text("a file")
    code, _, err = program(*evaluation(corpus, run_copy / "model" / "last.model"))
    assert code == 2
    assert f"error: {run_copy / 'result'}: the scores cannot be written to this folder" in err
    assert err.endswith("Choose another place with --output FILE.\n")


def test_a_new_folder_is_made(tmp_path):
    require_writable(tmp_path / "a" / "b")
    assert not files_in(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="--output FILE"):
        require_writable(tmp_path / "file" / "c")


# ---------------------------------------------------------------------- verification
@pytest.mark.parametrize(
    "score, threshold, texts",
    [
        (0.83123456, 0.41, ("0.83123", "0.41000")),
        (0.123456789, 0.123456712, ("0.1234568", "0.1234567")),
        (1.0, 1.0, ("1.0000", "1.0000")),
    ],
)
def test_the_digits_that_decide_are_printed(score, threshold, texts):
    assert texts_that_differ(score, threshold) == texts


RAMPS = "--trainfunc aamsoftmaxproto --margin 0.2 --margin_from_epoch 0.5 --margin_until_epoch 2.4 "
RAMPS += (
    "--optimizer sgd --scheduler exponential_decrease --lr 0.01 --lr_final 0.001 --lr_wstep 1.5"
)


def test_learning_rates_and_margins_of_a_run_that_was_stopped(corpus, tmp_path, program):
    """Three epochs. One run stops in the warm-up, and while the margin grows."""

    def run(name, *more):
        words = small_run(corpus, tmp_path / name, *RAMPS.split(), "--max_epoch", 3)
        assert program(*words, "--test_interval", 3, *more)[0] == 0
        return log_lines(tmp_path / name)

    whole = run("whole")
    updates = whole[0]["step"]
    assert updates > 3
    for steps in (2, updates + 3):
        run("parts", "--max_steps", steps)
    parts = run("parts")
    for epoch, (line, other) in enumerate(zip(whole, parts, strict=True)):
        steps = range(epoch * updates, (epoch + 1) * updates)
        rates = [rate_of(step / updates) for step in steps]
        assert line["lr"] == other["lr"] == pytest.approx(sum(rates) / updates, rel=1e-12)
        margins = [margin_of(step / updates) for step in steps]
        assert line["margin"] == other["margin"] == pytest.approx(sum(margins) / updates, rel=1e-12)
        assert line["loss"] == other["loss"]
    states = []
    for name in ("whole", "parts"):
        last = tmp_path / name / "model" / "last.model"
        states.append(torch.load(last, weights_only=True))
    for key in ("model", "loss", "optimizer", "scheduler", "step", "rng"):
        assert equal(states[0][key], states[1][key]), key


def rate_of(epochs):
    """Returns the learning rate of RAMPS after a number of epochs."""
    return min(epochs / 1.5, 1.0) * 0.01 * math.exp(math.log(0.1) * epochs / 3)


def margin_of(epochs):
    """Returns the margin of RAMPS after a number of epochs."""
    share = min(max(epochs - 0.5, 0.0) / 1.9, 1.0)
    return 0.2 if share == 1.0 else 0.2 * (1.0 - math.exp(share * math.log(1e-3)))
