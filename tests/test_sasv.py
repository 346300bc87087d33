"""Spoofing-aware verification end to end: training with a quota of spoofed speech, enrolment by several files, scores in parts, the published commands."""

import argparse
import os
import pickle
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from conftest import Tiny, small_run

import dataprep
from corpus.lists import classes_of, read_train_list, read_trials
from DatasetLoader import EvalDataset, TrainDataset, batches, eval_loader, train_loader
from inference.scorer import Scorer
from metrics.sasv import sasv_eers
from network.checkpoints import read_checkpoint
from network.components import build
from options.parser import options_of
from SpeakerNet import SpeakerNet, Trainer
from training.sampling import QuotaSampler


@pytest.fixture(scope="module")
def voices(tmp_path_factory):
    """8 voices, each a pitch with harmonics and noise; spoofed copies of them hiss. Lists as those of ASVspoof 2019."""
    folder = tmp_path_factory.mktemp("voices")
    time_axis = np.arange(8000) / 16000
    train, trials, enrolment = [], [], []
    for voice in range(8):
        for take in range(14):
            draw = np.random.default_rng((voice, take))
            x = sum(
                np.sin(2 * np.pi * (90 + 37 * voice) * k * time_axis + draw.uniform(0, 6)) / k
                for k in range(1, 6)
            )
            for attack, extra in (
                ("-", 0),
                ("A01", np.sign(np.sin(2 * np.pi * 5000 * time_axis))),
                ("A02", np.sin(2 * np.pi * 3700 * time_axis)),
            ):
                name = f"{voice}-{take}{'' if attack == '-' else attack}"
                sf.write(
                    folder / f"{name}.wav",
                    0.1 * x + 0.03 * draw.standard_normal(8000) + 0.03 * extra,
                    16000,
                )
                if take < 10:
                    train.append(
                        f"s{voice} {name} - {attack} {'bonafide' if attack == '-' else 'spoof'}"
                    )
                elif take >= 12:
                    for claim in range(8) if attack == "-" else [voice]:
                        kind = (
                            "spoof"
                            if attack != "-"
                            else "target"
                            if claim == voice
                            else "nontarget"
                        )
                        trials.append(
                            f"s{claim} {name} {'bonafide' if attack == '-' else attack} {kind}"
                        )
        enrolment.append(f"s{voice} {voice}-10,{voice}-11")
    for name, lines in (
        ("cm.train.trn.txt", train),
        ("asv.eval.trl.txt", trials),
        ("asv.eval.trn.txt", enrolment),
    ):
        (folder / name).write_text("".join(f"{line}\n" for line in lines))
    return folder


@pytest.mark.parametrize(
    "trainfunc, options",
    [
        ("sasv_e2e_v1", {}),
        ("sasv_multitask", {}),
        pytest.param("sasv_multitask", {"spoof_head": "sigmoid"}, marks=pytest.mark.slow),
    ],
)
def test_learns(trainfunc, options, voices):
    """List to SASV-EER: near 0 after, far from it before; the cosine of speakers alone lets spoofed copies pass in the case of two tasks."""
    torch.manual_seed(0)
    utterances, trials = (
        read_train_list(voices / "cm.train.trn.txt"),
        read_trials(voices / "asv.eval.trl.txt"),
    )
    utterances = [u._replace(path=f"{u.path}.wav") for u in utterances]
    trials = trials.renamed({name: f"{name}.wav" for name in trials.paths()})
    classes = classes_of(utterances)
    data = TrainDataset(utterances, voices, classes, max_frames=24, seed=0)
    sampler = QuotaSampler(
        utterances, num_spk=6, batch_size=24, nPerSpeaker=2, max_seg_per_spk=500, seed=0
    )
    parts = argparse.Namespace(
        **{o.name: o.default for o in options_of("trainfunc", trainfunc)} | options,
        trainfunc=trainfunc,
    )
    made = Trainer(SpeakerNet(Tiny(), build("trainfunc", parts, dim=16, num_classes=len(classes))))
    made.optimizer = torch.optim.Adam(made.net.parameters(), lr=0.01)
    made.scheduler = torch.optim.lr_scheduler.LambdaLR(made.optimizer, lambda step: 1.0)

    scorer = Scorer(made.eval_net)

    def eers():
        loader = eval_loader(
            EvalDataset(trials.paths(), voices, eval_frames=0, num_eval=1), workers=0
        )
        reps = {
            trials.paths()[i]: rep
            for index, x in scorer.represent(batches(loader))
            for i, rep in zip(index, x, strict=True)
        }
        scores, bonafide = scorer.score(trials, reps), scorer.bonafide(trials, reps)
        return sasv_eers(
            scores if bonafide is None else scores + made.net.loss.fusion * bonafide, trials.kinds
        )

    before, losses = eers(), []
    for epoch in range(1, 31):
        sampler.set_epoch(epoch)
        list(made.train_epoch(batches(train_loader(data, sampler, workers=0))))
        losses.append(made.means()["loss"])
        made.next_epoch({})
    after = eers()
    assert losses[-1] < 0.5 * losses[0]
    assert max(after.values()) < 8 < 15 < before["SASV-EER"]


