"""--gpu_augment: crops mixed by torch, batch by batch, equal those mixed by numpy, and a run with it equals one without."""

import json

import numpy as np
import pytest
import soundfile
import torch
from conftest import small_run
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kill_resume import end_of, equal
from test_distributed import processes

from corpus.augment import ENTRIES, Augment, Plan, Spectra, mixed
from corpus.lists import Utterance, speed_copies
from DatasetLoader import TrainDataset, batches, train_loader
from network.checkpoints import read_checkpoint
from options.parser import parse
from prep.pack import PackOptions, make_pack
from SpeakerNet import Trainer

# 0: digital silence; some are shorter than a crop
LENGTHS = {"noise": (60000, 0), "music": (48000, 6000), "speech": (50000, 40000, 30000, 9000)}


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """speech/, a silent and a short file among it, musan/, rir/ with responses shorter and longer than a crop; musan_pack/, rir_pack/; and the utterances."""
    folder, draw = tmp_path_factory.mktemp("sounds"), np.random.default_rng(0)

    def write(name, samples, level=0.1):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(
            folder / name, level * draw.standard_normal(samples), 16000, subtype="PCM_16"
        )

    for i in range(10):
        write(f"speech/{i}.wav", 5000 if i == 3 else 50000, 0.0 if i == 4 else 0.02 * (i + 1))
    for kind, lengths in LENGTHS.items():
        for i, samples in enumerate(lengths):
            write(f"musan/{kind}/a/b/{i}.wav", samples or 40000, 0.05 * (samples > 0))
    for i, samples in enumerate((4000, 16000, 45000)):
        write(f"rir/room/r/{i}.wav", samples, 0.2)
    for name in ("musan", "rir"):
        make_pack(PackOptions([], folder / name, folder / f"{name}_pack", 10**9, 1))
    return folder, speed_copies([Utterance(str(i), f"{i % 10}.wav") for i in range(60)], [1.1])


def datasets(sounds, packs="", **options):
    """The same mixed by numpy, and to be mixed later."""
    folder, utterances = sounds
    augment = Augment(str(folder / f"musan{packs}"), str(folder / f"rir{packs}"))
    return [
        TrainDataset(
            utterances, str(folder / "speech"), augment=augment, augment_later=later, **options
        )
        for later in (False, True)
    ]


def assert_close(got, want):
    """[B, M, T]: to 1e-5 of the largest sample of each crop."""
    assert got.shape == want.shape and got.dtype == want.dtype == torch.float32
    assert ((got - want).abs().amax(-1) <= 1e-5 * want.abs().amax(-1)).all()


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from([20, 60, 210]),
    st.lists(st.lists(st.integers(0, 119), min_size=2, max_size=2), min_size=1, max_size=6),
    st.booleans(),
    st.sampled_from(["", "_pack"]),
)
@example(1, 210, [[i, i + 1] for i in range(0, 120, 6)], True, "_pack")
@example(2, 100, [[i, i + 60] for i in range(20)], False, "")
def test_crops_are_those_of_numpy(sounds, seed, frames, groups, slices, packs):
    now, later = datasets(
        sounds, packs, max_frames=frames, seed=seed, random_slicing=slices and frames > 200
    )
    want, batch = now[3, groups], later[3, groups]
    got = mixed(batch)
    assert list(got) == list(want) and all(
        torch.equal(got[name], want[name]) for name in want if name != "x"
    )
    assert_close(got["x"], want["x"])
    # x has its length before it is mixed
    assert batch["x"].shape == want["x"].shape and set(batch) == {*want, *ENTRIES}


