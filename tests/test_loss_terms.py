"""A term of a loss that cannot occur is refused, because it would be a constant in the log."""

import importlib
import re

import numpy as np
import pytest
import soundfile
import torch
from test_distributed import vector_run, vectors
from test_embeddings import log_of, train
from test_losses import LOSSES, batch, embeddings, loss_class, loss_function, pair

from common.errors import InputError

assert vectors and train
# Losses that compare the speakers of a batch.
COMPARING = (
    "adcf",
    "aamsoftmaxproto",
    "angleproto",
    "ge2e",
    "proto",
    "sasv_e2e_v1",
    "softmaxproto",
    "triplet",
)


# ---------------------------------------------------------------------- in a batch
@pytest.mark.parametrize("name", ["DA", "DA_MSE"])
def test_a_batch_with_one_pair_has_no_session_alignment(name):
    """Two sets of pairs are compared, and one pair cannot fill both."""
    loss = importlib.import_module(f"loss.{name}").LossFunction()

    def value(speakers, utterances):
        shape = (speakers, utterances)
        batch = {
            "target": torch.ones(speakers, 3),
            "session": torch.tensor([[0, 0], [1, 2]]).repeat(1, utterances // 2)[:speakers],
            "real": torch.arange(speakers),
        }
        x = torch.randn(*shape, 3, generator=torch.Generator().manual_seed(1))
        return loss(x, batch, None)["loss_mmd"]

    with pytest.raises(ValueError, match="--batch_size: expected at least 2 pairs .* found 1 pair"):
        value(1, 2)
    assert value(2, 2) > 0


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_with_one_speaker(name):
    """The cross-entropy over one reference is 0, and there is no negative."""
    options = [{}, {"global_clf": True}] if name == "proto" else [{}]
    for chosen in options:
        loss = loss_function(name, **chosen)
        data = batch([1], utterances=4)
        if name in (*COMPARING, "sasv_multitask"):
            with pytest.raises(InputError, match="--batch_size: expected at least 2 speakers"):
                loss(embeddings(1, 4, 6), data, pair)
        else:
            assert loss(embeddings(1, 4, 6), data, pair)["loss"] > 0
    assert loss_class(name).min_speakers == (2 if name in COMPARING else 1)


# ---------------------------------------------------------------------- in a run
def test_batches_of_one_speaker_begin_no_run(vectors, tmp_path, program):
    words = vector_run(vectors, tmp_path / "run", "angleproto", "--nPerSpeaker", 2)
    code, _, err = program(*words, "--batch_size", 1)
    assert code == 2 and not (tmp_path / "run").exists()
    assert err.startswith("error: --batch_size: expected at least 2 speakers per batch, because ")
    assert err.endswith(
        "found 1. Give --batch_size 2 or more, or with --num_spk, --num_spk 2 or more.\n"
    )


def test_a_classifier_of_one_speaker(vectors, tmp_path, program):
    lines = (vectors / "train.txt").read_text().splitlines()
    speaker = lines[0].split()[0]
    one = tmp_path / "one.txt"
    one.write_text("\n".join(line for line in lines if line.split()[0] == speaker))
    words = vector_run(vectors, tmp_path / "run", "softmax", "--train_list", one)
    code, _, err = program(*words, "--batch_size", 1)
    assert code == 2 and not (tmp_path / "run").exists()
    assert f"error: {one}: expected at least 2 speakers, because --trainfunc softmax class" in err


def test_a_spoofing_head_without_spoofed_speech(vectors, tmp_path, program):
    words = vector_run(vectors, tmp_path / "run", "sasv_multitask", "--nPerSpeaker", 2)
    code, _, err = program(*words, "--batch_size", 4)
    assert code == 2 and not (tmp_path / "run").exists()
    assert f"error: {vectors}/train.txt: expected real and spoofed speech, because --tr" in err


def spoofing_list(path, real, spoofed):
    """Writes a train list: `real` speakers of real speech, `spoofed` ones of spoofed speech."""
    lines = []
    for speaker in range(max(real, spoofed)):
        for file in range(4):
            if speaker < real:
                lines.append(f"id{speaker} id{speaker}/{file}.wav - - bonafide\n")
            if speaker < spoofed:
                lines.append(f"id{speaker} id{speaker}/spoof{file}.wav - A01 spoof\n")
    path.write_text("".join(lines))
    for line in lines:
        file = path.parent / line.split()[1]
        file.parent.mkdir(exist_ok=True)
        soundfile.write(file, np.random.default_rng(0).normal(0, 0.1, 8000), 16000)


@pytest.mark.parametrize(
    "trainfunc, real, spoofed, more, message",
    [
        ("adcf", 3, 0, "", "expected real and spoofed speech, because --trainfunc adcf counts"),
        ("adcf", 0, 3, "", "because --trainfunc adcf counts .* found only spoofed speech"),
        ("adcf", 1, 3, "", "expected at least 2 speakers, .* found 1 with real speech"),
        ("adcf", 3, 3, "--num_spk 1", "--num_spk: expected at least 2, because --trainfunc adcf"),
        ("adcf", 3, 0, "--adcf_p_spoof 0", ""),
        ("sasv_e2e_v1", 3, 0, "", ""),
        ("sasv_e2e_v1", 3, 0, "--adcf_weight 1", "sasv_e2e_v1 counts accepted .* only real speech"),
        ("sasv_e2e_v1", 3, 3, "--adcf_weight 1 --num_spk 1", "--num_spk: expected at least 2"),
        ("sasv_e2e_v1", 0, 3, "", "expected at least 2 speakers, .* found 0 with real speech"),
        ("sasv_multitask", 1, 3, "--nPerSpeaker 1", "expected at least 2 speakers, .* found 1"),
        ("sasv_multitask", 0, 3, "", "learns to detect spoofed speech, found only spoofed speech"),
        ("cm_softmax", 0, 3, "", "learns to detect spoofed speech, found only spoofed speech"),
        ("cm_ocsoftmax", 0, 3, "", "learns to detect spoofed speech, found only spoofed speech"),
        ("cm_softmax", 1, 1, "--batch_size 1 --nPerSpeaker 1", "batch normalisation of this netw"),
    ],
)
def test_lists_and_batches_without_a_kind_of_speech(
    trainfunc, real, spoofed, more, message, tmp_path, program
):
    spoofing_list(tmp_path / "list.txt", real, spoofed)
    words = f"--train_list {tmp_path}/list.txt --train_path {tmp_path} --save_path {tmp_path}/run "
    words += f"--trainfunc {trainfunc} --model VGG3L --kernel_size 4 --heads_number 4 --nOut 8 "
    words += "--device cpu --nDataLoaderThread 0 --max_frames 30 --max_steps 1 --nPerSpeaker 2 "
    words += f"--batch_size {4 if '--num_spk' in more else 2} {more}"
    code, _, err = program(*words.split())
    assert code == (2 if message else 0)
    assert re.search(message, err) and (tmp_path / "run").exists() == (not message)


def test_validation_batches_of_one_speaker_are_left_out(vectors, tmp_path, program):
    """The first speaker of the list has more files than the others."""
    lines = (vectors / "train.txt").read_text().splitlines()
    of_speaker = {}
    for line in lines:
        of_speaker.setdefault(line.split()[0], []).append(line)
    first, second, *_ = of_speaker.values()
    number = len(first) // 2
    losses = {}
    for name, kept in {"all": first + second[:2], "pairs": first[:2] + second[:2]}.items():
        valid = tmp_path / f"{name}.txt"
        valid.write_text("\n".join(kept))
        words = vector_run(vectors, tmp_path / name, "triplet", "--max_epoch", 1, "--test_list", "")
        words += ["--nPerSpeaker", 2, "--valid_list", valid, "--valid_path", vectors]
        code, out, _ = program(*words, "--batch_size", 4)
        warning = f"warning: {valid}: {number - 1} of {number} validation batches have a single"
        assert code == 0 and (warning in out) == (name == "all")
        losses[name] = log_of(tmp_path / name)[-1]["valid_loss"]
    assert losses["all"] == losses["pairs"]
    (tmp_path / "pairs.txt").write_text("\n".join(first))
    code, _, err = program(*words, "--batch_size", 4, "--save_path", tmp_path / "none")
    assert code == 2 and not (tmp_path / "none").exists()
    assert f"error: {tmp_path}/pairs.txt: expected batches with at least 2 speakers" in err


@pytest.mark.parametrize("flag", "01")
def test_pairs_of_one_kind(flag, train, tmp_path, program):
    """Session alignment compares the two kinds of pairs."""
    lines = (train / "all_distribution_list.txt").read_text().splitlines(keepends=True)
    one = tmp_path / "one.txt"
    one.write_text("".join(line for line in lines if line.split()[-1] == flag))
    words = vector_run(train, tmp_path / "run", "DA", "--test_list", "", "--batch_size", 4)
    words += ["--max_epoch", 1, "--nPerSpeaker", 1, "--train_list"]
    code, _, err = program(*words, one)
    assert code == 2 and not (tmp_path / "run").exists()
    assert err.startswith(f"error: {one}: expected pairs of one session (1) and pairs of two sess")
    assert f"found only {flag} in the last column." in err
    # Validation continues, because training does not depend on it.
    more = [train / "all_distribution_list.txt", "--valid_list", one, "--valid_path", train]
    code, out, _ = program(*words, *more)
    assert code == 0 and f"warning: {one}: no validation batch has both pairs of one ses" in out
