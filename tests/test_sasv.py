"""Spoofing-aware verification end to end.

Training with a quota of spoofed speech, enrolment with several files, scores in parts, and the
published commands.
"""

import argparse
import os
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from conftest import Tiny, small_run
from pages import SYSTEM_PAGES, commands_of
from small_world import PUBLISHED_SECTION, with_published_names, write_asvspoof

from corpus.lists import classes_of, read_train_list, read_trials
from DatasetLoader import EvalDataset, TrainDataset, batches, eval_loader, train_loader
from inference.evaluation import summary_of_trials
from inference.scorer import Scorer
from metrics.sasv import sasv_eers
from network.checkpoints import read_checkpoint
from network.components import build
from options.plugins import options_of
from SpeakerNet import SpeakerNet, Trainer
from training.sampling import QuotaSampler

TIME = np.arange(8000) / 16000
# Attack -> the sound that its spoofed copies have in addition.
ATTACKS = {
    "-": 0.0,
    "A01": np.sign(np.sin(2 * np.pi * 5000 * TIME)),
    "A02": np.sin(2 * np.pi * 3700 * TIME),
}


def tone(voice, draw):
    """Returns a pitch with harmonics of random phase, [8000]."""
    return sum(
        np.sin(2 * np.pi * (90 + 37 * voice) * k * TIME + draw.uniform(0, 6)) / k
        for k in range(1, 6)
    )


def trials_of(name, voice, attack):
    """Returns the trials of a test file: all claims, or the true one for spoofed speech."""
    if attack != "-":
        return [f"s{voice} {name} {attack} spoof"]
    lines = []
    for claim in range(8):
        kind = "target" if claim == voice else "nontarget"
        lines.append(f"s{claim} {name} bonafide {kind}")
    return lines


@pytest.fixture(scope="module")
def voices(tmp_path_factory):
    """Eight voices, each a pitch with harmonics and noise, and spoofed copies with an added sound.

    The lists are in the formats of ASVspoof 2019.
    """
    folder = tmp_path_factory.mktemp("voices")
    train = []
    trials = []
    enrolment = []
    for voice in range(8):
        for take in range(14):
            draw = np.random.default_rng((voice, take))
            x = tone(voice, draw)
            for attack, sound in ATTACKS.items():
                name = f"{voice}-{take}{'' if attack == '-' else attack}"
                wave = 0.1 * x + 0.03 * draw.standard_normal(8000) + 0.03 * sound
                sf.write(folder / f"{name}.wav", wave, 16000)
                if take < 10:
                    key = "bonafide" if attack == "-" else "spoof"
                    train.append(f"s{voice} {name} - {attack} {key}")
                elif take >= 12:
                    trials += trials_of(name, voice, attack)
        enrolment.append(f"s{voice} {voice}-10,{voice}-11")
    write_lines(folder / "cm.train.trn.txt", train)
    write_lines(folder / "asv.eval.trl.txt", trials)
    write_lines(folder / "asv.eval.trn.txt", enrolment)
    return folder


