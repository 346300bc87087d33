"""Training, resuming, scoring and checkpoints, by the command line and by the classes."""

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
from options.plugins import find, options_of
from SpeakerNet import NonFiniteLoss, SpeakerNet, Trainer
from training.run import TrainingRun
from training.sampling import GroupSampler

ROOT = Path(__file__).parent.parent
# Losses that are trained in every run of the tests. The others are tested by make test-slow.
FAST_LOSSES = ("softmax", "aamsoftmaxproto", "angleproto", "proto")


# ---------------------------------------------------------------- runs
@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    """Eight voices, each a pitch with harmonics and noise: 10 files each to train, 3 to test.

    A working trainer solves this task in seconds.
    """
    folder = tmp_path_factory.mktemp("tones")
    time_axis = np.arange(8000) / 16000
    train = []
    test = []
    for voice in range(8):
        for take in range(13):
            draw = np.random.default_rng((voice, take))
            x = sum(
                np.sin(2 * np.pi * (90 + 37 * voice) * k * time_axis + draw.uniform(0, 6)) / k
                for k in range(1, 6)
            )
            name = f"{voice}-{take}.wav"
            sf.write(folder / name, 0.1 * x + 0.03 * draw.standard_normal(8000), 16000)
            (test if take >= 10 else train).append((voice, name))
    (folder / "train_list.txt").write_text("".join(f"{voice} {name}\n" for voice, name in train))
    trials = []
    for a, b in itertools.combinations(test, 2):
        trials.append(f"{int(a[0] == b[0])} {a[1]} {b[1]}\n")
    (folder / "trials.txt").write_text("".join(trials))
    return folder


def losses_of_speakers():
    """The losses that need only the speakers; those that read more entries are for enhancement."""
    for name in options.components("trainfunc"):
        loss = find("trainfunc", name)
        if loss.compares_speakers and not loss.reads:
            yield pytest.param(name, marks=[] if name in FAST_LOSSES else [pytest.mark.slow])


def losses_of_enhancement():
    return [name for name in options.components("trainfunc") if find("trainfunc", name).reads]


def default_options(trainfunc, **more):
    """Returns the options of a loss with their defaults, and further options."""
    values = {option.name: option.default for option in options_of("trainfunc", trainfunc)}
    return argparse.Namespace(**values, trainfunc=trainfunc, **more)


def trainer_with_adam(model, loss, lr):
    made = Trainer(SpeakerNet(model, loss))
    made.optimizer = torch.optim.Adam(made.net.parameters(), lr=lr)
    made.scheduler = torch.optim.lr_scheduler.LambdaLR(made.optimizer, lambda step: 1.0)
    return made


def eer_of_files(made, trials, folder):
    """Returns the EER of a trainer's network."""
    scorer = Scorer(made.eval_net)
    dataset = EvalDataset(trials.paths(), folder, eval_frames=0, num_eval=1)
    reps = {}
    for index, x in scorer.represent(batches(eval_loader(dataset, workers=0))):
        for i, rep in zip(index, x, strict=True):
            reps[trials.paths()[i]] = rep
    return summarize(scorer.score(trials, reps), trials.label).eer


@pytest.mark.parametrize("trainfunc", losses_of_speakers())
def test_learns(trainfunc, tones):
    """From lists to EER, with every loss that needs only the speakers."""
    torch.manual_seed(0)
    utterances = read_train_list(tones / "train_list.txt")
    trials = read_trials(tones / "trials.txt")
    data = TrainDataset(utterances, tones, max_frames=24, seed=0)
    sampler = GroupSampler(utterances, batch_size=8, nPerSpeaker=2, max_seg_per_spk=500, seed=0)
    model = Tiny()
    loss = build("trainfunc", default_options(trainfunc), dim=16, num_classes=8)
    made = trainer_with_adam(model, loss, lr=0.01)
    before = eer_of_files(made, trials, tones)
    losses = []
    for epoch in range(1, 31):
        sampler.set_epoch(epoch)
        list(made.train_epoch(batches(train_loader(data, sampler, workers=0))))
        losses.append(made.means()["loss"])
        made.next_epoch({})
    advice = f"loss/{trainfunc}.py does not train a network: check its gradient and similarity()"
    assert losses[-1] < 0.5 * losses[0], advice
    assert eer_of_files(made, trials, tones) < 5 < 10 < before, advice


