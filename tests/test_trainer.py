"""Training, resuming, scoring and checkpoints, from the command line's side and from the inside."""

import argparse
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from conftest import Tiny, small_run
from kill_resume import end_of, equal
from reference import golden
from torch import nn

import options
from common.errors import InputError
from corpus.lists import Trials, read_train_list, read_trials
from DatasetLoader import EvalDataset, TrainDataset, batches, eval_loader, train_loader
from inference.scorer import Scorer
from loss import Loss
from metrics.rates import summarize
from models import SpeakerModel
from network.checkpoints import load_weights, read_checkpoint, write_checkpoint
from network.components import build
from options.parser import find, options_of
from SpeakerNet import NonFiniteLoss, SpeakerNet, Trainer
from training.run import TrainingRun
from training.sampling import GroupSampler

ROOT = Path(__file__).parent.parent


# ---------------------------------------------------------------- runs
@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    """8 voices, each a pitch with harmonics and noise, 10 files each to train and 3 to test: a task that a working trainer solves in seconds."""
    folder = tmp_path_factory.mktemp("tones")
    time_axis = np.arange(8000) / 16000
    train, test = [], []
    for voice in range(8):
        for take in range(13):
            draw = np.random.default_rng((voice, take))
            x = sum(
                np.sin(2 * np.pi * (90 + 37 * voice) * k * time_axis + draw.uniform(0, 6)) / k
                for k in range(1, 6)
            )
            sf.write(
                folder / f"{voice}-{take}.wav", 0.1 * x + 0.03 * draw.standard_normal(8000), 16000
            )
            (test if take >= 10 else train).append((voice, f"{voice}-{take}.wav"))
    (folder / "train_list.txt").write_text("".join(f"{voice} {name}\n" for voice, name in train))
    (folder / "trials.txt").write_text(
        "".join(f"{int(a[0] == b[0])} {a[1]} {b[1]}\n" for a, b in itertools.combinations(test, 2))
    )
    return folder


@pytest.mark.parametrize(
    "trainfunc",
    [
        pytest.param(
            name,
            marks=[pytest.mark.slow]
            * (name not in ("softmax", "aamsoftmaxproto", "angleproto", "proto")),
        )
        for name in options.components("trainfunc")
        if not find("trainfunc", name).reads
    ],
)
def test_learns(trainfunc, tones):
    """List to EER with every loss that needs no more than speakers: near 0 after, far from it before."""
    torch.manual_seed(0)
    utterances, trials = (
        read_train_list(tones / "train_list.txt"),
        read_trials(tones / "trials.txt"),
    )
    data = TrainDataset(utterances, tones, max_frames=24, seed=0)
    sampler = GroupSampler(utterances, batch_size=8, nPerSpeaker=2, max_seg_per_spk=500, seed=0)
    parts = argparse.Namespace(
        **{o.name: o.default for o in options_of("trainfunc", trainfunc)}, trainfunc=trainfunc
    )
    made = Trainer(SpeakerNet(Tiny(), build("trainfunc", parts, dim=16, num_classes=8)))
    made.optimizer = torch.optim.Adam(made.net.parameters(), lr=0.01)
    made.scheduler = torch.optim.lr_scheduler.LambdaLR(made.optimizer, lambda step: 1.0)

    scorer = Scorer(made.eval_net)

    def eer():
        evaluation = EvalDataset(trials.paths(), tones, eval_frames=0, num_eval=1)
        reps = {
            trials.paths()[i]: rep
            for index, x in scorer.represent(batches(eval_loader(evaluation, workers=0)))
            for i, rep in zip(index, x, strict=True)
        }
        return summarize(scorer.score(trials, reps), trials.label).eer

    before, losses = eer(), []
    for epoch in range(1, 31):
        sampler.set_epoch(epoch)
        list(made.train_epoch(batches(train_loader(data, sampler, workers=0))))
        losses.append(made.means()["loss"])
        made.next_epoch({})
    assert losses[-1] < 0.5 * losses[0]
    assert eer() < 5 < 10 < before