def write_lines(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize(
    "trainfunc, options",
    [
        ("sasv_e2e_v1", {}),
        ("sasv_multitask", {}),
        pytest.param("sasv_multitask", {"spoof_head": "sigmoid"}, marks=pytest.mark.slow),
    ],
)
def test_learns(trainfunc, options, voices):
    """From lists to SASV-EERs: low after training, high before it.

    The loss with two tasks adds the bona fide score, because the cosine of speakers alone accepts
    spoofed copies.
    """
    torch.manual_seed(0)
    utterances = read_train_list(voices / "cm.train.trn.txt")
    utterances = [u._replace(path=f"{u.path}.wav") for u in utterances]
    trials = read_trials(voices / "asv.eval.trl.txt")
    trials = trials.renamed({name: f"{name}.wav" for name in trials.paths()})
    classes = classes_of(utterances)
    data = TrainDataset(utterances, voices, classes, max_frames=24, seed=0)
    sampler = QuotaSampler(
        utterances, num_spk=6, batch_size=24, nPerSpeaker=2, max_seg_per_spk=500, seed=0
    )
    values = {option.name: option.default for option in options_of("trainfunc", trainfunc)}
    parts = argparse.Namespace(**values | options, trainfunc=trainfunc)
    model = Tiny()
    loss = build("trainfunc", parts, dim=16, num_classes=len(classes))
    made = Trainer(SpeakerNet(model, loss))
    made.optimizer = torch.optim.Adam(made.net.parameters(), lr=0.01)
    made.scheduler = torch.optim.lr_scheduler.LambdaLR(made.optimizer, lambda step: 1.0)
    before = eers_of(made, trials, voices)
    losses = []
    for epoch in range(1, 31):
        sampler.set_epoch(epoch)
        list(made.train_epoch(batches(train_loader(data, sampler, workers=0))))
        losses.append(made.means()["loss"])
        made.next_epoch({})
    after = eers_of(made, trials, voices)
    assert losses[-1] < 0.5 * losses[0]
    assert max(after.values()) < 8 < 15 < before["SASV-EER"]


def eers_of(made, trials, folder):
    """Returns the SASV-EERs of a trainer's network."""
    scorer = Scorer(made.eval_net)
    dataset = EvalDataset(trials.paths(), folder, eval_frames=0, num_eval=1)
    reps = {}
    for index, x in scorer.represent(batches(eval_loader(dataset, workers=0))):
        for i, rep in zip(index, x, strict=True):
            reps[trials.paths()[i]] = rep
    scores = scorer.score(trials, reps)
    bonafide = scorer.bonafide(trials, reps)
    if bonafide is not None:
        scores = scores + made.net.loss.fusion * bonafide
    return sasv_eers(scores, trials.kinds)


# ---------------------------------------------------------------------- whole runs
@pytest.fixture(scope="module")
def spoofed(tmp_path_factory):
    """A synthetic corpus with spoofed copies, in the layout of ASVspoof 2019 LA, and its lists."""
    la = tmp_path_factory.mktemp("LA")
    write_asvspoof(tmp_path_factory.mktemp("made"), la)
    return la


SMALL = shlex.split(
    "--num_spk 4 --batch_size 12 --max_frames 40 --eval_frames 40 --num_eval 1 "
    "--nDataLoaderThread 0 --device cpu --max_steps 2"
)
# The words of the published commands, after `python trainSpeakerNet.py`.
COMMANDS = [
    shlex.split(command)[2:]
    for command in commands_of(SYSTEM_PAGES["spoofing"], [PUBLISHED_SECTION])
]
# Options of the published command that its translation leaves out.
LEFT_OUT = shlex.split(
    "--spk_meta_train spk_meta/spk_meta_trn.pk --spk_meta_eval spk_meta/spk_meta_eval.pk "
    "--musan_path musan_split --rir_path RIRS_NOISES/simulated_rirs"
)
# Options of models that have an effect on their size -> small values.
SMALL_SIZES = {
    "frt_c": 8,
    "eca_c": 64,
    "num_blocks": 2,
    "output_size": 32,
    "attention_heads": 2,
    "linear_units": 64,
}


def small_model(command):
    """Returns options that make the model of a command line small."""
    known = {option.name for option in options_of("model", command[command.index("--model") + 1])}
    words = []
    for name, value in SMALL_SIZES.items():
        if name in known:
            words += [f"--{name}", value]
    return words


@pytest.fixture
def place(spoofed, tmp_path, monkeypatch):
    """A folder with all files and folders that the published commands name."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "LA").symlink_to(spoofed)
    (tmp_path / "data" / "protocols").symlink_to(spoofed / "protocols")
    (tmp_path / "spk_meta").symlink_to(spoofed / "spk_meta")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_published_commands(place, program):
    """The three commands of docs/spoofing.md, with smaller networks.

    Training from random weights, fine-tuning of weights with a head of other speakers, evaluation.
    """
    scratch, tuning, evaluation = COMMANDS
    code, out, err = program(*scratch, *LEFT_OUT, *SMALL, *small_model(scratch))
    assert code == 0, err
    assert "6 speakers, 24 utterances; 24 spoofed: A01 12, A02 12" in out
    assert "4 enrolled speakers" in out
    assert "SV-EER" in out
    state = read_checkpoint("save/sasv_baseline_stage3/model/last.model")
    assert state["classes"]["spoof"] == 40
    assert state["loss"]["aamsoftmax.weight"].shape[0] == 41
    assert state["model"].keys()
    torch.save(with_published_names(state), "pretrained_weight.model")
    words = ["--output", "scores.txt", "--device", "cpu", "--nDataLoaderThread", 0]
    code, out, err = program(*evaluation, *words, *small_model(scratch))
    assert code == 0 and "SASV-EER" in out, err
    lines = Path("scores.txt").read_text().splitlines()
    trials = Path("data/protocols/ASVspoof2019.LA.asv.eval.gi.trl.txt").read_text().splitlines()
    assert [line.rsplit(" ", 1)[0] for line in lines] == trials

    other_speakers = ["--save_path", "before", "--num_class", 7]
    assert program(*tuning[:-2], *SMALL, *small_model(tuning), *other_speakers)[0] == 0
    state = read_checkpoint("before/model/last.model")
    torch.save(with_published_names(state), "pretrained_weight.model")
    code, out, err = program(*tuning, *SMALL, *small_model(tuning))
    left_out = "pretrained_weight.model: left out: misshaped: loss.aamsoftmax.weight, [7, "
    assert code == 0 and left_out in out, err


def scores_of(path):
    """Returns the last column of a scores file."""
    return np.array([line.split()[-1] for line in path.read_text().splitlines()], float)


def test_scores_in_parts(place, program):
    words = [*COMMANDS[0], *SMALL, "--model", "ECAPA_TDNN", "--eca_c", 64, "--num_class", 7]
    words += ["--save_path", "a", "--trainfunc", "sasv_multitask", "--fusion", 0.5]
    assert program(*words)[0] == 0
    fused = scores_of(Path("a/result/scores.txt"))
    speaker = scores_of(Path("a/result/scores_speaker.txt"))
    bonafide = scores_of(Path("a/result/scores_bonafide.txt"))
    assert np.allclose(fused, speaker + 0.5 * bonafide, atol=1e-5)
    assert bonafide.std() > 0


def test_the_evaluation_knows_named_costs(tmp_path):
    """--adcf asvspoof5: a spoof costs ten times its prior, half of the default."""
    write_lines(tmp_path / "asv.trn.txt", ["s a,b"])
    path = tmp_path / "asv.trl.txt"
    path.write_text("s a target\ns b nontarget\ns c spoof\ns d target\n")
    trials = read_trials(path)
    values = {}
    for name in ("default", "asvspoof5"):
        options = argparse.Namespace(far=[0.1], eer="interpolated", adcf=name)
        found = summary_of_trials(np.array([1.0, 0.0, 2.0, 3.0]), trials, options)
        values[name] = found.a_dcf.value
    # One of two targets is missed. Accepting everything costs 1.5, or 0.595, and rejecting
    # everything 0.9, or 0.9405.
    assert values["default"] == pytest.approx(0.5 * 0.9 / 0.9)
    assert values["asvspoof5"] == pytest.approx(0.5 * 0.9405 / 0.595)


def test_quota_without_spoofed_speech(corpus, tmp_path, program):
    code, _, err = program(*small_run(corpus, tmp_path, "--num_spk", 4))
    assert code == 2 and "expected real and spoofed speech in the train list" in err
    assert not Path(tmp_path / "model").exists() and os.listdir(tmp_path) == []