def test_all_kinds_are_mixed(sounds):
    """In one batch: every kind, none, silent noise, short noise, silent speech, responses of all lengths; what is not drawn stays as it is to the bit."""
    now, later = datasets(sounds, max_frames=60, seed=1)
    groups = [[i] for i in range(120)]
    want, batch = now[1, groups], later[1, groups]
    rows = torch.cat([batch["noise_row"], batch["rir_row"]])
    voices = set(batch["noise_row"].bincount().tolist())
    assert (
        voices >= {0, 1, 3, 4, 5, 6, 7}
        and len(batch["rir_row"]) > 4
        and batch["rir"].shape[1] == 45000
    )
    assert (batch["noise"].abs().sum(1) == 0).any() and len(set(rows.tolist())) < 120
    assert {name: batch[name].dtype for name in ENTRIES} == {
        "noise": torch.float32,
        "snr": torch.float32,
        "noise_row": torch.int64,
        "rir": torch.float32,
        "rir_row": torch.int64,
        "tail": torch.float32,
    }
    got = mixed(batch)
    assert_close(got["x"], want["x"])
    plain = [row for row in range(120) if row not in rows]
    assert torch.equal(got["x"][plain], want["x"][plain]) and not torch.equal(got["x"], batch["x"])
    assert torch.equal(mixed(batch)["x"], got["x"]), "the batch itself is left alone"


def loop(batch):
    """mixed() sample by sample, in double precision."""
    x = torch.cat([batch["x"], batch["tail"]], -1).flatten(0, 1).numpy().astype(float)
    out = x.copy()
    for rir, row in zip(batch["rir"].numpy().astype(float), batch["rir_row"].tolist(), strict=True):
        out[row] = np.convolve(x[row], rir / np.sqrt((rir**2).sum()))[: x.shape[1]]
    for noise, snr, row in zip(
        batch["noise"].numpy().astype(float),
        batch["snr"].tolist(),
        batch["noise_row"].tolist(),
        strict=True,
    ):
        out[row] += noise * np.sqrt((x[row] ** 2).sum() / (noise**2).sum() / 10 ** (snr / 10))
    return (
        torch.from_numpy(out)
        .float()
        .reshape(*batch["x"].shape[:2], -1)[..., : batch["x"].shape[-1]]
    )


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_mixing_is_what_a_loop_does(data):
    """Also of no noise, of no room, and of crops that are cut afterwards."""
    crops, samples, tail, response = (data.draw(st.integers(1, most)) for most in (5, 300, 40, 400))
    noisy = data.draw(st.lists(st.integers(0, 2 * crops - 1), max_size=9))
    roomy = (
        data.draw(st.sets(st.integers(0, 2 * crops - 1)).map(sorted))
        if data.draw(st.booleans())
        else []
    )
    noisy = [row for row in noisy if row not in roomy]
    draw = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    batch = {
        "x": torch.randn(crops, 2, samples, generator=draw),
        "tail": torch.randn(crops, 2, tail, generator=draw),
        "label": torch.arange(crops),
        "noise": torch.randn(len(noisy), samples + tail, generator=draw),
        "snr": 40 * torch.rand(len(noisy), generator=draw) - 10,
        "noise_row": torch.tensor(noisy, dtype=torch.int64),
        "rir": torch.randn(len(roomy), response, generator=draw),
        "rir_row": torch.tensor(roomy, dtype=torch.int64),
    }
    got = mixed(batch)
    assert set(got) == {"x", "label"} and got["label"] is batch["label"]
    assert_close(got["x"], loop(batch))


def test_other_batches_pass(sounds):
    batch = {"x": torch.zeros(1, 1, 9), "label": torch.zeros(1)}
    assert mixed(batch) is batch
    folder, utterances = sounds
    # of validation
    batch = TrainDataset(
        utterances, str(folder / "speech"), max_frames=20, seed=0, augment_later=True
    )[0, [[0]]]
    assert mixed(batch) is batch


class Listener(torch.nn.Module):
    """A net that keeps the batches it is given."""

    def __init__(self):
        super().__init__()
        self.weight, self.heard = torch.nn.Parameter(torch.zeros(1)), []

    def forward(self, batch):
        self.heard.append(batch)
        return {"loss": self.weight.sum()}