@pytest.mark.parametrize(
    "trainfunc", [name for name in options.components("trainfunc") if find("trainfunc", name).reads]
)
def test_learns_to_enhance(trainfunc):
    """Clean embeddings of 8 speakers, and such with noise, most of it in directions of its own: EER of new noisy ones near 0 after, far from it before."""
    draw = torch.Generator().manual_seed(0)
    clean = nn.functional.normalize(
        torch.randn(8, 16, generator=draw) * (torch.arange(16) < 8), dim=1
    )
    # the last utterance is of another session
    loudness = torch.tensor([1.0, 1.0, 1.0, 1.5])[:, None] * torch.tensor([0.1] * 8 + [0.5] * 8)

    # -> [8, 4, 16]
    def noisy():
        return clean.unsqueeze(1) + loudness * torch.randn(8, 4, 16, generator=draw)

    torch.manual_seed(0)
    parts = argparse.Namespace(
        **{o.name: o.default for o in options_of("trainfunc", trainfunc)},
        trainfunc=trainfunc,
        model="MyLinearNetv2",
        nOut=16,
        activation="ELU",
    )
    made = Trainer(
        SpeakerNet(build("model", parts), build("trainfunc", parts, dim=16, num_classes=8))
    )
    made.optimizer = torch.optim.Adam(made.net.parameters(), lr=0.003)
    made.scheduler = torch.optim.lr_scheduler.LambdaLR(made.optimizer, lambda step: 1.0)
    # 12 utterances of each
    label, test = torch.arange(8), torch.cat([noisy() for _ in range(3)], 1)
    data = {
        "label": label,
        "spoof": torch.zeros(8, dtype=torch.bool),
        "index": torch.arange(8).view(8, 1),
        "target": clean,
        "session": torch.tensor([0, 0, 0, 1]).expand(8, 4),
    }

    def eer(x):  # [8, 12, 16]
        pairs = list(itertools.combinations(range(96), 2))
        trials = Trials.of_pairs(pairs, label=np.array([a // 12 == b // 12 for a, b in pairs]))
        return summarize(
            Scorer(made.eval_net).score(trials, dict(enumerate(x.reshape(96, 1, 16)))), trials.label
        ).eer

    before = eer(test)
    steps = (data | {"x": noisy(), "other": clean.roll(1 + step % 7, 0)} for step in range(200))
    losses = [terms["loss"] for terms in made.train_epoch(steps)]
    ((_, enhanced),) = Scorer(made.eval_net).represent([(label, test)])
    after = eer(enhanced)
    assert losses[-1] < 0.5 * losses[0] and after < 3 < 10 < before


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers(workers, corpus, tmp_path, checkpoint, program):
    assert program(*small_run(corpus, tmp_path, "--nDataLoaderThread", workers))[0] == 0
    (state, log), (other, other_log) = end_of(tmp_path), end_of(checkpoint.parent.parent)
    assert (
        equal(state["model"], other["model"])
        and equal(state["loss"], other["loss"])
        and log == other_log
    )


def test_resumes_anywhere(corpus, tmp_path, checkpoint, program):
    """Stopped after every single step and gone on with, the run ends where it ends undisturbed."""
    whole, whole_log = end_of(checkpoint.parent.parent)
    for steps in range(1, whole["step"] + 1):
        assert program(*small_run(corpus, tmp_path, "--max_steps", steps))[0] == 0
    state, log = end_of(tmp_path)
    assert all(
        equal(state[key], whole[key])
        for key in ("model", "loss", "optimizer", "scheduler", "step", "rng")
    )
    assert [line["loss"] for line in log] == [line["loss"] for line in whole_log]
    code, out, _ = program(*small_run(corpus, tmp_path))
    assert (
        code == 0
        and "going on" in out
        and equal(read_checkpoint(tmp_path / "model" / "last.model")["model"], state["model"])
    )


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_signal_saves_and_exits_with_zero(number, corpus, tmp_path):
    words = [
        sys.executable,
        ROOT / "trainSpeakerNet.py",
        *small_run(corpus, tmp_path, "--max_epoch", 10**6, "--nDataLoaderThread", 2),
    ]
    process = subprocess.Popen(
        [str(word) for word in words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not (tmp_path / "log.jsonl").exists():
        time.sleep(0.05)
    # as a terminal does: the loader processes get it too
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=60)
    assert (
        process.returncode == 0 and "the same command goes on" in out and "Traceback" not in err
    ), err
    assert read_checkpoint(tmp_path / "model" / "last.model")["step"] > 0


@pytest.mark.slow
def test_killed_and_gone_on(corpus, tmp_path):
    """One SIGKILL; tests/kill_resume.py does it twenty times for 0, 1 and 3 workers."""
    from kill_resume import noise_corpus, trial

    link = tmp_path / "corpus"
    link.mkdir()
    for name in ("wav", "train_list.txt", "trials.txt"):
        (link / name).symlink_to(corpus / name)
    noise_corpus(link)
    hits, read, same = trial(link, tmp_path, kills=1, workers=1, seed=3, epochs=3)
    assert hits == 1 and same


def test_keeps_the_last_and_the_best(corpus, tmp_path, program):
    assert program(*small_run(corpus, tmp_path, "--max_epoch", 4, "--keep", 2))[0] == 0
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        "last.model",
        "best.model",
        "model000000003.model",
        "model000000004.model",
    }
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert read_checkpoint(tmp_path / "model" / "best.model")["result"]["EER"] == min(
        line["EER"] for line in lines
    )


def test_memory_of_the_gpu_runs_out(corpus, checkpoint, tmp_path, program, monkeypatch):
    def too_large(*_):
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ..."
        )

    monkeypatch.setattr(Trainer, "_update", too_large)
    code, _, err = program(*small_run(corpus, tmp_path))
    assert (
        code == 2
        and "error: CUDA out of memory; lower --batch_size (now 4" in err
        and "--nPerSpeaker (now 2)" in err
    )
    monkeypatch.setattr(Scorer, "_bank", too_large)
    code, _, err = program(*small_run(corpus, tmp_path), "--eval", "--initial_model", checkpoint)
    assert code == 2 and "lower --num_eval (now 2) or --eval_frames (now 40" in err


def test_waiting_for_data_is_told_once(caplog):
    run = types.SimpleNamespace(
        warned_of_waiting=False, options=types.SimpleNamespace(nDataLoaderThread=0)
    )
    for line, told in (
        ({"seconds": 9, "waiting": 0.9}, False),
        ({"seconds": 60, "waiting": 0.2}, False),
        ({"seconds": 60, "waiting": 0.21}, True),
        ({"seconds": 60, "waiting": 0.9}, False),
    ):
        caplog.clear()
        TrainingRun.warn_of_waiting(run, line)
        assert (
            (
                "21 % of the time training waits for data: raise --nDataLoaderThread (now 0"
                in caplog.text
            )
            == told
            == bool(caplog.text)
        )


def test_log_line(checkpoint):
    lines = [
        json.loads(line)
        for line in (checkpoint.parent.parent / "log.jsonl").read_text().splitlines()
    ]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert {"loss", "lr", "utt_per_s", "seconds", "waiting", "EER", "minDCF", "step"} <= lines[
        0
    ].keys()
    assert 0 <= lines[0]["waiting"] <= 1


def test_evaluation_gives_the_scores_of_training(checkpoint, corpus, tmp_path, program):
    code, out, _ = program(
        "--eval",
        "--initial_model",
        checkpoint,
        "--test_list",
        corpus / "trials.txt",
        "--test_path",
        corpus / "wav",
        "--output",
        tmp_path / "scores.txt",
        "--nDataLoaderThread",
        1,
    )
    assert code == 0 and "EER" in out and "minDCF" in out
    assert (tmp_path / "scores.txt").read_text() == (
        checkpoint.parent.parent / "result" / "scores.txt"
    ).read_text()
    trials = [line.rsplit(" ", 1)[0] for line in (tmp_path / "scores.txt").read_text().splitlines()]
    assert trials == (corpus / "trials.txt").read_text().splitlines()


def test_unlabelled_trials_get_scores_and_no_metric(checkpoint, corpus, tmp_path, program):
    bare = tmp_path / "bare.txt"
    bare.write_text(
        "".join(line[2:] + "\n" for line in (corpus / "trials.txt").read_text().splitlines())
    )
    code, out, _ = program(
        "--eval",
        "--initial_model",
        checkpoint,
        "--test_list",
        bare,
        "--test_path",
        corpus / "wav",
        "--output",
        tmp_path / "s.txt",
    )
    assert code == 0 and "EER" not in out
    labelled = (checkpoint.parent.parent / "result" / "scores.txt").read_text().splitlines()
    assert (tmp_path / "s.txt").read_text().splitlines() == [line[2:] for line in labelled]


def test_extract_and_verify(checkpoint, corpus, tmp_path, program):
    words = ["--initial_model", checkpoint, "--nDataLoaderThread", 0]
    code, _, err = program(
        "--extract",
        corpus / "train_list.txt",
        "--test_path",
        corpus / "wav",
        "--output",
        tmp_path / "emb",
        *words,
    )
    assert code == 0, err
    files = [line.split()[1] for line in (corpus / "train_list.txt").read_text().splitlines()]
    assert sorted(
        str(p.relative_to(tmp_path / "emb")) for p in (tmp_path / "emb").rglob("*.npy")
    ) == sorted(f[:-4] + ".npy" for f in files)
    first = np.load(tmp_path / "emb" / (files[0][:-4] + ".npy"))
    assert first.shape == (2, 32) and first.dtype == np.float32
    assert (
        "0 embeddings"
        in program(
            "--extract",
            corpus / "train_list.txt",
            "--test_path",
            corpus / "wav",
            "--output",
            tmp_path / "emb",
            *words,
        )[1]
    )

    a, b = (corpus / "wav" / name for name in files[:2])
    code, out, _ = program("--verify", a, a, "--eval_frames", 0, *words)
    assert code == 0 and re.match(r"score 1\.0000  threshold 0\.\d+  same speaker\n", out)
    assert "different speakers" in program("--verify", a, b, "--threshold", 1.1, *words)[1]


def test_fine_tuning_on_other_speakers(checkpoint, corpus, tmp_path, program):
    half = tmp_path / "half.txt"
    half.write_text(
        "".join(
            "other-" + line
            for line in (corpus / "train_list.txt").read_text().splitlines(keepends=True)[:30]
        )
    )
    words = small_run(corpus, tmp_path / "run", "--train_list", half, "--initial_model", checkpoint)
    code, _, err = program(*words)
    assert (
        code == 2 and "misshaped: loss.softmax.fc.weight, [8, 32] in the file, [5, 32] here" in err
    )
    code, out, _ = program(*words, "--partial")
    assert code == 0 and "misshaped: loss.softmax.fc.weight" in out


def test_mixed_precision_accumulation_and_clipping(corpus, tmp_path, program):
    code, out, err = program(
        *small_run(
            corpus, tmp_path, "--mixedprec", "--accumulate", 2, "--clip", 1.0, "--max_epoch", 1
        )
    )
    assert code == 0, err
    assert np.isfinite(json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])["loss"])