def eer_of_groups(made, x):
    """Returns the EER over all pairs of the embeddings x [8, 12, 16] of 8 speakers."""
    pairs = list(itertools.combinations(range(96), 2))
    label = np.array([a // 12 == b // 12 for a, b in pairs])
    trials = Trials.of_pairs(pairs, label=label)
    reps = dict(enumerate(x.reshape(96, 1, 16)))
    return summarize(Scorer(made.eval_net).score(trials, reps), trials.label).eer


@pytest.mark.parametrize("trainfunc", losses_of_enhancement())
def test_learns_to_enhance(trainfunc):
    """The EER of new noisy embeddings is low after the enhancement, high without it.

    The clean embeddings of 8 speakers use half of the dimensions. Most of the noise is in the other
    half.
    """
    draw = torch.Generator().manual_seed(0)
    clean = torch.randn(8, 16, generator=draw) * (torch.arange(16) < 8)
    clean = nn.functional.normalize(clean, dim=1)
    # The last utterance is from another session.
    loudness = torch.tensor([1.0, 1.0, 1.0, 1.5])[:, None] * torch.tensor([0.1] * 8 + [0.5] * 8)

    def noisy():
        return clean.unsqueeze(1) + loudness * torch.randn(8, 4, 16, generator=draw)  # [8, 4, 16]

    torch.manual_seed(0)
    parts = default_options(trainfunc, model="MyLinearNetv2", nOut=16, activation="ELU")
    model = build("model", parts)
    loss = build("trainfunc", parts, dim=16, num_classes=8)
    made = trainer_with_adam(model, loss, lr=0.003)
    label = torch.arange(8)
    test = torch.cat([noisy() for _ in range(3)], 1)  # [8, 12, 16]
    data = {
        "label": label,
        "spoof": torch.zeros(8, dtype=torch.bool),
        "index": torch.arange(8).view(8, 1),
        "target": clean,
        "session": torch.tensor([0, 0, 0, 1]).expand(8, 4),
    }
    before = eer_of_groups(made, test)
    steps = (data | {"x": noisy(), "other": clean.roll(1 + step % 7, 0)} for step in range(200))
    losses = [terms["loss"] for terms in made.train_epoch(steps)]
    ((_, enhanced),) = Scorer(made.eval_net).represent([(label, test)])
    after = eer_of_groups(made, enhanced)
    advice = f"loss/{trainfunc}.py does not train a network: check its gradient and similarity()"
    assert losses[-1] < 0.5 * losses[0], advice
    assert after < 3 < 10 < before, advice


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers(workers, corpus, tmp_path, checkpoint, program):
    assert program(*small_run(corpus, tmp_path, "--nDataLoaderThread", workers))[0] == 0
    state, log = end_of(tmp_path)
    other, other_log = end_of(checkpoint.parent.parent)
    assert equal(state["model"], other["model"])
    assert equal(state["loss"], other["loss"])
    assert log == other_log


def test_resumes_anywhere(corpus, tmp_path, checkpoint, program):
    """A run that is stopped and resumed after every step ends like an undisturbed run."""
    whole, whole_log = end_of(checkpoint.parent.parent)
    for steps in range(1, whole["step"] + 1):
        assert program(*small_run(corpus, tmp_path, "--max_steps", steps))[0] == 0
    state, log = end_of(tmp_path)
    for key in ("model", "loss", "optimizer", "scheduler", "step", "rng"):
        assert equal(state[key], whole[key]), key
    assert [line["loss"] for line in log] == [line["loss"] for line in whole_log]
    # The same command once more trains nothing.
    code, out, _ = program(*small_run(corpus, tmp_path))
    assert code == 0 and "Resuming" in out
    assert equal(read_checkpoint(tmp_path / "model" / "last.model")["model"], state["model"])


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    ],
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
    # Like a terminal, send the signal to the loader processes too.
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Run the same command to resume." in out
    assert "Traceback" not in err
    assert read_checkpoint(tmp_path / "model" / "last.model")["step"] > 0


@pytest.mark.slow
def test_resumes_after_a_kill(corpus, tmp_path):
    """One SIGKILL. tests/kill_resume.py kills a run twenty times, with 0, 1 and 3 workers."""
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
    best = read_checkpoint(tmp_path / "model" / "best.model")
    assert best["result"]["EER"] == min(line["EER"] for line in lines)


def test_memory_of_the_gpu_runs_out(corpus, checkpoint, tmp_path, program, monkeypatch):
    def too_large(*_):
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ..."
        )

    monkeypatch.setattr(Trainer, "_update", too_large)
    code, _, err = program(*small_run(corpus, tmp_path))
    assert code == 2
    assert "error: CUDA out of memory. Lower --batch_size (now 4" in err
    assert "--nPerSpeaker (now 2)" in err
    monkeypatch.setattr(Scorer, "_bank", too_large)
    code, _, err = program(*small_run(corpus, tmp_path), "--eval", "--initial_model", checkpoint)
    assert code == 2 and "Lower --num_eval (now 2) or --eval_frames (now 40" in err


