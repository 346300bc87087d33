"""Cross attentive pooling and the loss of its paper: against the reference's numbers, its definition, and from list to score.

pytest tests/test_cap.py
"""

import numpy as np
import pytest
import torch
from conftest import small_run
from reference import golden
from test_losses import batch, embeddings, loss_function
from test_losses import pair as plain_pair
from test_models import REFERENCE, difference, model, reference_model
from torch.nn import functional as F

from corpus.lists import Trials
from inference.scorer import Scorer
from pooling.CAP import TEMPERATURE
from pooling.CAP import Pooling as CAP
from SpeakerNet import SpeakerNet, Trainer


def cases(file):
    return [pytest.param(case, id=case.name) for case in golden.load_cases(REFERENCE / file)]


def frames(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


# ---------------------------------------------------------------------- parity
@pytest.mark.parametrize("case", cases("model_cap_cap.npz"))
@torch.no_grad()
def test_model_parity(case):
    net = reference_model(case)
    ref, qry = (net(torch.from_numpy(golden.wave(case, key))) for key in ("wave_s", "wave_q"))
    assert (
        difference(ref[:, :128].numpy(), case.arrays["frames_s"]) < 2e-5
        and difference(qry[:, :128].numpy(), case.arrays["frames_q"]) < 2e-5
    )
    for got, want in zip(
        net.pair(ref, qry), (case.arrays["spk_s"], case.arrays["spk_q"]), strict=True
    ):
        assert difference(got.numpy(), want) < 2e-5


def test_loss_parity():
    (case,) = golden.load_cases(REFERENCE / "loss_cap_proto.npz")
    anchor, positive = (
        torch.from_numpy(case.inputs[key]).requires_grad_() for key in ("anchor", "positive")
    )
    rep = torch.cat(
        [anchor.unsqueeze(1), positive.unflatten(0, (2, 8)).transpose(0, 1)], 1
    )  # [8, 3, D]: queries come set after set
    out = loss_function("proto", dim=64, proto_metric="dot")(
        rep, batch(list(range(8)), [False] * 8), plain_pair
    )
    out["loss"].backward()
    assert out["loss"].item() == pytest.approx(case.arrays["loss"].item(), rel=1e-5)
    assert out["acc"].item() == pytest.approx(case.arrays["prec1"].item(), abs=1e-4)
    assert (
        difference(anchor.grad.numpy(), case.arrays["grad_anchor"]) < 1e-5
        and difference(positive.grad.numpy(), case.arrays["grad_positive"]) < 1e-5
    )


@pytest.mark.parametrize("case", cases("cap_train_step.npz"))
def test_training_step_parity(case):
    """Loss and gradients. The reference sends every set through the network by itself, so that its batch statistics are of one set.
    From the features on: a difference of 5e-6 in them switches ReLUs and moves gradients by per cents."""
    net = reference_model(case).train()
    features = iter(
        torch.from_numpy(golden.load_cases(REFERENCE / "cap_train_step.npz")[0].arrays["features"])
    )
    net.torchfb.forward = lambda x: next(features)
    loss = loss_function(
        "proto",
        dim=512,
        num_classes=5994,
        global_clf=case.hparams["speaker_net"]["global_clf"],
        proto_metric="dot",
    )
    if loss.global_w is not None:
        with torch.no_grad():
            loss.global_w.copy_(torch.from_numpy(golden.fill("global_w", (5994, 512))))
    waves = torch.from_numpy(golden.wave(case))  # [3, 6, T]
    rep = torch.stack([net(x) for x in waves], 1)  # [6, 3, ...]
    out = loss(rep, batch(torch.from_numpy(case.inputs["label"]), [False] * 6), net.pair)
    assert out["loss"].item() == pytest.approx(case.arrays["loss"].item(), rel=1e-5)
    assert out["acc"].item() == pytest.approx(case.arrays["prec1"].item(), abs=1e-4)
    if loss.global_w is not None:
        assert out["loss_proto"].item() == pytest.approx(case.arrays["loss_e"].item(), rel=1e-5)
        assert out["loss_global"].item() == pytest.approx(case.arrays["loss_g"].item(), rel=1e-5)
    out["loss"].backward()
    gradients = dict(net.named_parameters()) | {"loss.global_w": loss.global_w}
    for name, want in zip(case.arrays["grad_names"], case.arrays["grad_norms"], strict=True):
        if gradients[net.new_name(str(name))] is not None:
            assert gradients[net.new_name(str(name))].grad.norm().item() == pytest.approx(
                float(want), rel=1e-2, abs=1e-6
            ), name
    assert difference(net.conv1.weight.grad.numpy(), case.arrays["grad:conv1.weight"]) < 1e-2


@pytest.mark.parametrize("case", cases("cap_scoring_synthetic.npz"))
def test_scoring_parity(case):
    """What forward() gave is known: ten crops a file, all pairs of crops, the mean cosine."""
    net = reference_model(case)
    reps = {}
    with torch.no_grad():
        for name in ("frames_a", "frames_b"):
            x = net.pooling(torch.from_numpy(case.inputs[name]))
            reps[name] = x if net.pairwise else net.head(x)
    assert np.abs(scores(net, case, reps) - case.arrays["scores"]).max() < 2e-6


@pytest.mark.parametrize("case", cases("cap_trial_scores.npz"))
def test_trial_scores_parity(case, tmp_path):
    """From samples to score; the file of 30,001 samples is shorter than a crop, which the reference fills with zeros on both sides."""
    net, reps = reference_model(case), {}
    for name in ("utt_a", "utt_b", "utt_c"):
        x = golden.wave(case, name)
        length = case.hparams["eval_frames"] * 160 + 240
        missing = max(0, length - len(x) + 1) // 2
        x = np.pad(x, missing)
        starts = np.linspace(0, len(x) - length, case.hparams["num_eval"]).astype(int)
        with torch.no_grad():
            reps[name] = net(torch.from_numpy(np.stack([x[s : s + length] for s in starts])))
    assert np.abs(scores(net, case, reps) - case.arrays["scores"]).max() < 1e-6


def scores(net, case, reps):
    labels, ref, qry = zip(*case.hparams["trials"], strict=True)
    trials = Trials.of_pairs(list(zip(ref, qry, strict=True)))
    return Scorer(SpeakerNet(net, loss_function("proto", dim=512, proto_metric="dot"))).score(
        trials, reps
    )


# ---------------------------------------------------------------------- definition
@torch.no_grad()
def test_pooling_is_its_definition():
    """The map of cosines that the implementation never makes, frame by frame."""
    torch.manual_seed(0)
    pooling = CAP(6).eval()
    ref, qry = frames(2, 6, 9), frames(3, 6, 7, seed=1)
    got = pooling.pair(pooling(ref), pooling(qry))
    g_ref, g_qry = (F.normalize(pooling.meta_learner(x), dim=1) for x in (ref, qry))
    for q in range(3):
        for r in range(2):
            cosines = g_qry[q].T @ g_ref[r]  # [T of q, T of r]
            for side, x, logit in (
                (0, ref[r], cosines.mean(1) @ cosines),
                (1, qry[q], cosines @ cosines.mean(0)),
            ):
                pooled = (x * (1 + (logit / TEMPERATURE).softmax(0))).mean(1)
                want = F.relu(pooling.att_bn(pooled[None]))[0]
                torch.testing.assert_close(got[side][q, r], want, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_padding_changes_nothing():
    torch.manual_seed(0)
    pooling = CAP(6).eval()
    ref, qry = pooling(frames(2, 6, 9)), pooling(frames(3, 6, 7, seed=1))
    for a, b in zip(
        pooling.pair(ref, qry), pooling.pair(F.pad(ref, (0, 5)), F.pad(qry, (0, 40))), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_many_trials_of_all_lengths_score_as_one_by_one():
    """Files of different lengths, two enrolment files, pieces of three trials, half precision."""
    net = SpeakerNet(
        model("ResNetSE34L", encoder_type="CAP"),
        loss_function("proto", dim=512, proto_metric="dot"),
    )
    trainer = Trainer(net)
    with torch.no_grad():
        reps = {f"f{i}": net.model.pooling(frames(2, 128, 5 + 3 * i, seed=i)) for i in range(6)}
    models, files = [("f0",), ("f1", "f2"), ("f5",)], ["f3", "f4", "f0"]
    enrol, test = (x.flatten() for x in np.meshgrid(range(3), range(3)))
    got = Scorer(trainer.net).score(
        Trials(lines=[""] * 9, models=models, files=files, enrol=enrol, test=test, label=None),
        reps,
        pairs_at_once=3,
    )
    half = Scorer(trainer.net).score(
        Trials(lines=[""] * 9, models=models, files=files, enrol=enrol, test=test, label=None),
        {k: v.half() for k, v in reps.items()},
    )
    assert np.abs(half - got).max() < 1e-2
    with torch.no_grad():
        for n in range(9):
            ref, qry = (
                torch.cat([reps[name] for name in models[enrol[n]]], -1),
                reps[files[test[n]]],
            )
            want = F.cosine_similarity(*net.model.pair(ref, qry), dim=-1).mean().item()
            assert got[n] == pytest.approx(want, abs=1e-5)


# ---------------------------------------------------------------------- in use
@pytest.mark.parametrize(
    "words",
    [
        ("--trainfunc", "proto", "--global_clf"),
        ("--trainfunc", "proto", "--proto_metric", "dot"),
        ("--trainfunc", "proto"),
        ("--trainfunc", "angleproto"),
    ],
)
def test_from_list_to_decision(words, corpus, tmp_path, program):
    pairwise = (
        "--model",
        "ResNetSE34L",
        "--encoder_type",
        "CAP",
        "--nOut",
        16,
        "--nPerSpeaker",
        2,
        "--eval_frames",
        0,
        "--max_steps",
        2,
    )
    code, out, err = program(*small_run(corpus, tmp_path, *pairwise, *words))
    assert code == 0 and "EER" in out, err
    line = (corpus / "trials.txt").read_text().splitlines()[0].split()
    code, out, err = program(
        "--verify",
        *line[1:],
        "--test_path",
        corpus / "wav",
        "--initial_model",
        tmp_path / "model" / "last.model",
    )
    assert (
        code == 0 and "score" in out and ("same speaker" in out or "different speakers" in out)
    ), err


@pytest.mark.parametrize("trainfunc", ["softmax", "softmaxproto", "aamsoftmax"])
def test_losses_of_embeddings_are_refused_before_training(trainfunc, corpus, tmp_path, program):
    code, _, err = program(
        *small_run(
            corpus,
            tmp_path / "run",
            "--model",
            "ResNetSE34L",
            "--encoder_type",
            "CAP",
            "--trainfunc",
            trainfunc,
        )
    )
    assert code == 2 and "--encoder_type" in err and not (tmp_path / "run").exists()


def test_averaging_frames_is_refused():
    with pytest.raises(ValueError, match="--proto_metric dot"):
        loss_function("angleproto")(embeddings(4, 3, 6, 9), batch([0, 1, 2, 3]), plain_pair)