def test_a_schedule_that_follows_results(corpus, tmp_path, program):
    code, _, err = program(
        *small_run(
            corpus,
            tmp_path,
            "--scheduler",
            "plateau",
            "--lr_patience",
            0,
            "--lr_threshold",
            0.9,
            "--max_epoch",
            3,
        )
    )
    assert code == 0, err
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["lr"] for line in lines] == pytest.approx([1e-3, 1e-3, 1e-4])


# ---------------------------------------------------------------- the trainer by itself
class Line(SpeakerModel):
    dim = 4

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 4)
        self.bn = nn.BatchNorm1d(4)

    def forward(self, x):
        return self.bn(self.fc(x))


class Squares(Loss):
    def forward(self, rep, batch, pair):
        return {"loss": (rep**2).mean()}


class Distance(Squares):
    linear = False

    def project(self, x):
        return x

    def similarity(self, ref, qry):
        return -((ref - qry) ** 2).sum(-1)


def trainer(loss=None, **settings):
    torch.manual_seed(0)
    made = Trainer(SpeakerNet(Line(), loss or Squares()), **settings)
    made.optimizer = torch.optim.SGD(made.net.parameters(), lr=0.1)
    made.scheduler = torch.optim.lr_scheduler.LambdaLR(made.optimizer, lambda step: 1.0)
    return made