# ---------------------------------------------------------------------- whole runs
@pytest.fixture(scope="module")
def spoofed(tmp_path_factory):
    """A synthetic corpus with spoofed copies, in the layout of ASVspoof 2019 LA, and its lists."""
    made, la = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("LA")
    assert dataprep.main(
        [
            "--synthetic",
            str(made),
            "--speakers",
            "6",
            "--files",
            "4",
            "--test_speakers",
            "4",
            "--trials",
            "20",
            "--spoof",
        ]
    ) in (0, None)
    names = {
        path: "LA_" + str(path.relative_to(made / "wav")).replace("/", "_")[:-4]
        for path in (made / "wav").rglob("*.wav")
    }
    for part in ("train", "eval"):
        (la / f"ASVspoof2019_LA_{part}" / "flac").mkdir(parents=True)
    for path, name in names.items():
        part = "eval" if int(path.relative_to(made / "wav").parts[0][2:]) > 10006 else "train"
        sf.write(la / f"ASVspoof2019_LA_{part}" / "flac" / f"{name}.flac", *sf.read(path))
    short = {str(path.relative_to(made / "wav")): name for path, name in names.items()}
    (la / "protocols").mkdir()
    (la / "spk_meta").mkdir()
    for old, new in (
        ("cm.train.trn.txt", "ASVspoof2019.LA.cm.train_dev.trn.txt"),
        ("asv.eval.trl.txt", "ASVspoof2019.LA.asv.eval.gi.trl.txt"),
        ("asv.eval.trn.txt", "ASVspoof2019.LA.asv.eval.female.trn.txt"),
    ):
        lines = [line.split() for line in (made / old).read_text().splitlines()]
        lines = [
            [speaker, ",".join(short[file] for file in files.split(",")), *rest]
            for speaker, files, *rest in lines
        ]
        # as published: another folder than on the disk
        if old.startswith("cm"):
            lines = [
                [speaker, f"ASVspoof2019_LA_train/wav/{file}", *rest]
                for speaker, file, *rest in lines
            ]
        (la / "protocols" / new).write_text("".join(" ".join(line) + "\n" for line in lines))
    train = [
        line.split()
        for line in (la / "protocols" / "ASVspoof2019.LA.cm.train_dev.trn.txt")
        .read_text()
        .splitlines()
    ]
    (la / "protocols" / "ASVspoof2019.LA.cm.train.trn.txt").write_text(
        "".join(" ".join(line) + "\n" for line in train if line[0] != train[0][0])
    )
    table = {
        speaker: {
            kind: [Path(line[1]).name for line in train if (line[0], line[-1]) == (speaker, kind)]
            for kind in ("bonafide", "spoof")
        }
        for speaker in {line[0] for line in train}
    }
    (la / "spk_meta" / "spk_meta_trn.pk").write_bytes(pickle.dumps(table))
    (la / "spk_meta" / "spk_meta_eval.pk").write_bytes(pickle.dumps({}))
    return la