def test_waiting_for_data_is_reported_once(caplog):
    run = types.SimpleNamespace(
        warned_of_waiting=False, options=types.SimpleNamespace(nDataLoaderThread=0)
    )
    text = "spends 21 % of the time waiting for data. Raise --nDataLoaderThread (now 0"
    for line, warns in (
        ({"seconds": 9, "waiting": 0.9}, False),
        ({"seconds": 60, "waiting": 0.2}, False),
        ({"seconds": 60, "waiting": 0.21}, True),
        ({"seconds": 60, "waiting": 0.9}, False),
    ):
        caplog.clear()
        TrainingRun.warn_of_waiting(run, line)
        assert (text in caplog.text) == warns == bool(caplog.text)


def test_log_line(checkpoint):
    log = checkpoint.parent.parent / "log.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    entries = {"loss", "lr", "utt_per_s", "seconds", "waiting", "EER", "minDCF", "step"}
    assert entries <= lines[0].keys()
    assert 0 <= lines[0]["waiting"] <= 1


def evaluation_words(checkpoint, trials, corpus, scores):
    """Words that score trials of the corpus with a checkpoint."""
    words = ["--eval", "--initial_model", checkpoint, "--test_list", trials]
    return [*words, "--test_path", corpus / "wav", "--output", scores]


def test_evaluation_gives_the_scores_of_training(checkpoint, corpus, tmp_path, program):
    scores = tmp_path / "scores.txt"
    words = evaluation_words(checkpoint, corpus / "trials.txt", corpus, scores)
    code, out, _ = program(*words, "--nDataLoaderThread", 1)
    assert code == 0 and "EER" in out and "minDCF" in out
    of_training = checkpoint.parent.parent / "result" / "scores.txt"
    assert scores.read_text() == of_training.read_text()
    trials = [line.rsplit(" ", 1)[0] for line in scores.read_text().splitlines()]
    assert trials == (corpus / "trials.txt").read_text().splitlines()


def test_unlabelled_trials_get_scores_and_no_metric(checkpoint, corpus, tmp_path, program):
    bare = tmp_path / "bare.txt"
    trials = (corpus / "trials.txt").read_text().splitlines()
    bare.write_text("".join(f"{line[2:]}\n" for line in trials))
    scores = tmp_path / "s.txt"
    code, out, _ = program(*evaluation_words(checkpoint, bare, corpus, scores))
    assert code == 0 and "EER" not in out
    labelled = (checkpoint.parent.parent / "result" / "scores.txt").read_text().splitlines()
    assert scores.read_text().splitlines() == [line[2:] for line in labelled]


def test_extract_and_verify(checkpoint, corpus, tmp_path, program):
    use = ["--initial_model", checkpoint, "--nDataLoaderThread", 0]
    train_list = corpus / "train_list.txt"
    folder = tmp_path / "emb"
    extract = ["--extract", train_list, "--test_path", corpus / "wav", "--output", folder, *use]
    code, _, err = program(*extract)
    assert code == 0, err
    files = [line.split()[1] for line in train_list.read_text().splitlines()]
    written = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.npy"))
    assert written == sorted(file[:-4] + ".npy" for file in files)
    first = np.load(folder / (files[0][:-4] + ".npy"))
    assert first.shape == (2, 32) and first.dtype == np.float32
    # Existing embeddings are left alone.
    assert "0 embeddings" in program(*extract)[1]
    # They are not mixed with embeddings of another network, or of other crops.
    other = torch.load(checkpoint, weights_only=True)
    other["model"]["fc.bias"] += 1
    del other["checksum"]
    torch.save(other, tmp_path / "other.model")
    (folder / files[-1]).with_suffix(".npy").unlink()
    for words in (["--initial_model", tmp_path / "other.model"], ["--num_eval", 3]):
        code, _, err = program(*extract, *words)
        assert (
            code == 2 and f"error: {folder / files[0][:-4]}.npy: expected the embedding of" in err
        )
        assert not (folder / files[-1]).with_suffix(".npy").exists()
    assert "Wrote 1 embeddings" in program(*extract)[1]

    a = corpus / "wav" / files[0]
    b = corpus / "wav" / files[1]
    code, out, _ = program("--verify", a, a, "--eval_frames", 0, *use)
    assert code == 0 and re.match(
        r"Score       1\.0000\nThreshold   0\.\d+\nDecision    same speaker\n", out
    )
    assert "different speakers" in program("--verify", a, b, "--threshold", 1.1, *use)[1]