def batch(seed, value=0.0):
    x = torch.randn(8, 2, 6, generator=torch.Generator().manual_seed(seed)) + value
    return {
        "x": x,
        "label": torch.arange(8),
        "spoof": torch.zeros(8, dtype=torch.bool),
        "index": torch.arange(16).view(8, 2),
    }


def test_accumulation_is_the_mean_gradient():
    made, parts = trainer(accumulate=2), trainer()
    list(made.train_epoch([batch(1), batch(2)]))
    losses = [parts.net(parts.on_device(batch(seed)))["loss"] for seed in (1, 2)]
    (sum(losses) / 2).backward()
    parts.optimizer.step()
    for a, b in zip(made.net.parameters(), parts.net.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    assert made.step == 1 and made.position == 2


def test_clipping():
    free, clipped = trainer(), trainer(clip=1e-3)
    before = [p.clone() for p in free.net.parameters()]
    for made in (free, clipped):
        list(made.train_epoch([batch(1)]))
    moved = [
        torch.cat(
            [(p - b).flatten() for p, b in zip(made.net.parameters(), before, strict=True)]
        ).norm()
        for made in (free, clipped)
    ]
    assert moved[0] > 1e-2 and abs(moved[1] - 1e-4) < 1e-6


# as on a GPU, which is ahead of what is known of it
@pytest.mark.parametrize("settle_every", [1, 2, 20])
@pytest.mark.parametrize("optimizer", options.components("optimizer"))
def test_non_finite_loss_stops_or_is_left_out(optimizer, settle_every):
    def late(**more):
        made = trainer(**more)
        made.optimizer = find("optimizer", optimizer)(made.net.parameters(), lr=0.1)
        made.settle_every = settle_every
        return made

    with pytest.raises(NonFiniteLoss, match="step 1") as error:
        list(late().train_epoch([batch(1), batch(2, float("nan")), batch(3)]))
    assert error.value.index == list(range(16))
    made, clean = late(skip_nonfinite=1), late()
    list(made.train_epoch([batch(1), batch(2, float("nan")), batch(3)]))
    list(clean.train_epoch([batch(1), batch(3)]))
    assert made.skipped == 1 and made.step == 3
    for name, value in clean.net.state_dict().items():
        # batch statistics too
        torch.testing.assert_close(made.net.state_dict()[name], value)
    assert made.means() == clean.means()


@pytest.mark.parametrize("loss", [Squares, Distance])
@pytest.mark.parametrize("scoring", ["similarity", "euclidean"])
@pytest.mark.parametrize("dense", [True, False])
def test_scores_equal_a_loop(loss, scoring, dense):
    """Mean over all pairs of crops, several enrolment files, against the definition trial by trial."""
    draw = np.random.default_rng(0)
    made = trainer(loss())
    reps = {
        f"f{i}": torch.randn(3, 4, generator=torch.Generator().manual_seed(i)) for i in range(40)
    }
    models = [("f0",), ("f1", "f2"), ("f3", "f4", "f5"), ("f6", "f7")] + [
        (f"f{i}",) for i in range(8, 40)
    ]
    count = 2000 if dense else 50
    trials = Trials(
        lines=[""] * count,
        models=models,
        files=[f"f{i}" for i in range(40)],
        enrol=draw.integers(0, len(models), count),
        test=draw.integers(0, 40, count),
        label=None,
    )
    scores = Scorer(made.net).score(trials, reps, scoring)
    for n in range(0, count, 7):
        ref, qry = (
            torch.stack([reps[f] for f in models[trials.enrol[n]]]).mean(0),
            reps[trials.files[trials.test[n]]],
        )
        want = np.mean(
            [
                getattr(made.net.loss, scoring)(*made.net.model.pair(r[None], q[None])).item()
                for r in ref
                for q in qry
            ]
        )
        assert abs(scores[n] - want) < 1e-5


@pytest.mark.parametrize(
    "file, case",
    [
        ("score_clova", 0),
        ("score_clova", 1),
        ("score_ska", 0),
        ("score_ska", 1),
        ("score_sasv2", 0),
        ("score_sasv2", 1),
    ],
)
def test_scores_equal_the_references(file, case):
    """Mean distances of voxceleb_trainer, of embeddings as they are and of unit length; cosines of ska-tdnn, of whole files and over all crops;
    speakers enrolled with several files in SASV 2022."""
    case = golden.load_cases(ROOT / "tests" / "reference" / f"{file}.npz")[case]
    if file == "score_sasv2":
        reps = {
            f"{s}-{i}": torch.from_numpy(x)
            for s, files in enumerate(case.inputs["enrol"])
            for i, x in enumerate(files)
        }
        reps |= {f"t{i}": torch.from_numpy(x) for i, x in enumerate(case.inputs["test"])}
        models, files = (
            [tuple(f"{s}-{i}" for i in range(4)) for s in range(2)],
            [f"t{i}" for i in range(4)],
        )
        enrol, test = case.arrays["trials"].astype(int).T
        trials = Trials(lines=[], models=models, files=files, enrol=enrol, test=test, label=None)
    else:
        x = (
            case.inputs["emb"]
            if file == "score_clova"
            else case.inputs["emb_crops" if case.hparams["tta"] else "emb_whole"]
        )
        reps = {str(i): torch.from_numpy(rep) for i, rep in enumerate(x)}
        trials = Trials.of_pairs(
            [(str(a), str(b)) for _, a, b in case.arrays["trials"].astype(int)]
        )
    loss = (
        Distance()
        if case.hparams.get("test_normalize") is False and file == "score_clova"
        else Squares()
    )
    got = Scorer(trainer(loss).net).score(
        trials, reps, "euclidean" if file == "score_clova" else "similarity"
    )
    assert np.allclose(got, case.arrays["scores"].flatten(), rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------- checkpoints
class Code:
    """What runs when somebody unpickles it."""

    def __reduce__(self):
        return exec, ("raise SystemExit('code of a checkpoint was run')",)


def test_round_trip_and_published_names(tmp_path):
    made = trainer()
    list(made.train_epoch([batch(1)]))
    write_checkpoint(made.state() | {"options": {}, "classes": {}}, tmp_path / "a.model")
    other = trainer()
    state = read_checkpoint(tmp_path / "a.model")
    load_weights(other.net, state, "a.model")
    other.resume(state)
    assert equal(other.state(), made.state())
    weights = made.net.model.state_dict()
    published = {
        "bare": {f"__S__.{k}": v for k, v in weights.items()},
        "module": {"model_state_dict": {f"__S__.module.{k}": v for k, v in weights.items()}},
        "nested": {"model": weights},
        "lightning": {"state_dict": {f"model.{k}": v for k, v in weights.items()}},
        "mfa": {
            "state_dict": {f"encoder.{k}": v for k, v in weights.items()}
            | {"loss_fun.weight": torch.zeros(1)},
            "callbacks": {Path("x"): 1},
        },
        "settings": {
            "model": {f"module.{k}": v for k, v in weights.items()},
            "settings": argparse.Namespace(lr=1),
            "any": [Code()],
        },
    }
    for name, content in published.items():
        torch.save(content, tmp_path / name)
        fresh, state = SpeakerNet(Line(), Squares()), read_checkpoint(tmp_path / name)
        assert list(state["loss"]) == (["weight"] if name == "mfa" else [])
        load_weights(fresh, state, name, head="unused")
        assert equal(dict(fresh.model.state_dict()), dict(weights)), name


def test_published_checkpoints_score_by_the_published_options(
    corpus, checkpoint, tmp_path, program
):
    """Heads of thousands of speakers, CAP's classifier and its layer without a name of its own: the model's weights alone matter."""

    def score(path, *words):
        code, out, err = program(
            "--eval",
            "--initial_model",
            path,
            "--model",
            "ResNetSE34L",
            "--nOut",
            32,
            "--test_list",
            corpus / "trials.txt",
            "--test_path",
            corpus / "wav",
            "--eval_frames",
            40,
            "--num_eval",
            2,
            "--output",
            tmp_path / "scores.txt",
            *words,
        )
        assert code == 0, err
        return np.array(
            [float(line.split()[-1]) for line in (tmp_path / "scores.txt").read_text().splitlines()]
        )

    ours = torch.load(checkpoint, weights_only=True)["model"]
    names = {f"__S__.{name.removeprefix('pooling.')}": value for name, value in ours.items()}
    torch.save(
        {
            "model_state_dict": names | {"__L__.softmax.fc.weight": torch.zeros(5994, 32)},
            "epoch": 3,
        },
        tmp_path / "clova.model",
    )
    assert np.allclose(
        score(tmp_path / "clova.model", "--trainfunc", "softmaxproto"), score(checkpoint), atol=1e-6
    )

    torch.manual_seed(0)
    model = build(
        "model",
        argparse.Namespace(
            **{o.name: o.default for o in options_of("model", "ResNetSE34L")}
            | {"encoder_type": "CAP", "nOut": 32},
            model="ResNetSE34L",
        ),
    )
    names = {
        f"__S__.{name.removeprefix('pooling.')}": value
        for name, value in model.state_dict().items()
    }
    names["__S__.fc"] = names.pop("__S__.fc.weight")
    torch.save(names | {"__S__.global_w": torch.zeros(5994, 32)}, tmp_path / "cap.model")
    assert (
        score(
            tmp_path / "cap.model", "--trainfunc", "proto", "--global_clf", "--encoder_type", "CAP"
        ).std()
        > 0
    )


def test_nothing_is_loaded_by_halves():
    made = trainer()
    before = {k: v.clone() for k, v in made.net.state_dict().items()}
    weights = {"fc.weight": torch.zeros(4, 6), "fc.bias": torch.zeros(5), "other": torch.zeros(1)}
    with pytest.raises(InputError) as error:
        load_weights(made.net, {"model": weights, "loss": {}}, "x.model")
    for line in (
        "missing: model.bn.weight",
        "unexpected: model.other",
        "misshaped: model.fc.bias, [5] in the file, [4] here",
    ):
        assert line in str(error.value)
    assert equal(dict(made.net.state_dict()), before)
    assert "unexpected: model.other" in load_weights(
        made.net, {"model": weights, "loss": {}}, "x.model", partial=True
    )
    assert made.net.model.fc.weight.abs().sum() == 0 and equal(
        made.net.model.fc.bias, before["model.fc.bias"]
    )


def test_trainer_names_no_component_or_corpus():
    names = [name for part in options.PARTS for name in options.components(part)] + [
        "voxceleb",
        "musan/",
        "asvspoof",
    ]
    for file in (
        "SpeakerNet.py",
        "network/checkpoints.py",
        "trainSpeakerNet.py",
        "training/task.py",
        "training/run.py",
        "training/run_folder.py",
    ):
        # below the head
        text = (ROOT / file).read_text().split('"""', 2)[2]
        assert not [name for name in names if f'"{name}"' in text or f"'{name}'" in text], file
