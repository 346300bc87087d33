"""Cross attentive pooling and the loss of its paper.

They are compared with the numbers of the reference and with the definition, and used from a list to
a score.

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
    ref = net(torch.from_numpy(golden.wave(case, "wave_s")))
    qry = net(torch.from_numpy(golden.wave(case, "wave_q")))
    # The frames are the first channels of a representation.
    channels = case.arrays["frames_s"].shape[1]
    assert difference(ref[:, :channels].numpy(), case.arrays["frames_s"]) < 2e-5
    assert difference(qry[:, :channels].numpy(), case.arrays["frames_q"]) < 2e-5
    pooled_ref, pooled_qry = net.pair(ref, qry)
    assert difference(pooled_ref.numpy(), case.arrays["spk_s"]) < 2e-5
    assert difference(pooled_qry.numpy(), case.arrays["spk_q"]) < 2e-5


def test_loss_parity():
    (case,) = golden.load_cases(REFERENCE / "loss_cap_proto.npz")
    anchor = torch.from_numpy(case.inputs["anchor"]).requires_grad_()
    positive = torch.from_numpy(case.inputs["positive"]).requires_grad_()
    speakers, dim = anchor.shape
    # The queries come set after set.
    queries = positive.unflatten(0, (-1, speakers)).transpose(0, 1)
    rep = torch.cat([anchor.unsqueeze(1), queries], 1)  # [speakers, 1 + sets, D]
    loss = loss_function("proto", dim=dim, proto_metric="dot")
    out = loss(rep, batch(list(range(speakers)), [False] * speakers), plain_pair)
    out["loss"].backward()
    assert out["loss"].item() == pytest.approx(case.arrays["loss"].item(), rel=1e-5)
    assert out["acc"].item() == pytest.approx(case.arrays["prec1"].item(), abs=1e-4)
    assert difference(anchor.grad.numpy(), case.arrays["grad_anchor"]) < 1e-5
    assert difference(positive.grad.numpy(), case.arrays["grad_positive"]) < 1e-5


@pytest.mark.parametrize("case", cases("cap_train_step.npz"))
def test_training_step_parity(case):
    """Loss and gradients, from the features of the reference on.

    The reference sends every set through the network separately, so batch statistics come from
    one set. A difference of 5e-6 in the features would switch ReLUs and change gradients by some
    per cent.
    """
    net = reference_model(case).train()
    first_case = golden.load_cases(REFERENCE / "cap_train_step.npz")[0]
    features = iter(torch.from_numpy(first_case.arrays["features"]))
    net.torchfb.forward = lambda x: next(features)
    loss = loss_function(
        "proto",
        dim=net.dim,
        num_classes=5994,
        global_clf=case.hparams["speaker_net"]["global_clf"],
        proto_metric="dot",
    )
    if loss.global_w is not None:
        weight = torch.from_numpy(golden.fill("global_w", tuple(loss.global_w.shape)))
        with torch.no_grad():
            loss.global_w.copy_(weight)
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
        parameter = gradients[net.new_name(str(name))]
        if parameter is not None:
            norm = parameter.grad.norm().item()
            assert norm == pytest.approx(float(want), rel=1e-2, abs=1e-6), name
    assert difference(net.conv1.weight.grad.numpy(), case.arrays["grad:conv1.weight"]) < 1e-2


@pytest.mark.parametrize("case", cases("cap_scoring_synthetic.npz"))
def test_scoring_parity(case):
    """From the frames of the reference on: ten crops per file, all pairs of crops, mean cosine."""
    net = reference_model(case)
    reps = {}
    with torch.no_grad():
        for name in ("frames_a", "frames_b"):
            x = net.pooling(torch.from_numpy(case.inputs[name]))
            reps[name] = x if net.pairwise else net.head(x)
    assert np.abs(scores(net, case, reps) - case.arrays["scores"]).max() < 2e-6


@pytest.mark.parametrize("case", cases("cap_trial_scores.npz"))
def test_trial_scores_parity(case, tmp_path):
    """From samples to scores.

    The file of 30,001 samples is shorter than a crop. The reference pads it with zeros on both
    sides.
    """
    net = reference_model(case)
    reps = {}
    for name in ("utt_a", "utt_b", "utt_c"):
        x = golden.wave(case, name)
        length = case.hparams["eval_frames"] * 160 + 240
        missing = max(0, length - len(x) + 1) // 2
        x = np.pad(x, missing)
        starts = np.linspace(0, len(x) - length, case.hparams["num_eval"]).astype(int)
        crops = np.stack([x[start : start + length] for start in starts])
        with torch.no_grad():
            reps[name] = net(torch.from_numpy(crops))
    assert np.abs(scores(net, case, reps) - case.arrays["scores"]).max() < 1e-6


def scores(net, case, reps):
    """The scores of the trials of a case, with representations {file: [crops, ...]}."""
    pairs = [(ref, qry) for _, ref, qry in case.hparams["trials"]]
    loss = loss_function("proto", dim=net.dim, proto_metric="dot")
    return Scorer(SpeakerNet(net, loss)).score(Trials.of_pairs(pairs), reps)


# ---------------------------------------------------------------------- definition
@torch.no_grad()
def test_pooling_is_its_definition():
    """The map of cosines, which the implementation never makes, for each pair of utterances."""
    torch.manual_seed(0)
    pooling = CAP(6).eval()
    ref = frames(2, 6, 9)
    qry = frames(3, 6, 7, seed=1)
    got = pooling.pair(pooling(ref), pooling(qry))
    g_ref = F.normalize(pooling.meta_learner(ref), dim=1)
    g_qry = F.normalize(pooling.meta_learner(qry), dim=1)
    for q in range(len(qry)):
        for r in range(len(ref)):
            cosines = g_qry[q].T @ g_ref[r]  # [T of q, T of r]
            of_ref = (0, ref[r], cosines.mean(1) @ cosines)
            of_qry = (1, qry[q], cosines @ cosines.mean(0))
            for side, x, logit in (of_ref, of_qry):
                pooled = (x * (1 + (logit / TEMPERATURE).softmax(0))).mean(1)
                want = F.relu(pooling.att_bn(pooled[None]))[0]
                torch.testing.assert_close(got[side][q, r], want, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_padding_changes_nothing():
    torch.manual_seed(0)
    pooling = CAP(6).eval()
    ref = pooling(frames(2, 6, 9))
    qry = pooling(frames(3, 6, 7, seed=1))
    plain = pooling.pair(ref, qry)
    padded = pooling.pair(F.pad(ref, (0, 5)), F.pad(qry, (0, 40)))
    torch.testing.assert_close(padded, plain)


def test_many_trials_of_all_lengths_score_as_one_by_one():
    """Files of different lengths, two enrolment files, pieces of three trials, half precision."""
    network = model("ResNetSE34L", encoder_type="CAP")
    net = SpeakerNet(network, loss_function("proto", dim=network.dim, proto_metric="dot"))
    trainer = Trainer(net)
    channels = net.model.pooling.size
    reps = {}
    with torch.no_grad():
        for i in range(6):
            reps[f"f{i}"] = net.model.pooling(frames(2, channels, 5 + 3 * i, seed=i))
    models = [("f0",), ("f1", "f2"), ("f5",)]
    files = ["f3", "f4", "f0"]
    enrol, test = (x.flatten() for x in np.meshgrid(range(len(models)), range(len(files))))
    lines = [""] * len(enrol)
    trials = Trials(lines=lines, models=models, files=files, enrol=enrol, test=test, label=None)
    got = Scorer(trainer.net).score(trials, reps, pairs_at_once=3)
    half = Scorer(trainer.net).score(trials, {name: rep.half() for name, rep in reps.items()})
    assert np.abs(half - got).max() < 1e-2
    with torch.no_grad():
        for n in range(len(lines)):
            ref = torch.cat([reps[name] for name in models[enrol[n]]], -1)
            qry = reps[files[test[n]]]
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
    pairwise = "--model ResNetSE34L --encoder_type CAP --nOut 16 --nPerSpeaker 2"
    short = "--eval_frames 0 --max_steps 2"
    more = [*pairwise.split(), *short.split(), *words]
    code, out, err = program(*small_run(corpus, tmp_path, *more))
    assert code == 0, err
    assert "EER" in out
    files = (corpus / "trials.txt").read_text().splitlines()[0].split()[1:]
    checkpoint = tmp_path / "model" / "last.model"
    paths = ["--test_path", corpus / "wav", "--initial_model", checkpoint]
    code, out, err = program("--verify", *files, *paths)
    assert code == 0, err
    assert "Score" in out
    assert "same speaker" in out or "different speakers" in out


@pytest.mark.parametrize("trainfunc", ["softmax", "softmaxproto", "aamsoftmax"])
def test_losses_of_embeddings_are_refused_before_training(trainfunc, corpus, tmp_path, program):
    folder = tmp_path / "run"
    words = f"--model ResNetSE34L --encoder_type CAP --trainfunc {trainfunc}"
    code, _, err = program(*small_run(corpus, folder, *words.split()))
    assert code == 2
    message = (
        f"--trainfunc {trainfunc}: this loss needs one embedding per utterance, but --encoder_type "
        "CAP keeps the frames. Choose --trainfunc angleproto, proto or triplet, or another "
        "--encoder_type."
    )
    assert message in err
    assert not folder.exists()


def test_the_batch_size_auto_comes_after_the_check_of_the_loss(corpus, tmp_path, program):
    words = "--model ResNetSE34L --encoder_type CAP --trainfunc softmax --batch_size auto"
    code, _, err = program(*small_run(corpus, tmp_path / "run", *words.split()))
    assert code == 2
    assert "--trainfunc softmax: this loss needs one embedding per utterance" in err


def test_averaging_frames_is_refused():
    with pytest.raises(ValueError, match="--proto_metric dot"):
        loss_function("angleproto")(embeddings(4, 3, 6, 9), batch([0, 1, 2, 3]), plain_pair)