SMALL = shlex.split(
    "--num_spk 4 --batch_size 12 --max_frames 40 --eval_frames 40 --num_eval 1 --nDataLoaderThread 0 --device cpu --max_steps 2"
)
LINES = (Path(__file__).parent.parent / "docs" / "spoofing.md").read_text().splitlines()
COMMANDS = [shlex.split(line)[2:] for line in LINES if re.match(" {4}python .*ASVspoof2019", line)]


def narrow(words):
    """Options of the narrowest sensible network of a command line."""
    known = {o.name for o in options_of("model", words[words.index("--model") + 1])}
    wanted = {
        "frt_c": 8,
        "eca_c": 64,
        "num_blocks": 2,
        "output_size": 32,
        "attention_heads": 2,
        "linear_units": 64,
    }
    return [
        word for name, value in wanted.items() if name in known for word in (f"--{name}", value)
    ]


@pytest.fixture
def place(spoofed, tmp_path, monkeypatch):
    """A folder in which the published commands find what they name."""
    for link, folder in (
        ("LA", spoofed),
        ("protocols", spoofed / "protocols"),
        ("spk_meta", spoofed / "spk_meta"),
    ):
        (tmp_path / link).symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_published_commands(place, program):
    """Training from scratch, training from weights with a head of other speakers, evaluation, as README has them; smaller in size alone."""
    scratch, tuning, evaluation = COMMANDS
    code, out, err = program(*scratch, *SMALL, *narrow(scratch))
    assert code == 0, err
    assert (
        "6 speakers, 24 utterances; 24 spoofed: A01 12, A02 12" in out
        and "4 enrolled speakers" in out
        and "SV-EER" in out
    )
    state = read_checkpoint("save/sasv_baseline_stage3/model/last.model")
    assert (
        state["classes"]["spoof"] == 40
        and state["loss"]["aamsoftmax.weight"].shape[0] == 41
        and state["model"].keys()
    )
    torch.save(published(state), "pretrained_weight.model")
    code, out, err = program(
        *evaluation,
        "--output",
        "scores.txt",
        "--device",
        "cpu",
        *narrow(scratch),
        "--nDataLoaderThread",
        0,
    )
    assert code == 0 and "SASV-EER" in out, err
    lines = Path("scores.txt").read_text().splitlines()
    assert [line.rsplit(" ", 1)[0] for line in lines] == Path(
        "protocols/ASVspoof2019.LA.asv.eval.gi.trl.txt"
    ).read_text().splitlines()

    assert (
        program(*tuning[:-2], *SMALL, *narrow(tuning), "--save_path", "before", "--num_class", 7)[0]
        == 0
    )
    torch.save(published(read_checkpoint("before/model/last.model")), "pretrained_weight.model")
    code, out, err = program(*tuning, *SMALL, *narrow(tuning))
    assert (
        code == 0
        and "pretrained_weight.model: left out: misshaped: loss.aamsoftmax.weight, [7, " in out
    ), err


def published(state):
    return {f"__S__.{k}": v for k, v in state["model"].items()} | {
        f"__L__.{k}": v for k, v in state["loss"].items()
    }


def test_scores_in_parts(place, program):
    words = [
        *COMMANDS[0],
        *SMALL,
        "--model",
        "ECAPA_TDNN",
        "--eca_c",
        64,
        "--num_class",
        7,
        "--save_path",
        "a",
    ]
    words += ["--trainfunc", "sasv_multitask", "--fusion", 0.5]
    assert program(*words)[0] == 0
    fused, speaker, bonafide = (
        np.array(
            [
                line.split()[-1]
                for line in Path(f"a/result/scores{part}.txt").read_text().splitlines()
            ],
            float,
        )
        for part in ("", "_speaker", "_bonafide")
    )
    assert np.allclose(fused, speaker + 0.5 * bonafide, atol=1e-5) and bonafide.std() > 0


def test_quota_without_spoofed_speech(corpus, tmp_path, program):
    code, _, err = program(*small_run(corpus, tmp_path, "--num_spk", 4))
    assert code == 2 and "want real and spoofed speech on the train list" in err
    assert not Path(tmp_path / "model").exists() and os.listdir(tmp_path) == []