@pytest.mark.parametrize("mixedprec", [False, True])
def test_the_network_hears_mixed_crops(sounds, mixedprec):
    """In float32 under autocast too, through workers, and nothing else."""
    now, later = datasets(sounds, max_frames=60, seed=0)
    items = [(1, [[i, i + 1] for i in range(0, 120, 4)]), (2, [[0, 3], [4, 5]])]
    net = Listener()
    trainer = Trainer(net, torch.optim.SGD(net.parameters(), 0.1), mixedprec=mixedprec)
    trainer.scheduler = torch.optim.lr_scheduler.LambdaLR(trainer.optimizer, lambda _: 1)
    list(trainer.train_epoch(batches(train_loader(later, items, workers=1))))
    for batch, item in zip(net.heard, items, strict=True):
        assert set(batch) == {*now[item], "step", "real"}
        assert_close(batch["x"], now[item]["x"])


def test_spectra_that_were_used_last_are_kept():
    made = []
    # two of 80 bytes
    spectra = Spectra(lambda *key: made.append(key) or np.full(10, key[1], np.complex64), 200)
    for name in "abacab":
        assert spectra(name, ord(name))[0] == ord(name)
    assert [name for name, _ in made] == ["a", "b", "c", "b"] and [
        name for name, _ in spectra.held
    ] == ["a", "b"]
    assert spectra.bytes == sum(spectrum.nbytes for spectrum in spectra.held.values()) == 160


def test_spectra_of_rooms_are_kept(sounds, monkeypatch):
    now, _ = datasets(sounds, max_frames=60, seed=0)
    read = []
    monkeypatch.setattr(
        now.augment, "response", lambda name: read.append(name) or np.ones(9, np.float32)
    )
    for length in (100, 100, 200):
        now.augment.mix(np.ones(length, np.float32), Plan(rir="a"))
    # one of each length
    assert read == ["a", "a"]


# ---------------------------------------------------------------- runs
def noisy_run(corpus, sounds, save_path, *more):
    """Words of a run whose steps are so small that rounding does not grow from one to the next."""
    return [
        str(word)
        for word in small_run(
            corpus,
            save_path,
            "--augment",
            "--musan_path",
            sounds[0] / "musan",
            "--rir_path",
            sounds[0] / "rir",
            "--test_list",
            "",
            "--optimizer",
            "sgd",
            "--lr",
            1e-6,
            "--max_epoch",
            1,
            *more,
        )
    ]


def log_of(run):
    return [json.loads(line)["loss"] for line in (run / "log.jsonl").read_text().splitlines()]


def test_runs(corpus, sounds, tmp_path, program):
    """The same losses to rounding as without; gone on with after a stop, with other workers, bit for bit as in one go."""
    for name, *more in (
        ["now"],
        ["later", "--gpu_augment"],
        ["parts", "--gpu_augment", "--max_steps", 3],
        ["parts", "--gpu_augment", "--nDataLoaderThread", 1],
    ):
        code, _, err = program(*noisy_run(corpus, sounds, tmp_path / name, *more))
        assert code == 0, err
    assert log_of(tmp_path / "later") == pytest.approx(
        log_of(tmp_path / "now"), rel=1e-5
    ) and log_of(tmp_path / "later") != log_of(tmp_path / "now")
    (state, log), (whole, whole_log) = end_of(tmp_path / "parts"), end_of(tmp_path / "later")
    assert (
        all(equal(state[key], whole[key]) for key in ("model", "loss", "optimizer", "step"))
        and log == whole_log
    )


def test_two_processes(corpus, sounds, tmp_path):
    """Their batches differ in how many noises they bring; their embeddings are gathered."""
    words = ["--gather_embeddings", "--batch_size", 2, "--max_steps", 2]
    for name, *more in (["now"], ["later", "--gpu_augment"]):
        assert processes(2, *noisy_run(corpus, sounds, tmp_path / name, *words, *more)) == [0, 0]
    assert log_of(tmp_path / "later") == pytest.approx(log_of(tmp_path / "now"), rel=1e-5)


def test_option(caplog):
    parse(["--gpu_augment"], {}, "", read_checkpoint)
    assert "--gpu_augment has no effect without --augment" in caplog.text