def test_fine_tuning_on_other_speakers(checkpoint, corpus, tmp_path, program):
    half = tmp_path / "half.txt"
    lines = (corpus / "train_list.txt").read_text().splitlines()[:30]
    half.write_text("".join(f"other-{line}\n" for line in lines))
    words = small_run(corpus, tmp_path / "run", "--train_list", half, "--initial_model", checkpoint)
    code, out, _ = program(*words)
    assert code == 0 and "0 of 5 speakers are in the checkpoint, and 5 start" in out
    # Another loss needs --partial.
    words += ["--trainfunc", "aamsoftmax", "--save_path", tmp_path / "other"]
    code, _, err = program(*words)
    assert code == 2 and "unexpected: loss.softmax.fc.weight" in err
    code, out, _ = program(*words, "--partial")
    assert code == 0 and "unexpected: loss.softmax.fc.weight" in out


def test_mixed_precision_accumulation_and_clipping(corpus, tmp_path, program):
    words = ["--mixedprec", "--accumulate", 2, "--clip", 1.0, "--max_epoch", 1]
    code, _, err = program(*small_run(corpus, tmp_path, *words))
    assert code == 0, err
    assert np.isfinite(json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])["loss"])


def test_a_schedule_that_follows_results(corpus, tmp_path, program):
    words = ["--scheduler", "plateau", "--lr_patience", 0, "--lr_threshold", 0.9, "--max_epoch", 3]
    code, _, err = program(*small_run(corpus, tmp_path, *words))
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
    made = trainer(accumulate=2)
    parts = trainer()
    list(made.train_epoch([batch(1), batch(2)]))
    losses = [parts.net(parts.on_device(batch(seed)))["loss"] for seed in (1, 2)]
    (sum(losses) / 2).backward()
    parts.optimizer.step()
    for a, b in zip(made.net.parameters(), parts.net.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    assert made.step == 1 and made.position == 2


def distance_moved(made):
    """Makes one update and returns by how much the parameters have changed in total."""
    before = torch.cat([p.detach().flatten().clone() for p in made.net.parameters()])
    list(made.train_epoch([batch(1)]))
    after = torch.cat([p.detach().flatten() for p in made.net.parameters()])
    return (after - before).norm()


def test_clipping():
    assert distance_moved(trainer()) > 1e-2
    assert abs(distance_moved(trainer(clip=1e-3)) - 1e-4) < 1e-6


# On a GPU the losses of several updates are read back at once.
@pytest.mark.parametrize("updates_per_sync", [1, 2, 20])
@pytest.mark.parametrize("optimizer", options.components("optimizer"))
def test_non_finite_loss_stops_or_is_skipped(optimizer, updates_per_sync):
    def made_trainer(**more):
        made = trainer(**more)
        made.optimizer = find("optimizer", optimizer)(made.net.parameters(), lr=0.1)
        made.updates_per_sync = updates_per_sync
        return made

    with pytest.raises(NonFiniteLoss, match="step 1") as error:
        list(made_trainer().train_epoch([batch(1), batch(2, float("nan")), batch(3)]))
    assert error.value.index == list(range(16))
    made = made_trainer(skip_nonfinite=1)
    clean = made_trainer()
    list(made.train_epoch([batch(1), batch(2, float("nan")), batch(3)]))
    list(clean.train_epoch([batch(1), batch(3)]))
    assert made.skipped == 1 and made.step == 3
    # The state includes the batch statistics.
    for name, value in clean.net.state_dict().items():
        torch.testing.assert_close(made.net.state_dict()[name], value)
    assert made.means() == clean.means()


@pytest.mark.parametrize("loss", [Squares, Distance])
@pytest.mark.parametrize("scoring", ["similarity", "euclidean"])
@pytest.mark.parametrize("dense", [True, False])
def test_scores_equal_a_loop(loss, scoring, dense):
    """A score is the mean over all pairs of crops. Some models have several enrolment files."""
    draw = np.random.default_rng(0)
    made = trainer(loss())
    reps = {}
    for i in range(40):
        reps[f"f{i}"] = torch.randn(3, 4, generator=torch.Generator().manual_seed(i))
    models = [("f0",), ("f1", "f2"), ("f3", "f4", "f5"), ("f6", "f7")]
    models += [(f"f{i}",) for i in range(8, 40)]
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
    method = getattr(made.net.loss, scoring)
    for n in range(0, count, 7):
        ref = torch.stack([reps[f] for f in models[trials.enrol[n]]]).mean(0)
        qry = reps[trials.files[trials.test[n]]]
        values = []
        for r, q in itertools.product(ref, qry):
            values.append(method(*made.net.model.pair(r[None], q[None])).item())
        assert abs(scores[n] - np.mean(values)) < 1e-5


def enrolled_speakers(case):
    """Returns the trials and representations of a SASV case: two speakers with four files each."""
    reps = {}
    for speaker, files in enumerate(case.inputs["enrol"]):
        for i, x in enumerate(files):
            reps[f"{speaker}-{i}"] = torch.from_numpy(x)
    for i, x in enumerate(case.inputs["test"]):
        reps[f"t{i}"] = torch.from_numpy(x)
    models = []
    for speaker in range(2):
        models.append(tuple(f"{speaker}-{i}" for i in range(4)))
    enrol, test = case.arrays["trials"].astype(int).T
    files = [f"t{i}" for i in range(4)]
    trials = Trials(lines=[], models=models, files=files, enrol=enrol, test=test, label=None)
    return trials, reps


def pairs_of_files(case, embeddings):
    """Returns the trials and representations of a case with one enrolment file per trial."""
    reps = {str(i): torch.from_numpy(rep) for i, rep in enumerate(embeddings)}
    numbers = case.arrays["trials"].astype(int)
    trials = Trials.of_pairs([(str(a), str(b)) for _, a, b in numbers])
    return trials, reps


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("file", ["score_clova", "score_ska", "score_sasv2"])
def test_scores_equal_the_references(file, number):
    """Scores of three projects.

    voxceleb_trainer: mean distances, without and with normalisation. ska-tdnn: cosines of whole
    files and mean cosines of crops. SASV 2022: cosines of speakers with several enrolment files.
    """
    case = golden.load_cases(ROOT / "tests" / "reference" / f"{file}.npz")[number]
    loss = Squares()
    scoring = "similarity"
    if file == "score_sasv2":
        trials, reps = enrolled_speakers(case)
    elif file == "score_ska":
        key = "emb_crops" if case.hparams["tta"] else "emb_whole"
        trials, reps = pairs_of_files(case, case.inputs[key])
    else:
        trials, reps = pairs_of_files(case, case.inputs["emb"])
        scoring = "euclidean"
        if case.hparams.get("test_normalize") is False:
            loss = Distance()
    got = Scorer(trainer(loss).net).score(trials, reps, scoring)
    assert np.allclose(got, case.arrays["scores"].flatten(), rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------- checkpoints
class Code:
    """Unpickling an instance runs code."""

    def __reduce__(self):
        return exec, ("raise SystemExit('code of a checkpoint was run')",)


def test_checkpoint_round_trip(tmp_path):
    made = trainer()
    list(made.train_epoch([batch(1)]))
    write_checkpoint(made.state() | {"options": {}, "classes": {}}, tmp_path / "a.model")
    other = trainer()
    state = read_checkpoint(tmp_path / "a.model")
    load_weights(other.net, state, "a.model")
    other.resume(state)
    assert equal(other.state(), made.state())


def with_prefix(prefix, weights):
    return {f"{prefix}{name}": value for name, value in weights.items()}


@pytest.mark.parametrize("name", ["bare", "module", "nested", "lightning", "mfa", "settings"])
def test_published_names(name, tmp_path):
    """Six layouts of published checkpoints load."""
    made = trainer()
    list(made.train_epoch([batch(1)]))
    weights = made.net.model.state_dict()
    head = {"loss_fun.weight": torch.zeros(1)}
    layouts = {
        "bare": with_prefix("__S__.", weights),
        "module": {"model_state_dict": with_prefix("__S__.module.", weights)},
        "nested": {"model": weights},
        "lightning": {"state_dict": with_prefix("model.", weights)},
        "mfa": {
            "state_dict": with_prefix("encoder.", weights) | head,
            "callbacks": {Path("x"): 1},
        },
        "settings": {
            "model": with_prefix("module.", weights),
            "settings": argparse.Namespace(lr=1),
            "any": [Code()],
        },
    }
    torch.save(layouts[name], tmp_path / name)
    fresh = SpeakerNet(Line(), Squares())
    state = read_checkpoint(tmp_path / name)
    assert list(state["loss"]) == (["weight"] if name == "mfa" else [])
    load_weights(fresh, state, name, head="unused")
    assert equal(dict(fresh.model.state_dict()), dict(weights))


def published_names(weights):
    """Returns weights with the names of voxceleb_trainer's checkpoints."""
    names = {}
    for name, value in weights.items():
        names[f"__S__.{name.removeprefix('pooling.')}"] = value
    return names


@pytest.fixture
def published_scores(corpus, tmp_path, program):
    """published_scores(checkpoint, *words) -> scores of the corpus's trials."""

    def call(path, *words):
        scores = tmp_path / "scores.txt"
        evaluation = evaluation_words(path, corpus / "trials.txt", corpus, scores)
        model = ["--model", "ResNetSE34L", "--nOut", 32, "--eval_frames", 40, "--num_eval", 2]
        code, _, err = program(*evaluation, *model, *words)
        assert code == 0, err
        return np.array([float(line.split()[-1]) for line in scores.read_text().splitlines()])

    return call


def test_a_published_checkpoint_scores_without_its_head(checkpoint, tmp_path, published_scores):
    """The head of thousands of speakers is not needed, only the weights of the model."""
    names = published_names(torch.load(checkpoint, weights_only=True)["model"])
    head = {"__L__.softmax.fc.weight": torch.zeros(5994, 32)}
    torch.save({"model_state_dict": names | head, "epoch": 3}, tmp_path / "clova.model")
    scores = published_scores(tmp_path / "clova.model", "--trainfunc", "softmaxproto")
    assert np.allclose(scores, published_scores(checkpoint), atol=1e-6)


def test_a_published_checkpoint_of_cap_scores(tmp_path, published_scores):
    """CAP's checkpoints have a classifier, and a layer `fc` whose name has one part only."""
    torch.manual_seed(0)
    values = {option.name: option.default for option in options_of("model", "ResNetSE34L")}
    values |= {"encoder_type": "CAP", "nOut": 32, "model": "ResNetSE34L"}
    names = published_names(build("model", argparse.Namespace(**values)).state_dict())
    names["__S__.fc"] = names.pop("__S__.fc.weight")
    torch.save(names | {"__S__.global_w": torch.zeros(5994, 32)}, tmp_path / "cap.model")
    words = ["--trainfunc", "proto", "--global_clf", "--encoder_type", "CAP"]
    assert published_scores(tmp_path / "cap.model", *words).std() > 0


def test_weights_are_loaded_completely_or_not_at_all():
    made = trainer()
    before = {name: value.clone() for name, value in made.net.state_dict().items()}
    weights = {"fc.weight": torch.zeros(4, 6), "fc.bias": torch.zeros(5), "other": torch.zeros(1)}
    state = {"model": weights, "loss": {}}
    with pytest.raises(InputError) as error:
        load_weights(made.net, state, "x.model")
    for line in (
        "missing: model.bn.weight",
        "unexpected: model.other",
        "misshaped: model.fc.bias, [5] in the file, [4] here",
    ):
        assert line in str(error.value)
    assert equal(dict(made.net.state_dict()), before)
    problems = load_weights(made.net, state, "x.model", partial=True)
    assert "unexpected: model.other" in problems
    assert made.net.model.fc.weight.abs().sum() == 0
    assert equal(made.net.model.fc.bias, before["model.fc.bias"])


def test_trainer_names_no_component_or_corpus():
    """The trainer contains no fact about a task, see the head of SpeakerNet.py."""
    names = ["voxceleb", "musan/", "asvspoof"]
    for part in options.PARTS:
        names += options.components(part)
    for file in (
        "SpeakerNet.py",
        "network/checkpoints.py",
        "trainSpeakerNet.py",
        "training/task.py",
        "training/run.py",
        "training/run_folder.py",
    ):
        # The docstring of the module may name them.
        text = (ROOT / file).read_text().split('"""', 2)[2]
        for name in names:
            assert f'"{name}"' not in text and f"'{name}'" not in text, (
                f"{file} names {name!r}: move what depends on it into the component or the reader"
            )
