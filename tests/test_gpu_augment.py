"""--gpu_augment: torch mixes all crops of a batch.

The crops equal those that NumPy mixes, and a run with the option equals a run without it.
"""

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

from corpus.augment import ENTRIES, Augment, Plan, SpectrumCache, mixed
from corpus.lists import Utterance, speed_copies
from DatasetLoader import TrainDataset, batches, train_loader
from network.checkpoints import read_checkpoint
from options.parser import parse
from prep.pack import PackOptions, make_pack
from SpeakerNet import Trainer

# Samples of the files of each kind; 0 is a file of digital silence. Some files are shorter than a
# crop.
LENGTHS = {"noise": (60000, 0), "music": (48000, 6000), "speech": (50000, 40000, 30000, 9000)}


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """A folder with sounds, and the Utterances of its speech.

    speech/ includes a silent and a short file. musan/ and rir/ are also there as packs. Some
    impulse responses are shorter than a crop, and some are longer.
    """
    folder = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)

    def write(name, samples, level=0.1):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        noise = level * rng.standard_normal(samples)
        soundfile.write(folder / name, noise, 16000, subtype="PCM_16")

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
    """Two data sets: NumPy mixes the batches of the first, mixed() the batches of the second."""
    folder, utterances = sounds
    augment = Augment(str(folder / f"musan{packs}"), str(folder / f"rir{packs}"))
    speech = str(folder / "speech")
    now = TrainDataset(utterances, speech, augment=augment, augment_later=False, **options)
    later = TrainDataset(utterances, speech, augment=augment, augment_later=True, **options)
    return now, later


def assert_close(got, want):
    """Compares crops [B, M, T], to 1e-5 of the largest sample of each crop."""
    assert got.shape == want.shape
    assert got.dtype == want.dtype == torch.float32
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
    assert list(got) == list(want)
    assert all(torch.equal(got[name], want[name]) for name in want if name != "x")
    assert_close(got["x"], want["x"])
    # Random slicing shortens x before it is mixed.
    assert batch["x"].shape == want["x"].shape
    assert set(batch) == {*want, *ENTRIES}


def test_all_kinds_are_mixed(sounds):
    """One batch has everything: all kinds and no noise, silent and short noise, silent speech.

    It also has impulse responses of all lengths. Crops for which nothing is drawn stay the same bit
    for bit.
    """
    now, later = datasets(sounds, max_frames=60, seed=1)
    groups = [[i] for i in range(120)]
    want, batch = now[1, groups], later[1, groups]
    rows = torch.cat([batch["noise_row"], batch["rir_row"]])
    voices = set(batch["noise_row"].bincount().tolist())
    assert voices >= {0, 1, 3, 4, 5, 6, 7}
    assert len(batch["rir_row"]) > 4
    assert batch["rir"].shape[1] == 45000
    assert (batch["noise"].abs().sum(1) == 0).any()
    assert len(set(rows.tolist())) < 120
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
    assert torch.equal(got["x"][plain], want["x"][plain])
    assert not torch.equal(got["x"], batch["x"])
    # mixed() does not change the batch itself.
    assert torch.equal(mixed(batch)["x"], got["x"])


def mixed_by_a_loop(batch):
    """Computes what mixed() computes, crop by crop and in double precision."""
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
    crops = torch.from_numpy(out).float().reshape(*batch["x"].shape[:2], -1)
    return crops[..., : batch["x"].shape[-1]]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_mixing_is_what_a_loop_does(data):
    """There may be no noise and no impulse response, and the crops are cut afterwards."""
    groups = data.draw(st.integers(1, 5))
    samples = data.draw(st.integers(1, 300))
    tail = data.draw(st.integers(1, 40))
    response = data.draw(st.integers(1, 400))
    rows = st.integers(0, 2 * groups - 1)
    noisy = data.draw(st.lists(rows, max_size=9))
    reverberant = []
    if data.draw(st.booleans()):
        reverberant = sorted(data.draw(st.sets(rows)))
    noisy = [row for row in noisy if row not in reverberant]
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    batch = {
        "x": torch.randn(groups, 2, samples, generator=generator),
        "tail": torch.randn(groups, 2, tail, generator=generator),
        "label": torch.arange(groups),
        "noise": torch.randn(len(noisy), samples + tail, generator=generator),
        "snr": 40 * torch.rand(len(noisy), generator=generator) - 10,
        "noise_row": torch.tensor(noisy, dtype=torch.int64),
        "rir": torch.randn(len(reverberant), response, generator=generator),
        "rir_row": torch.tensor(reverberant, dtype=torch.int64),
    }
    got = mixed(batch)
    assert set(got) == {"x", "label"}
    assert got["label"] is batch["label"]
    expected = mixed_by_a_loop(batch)
    # Terms of size 1 can cancel out in a crop of one sample.
    sizes = 1 + expected.abs().amax(-1, keepdim=True)
    assert ((got["x"] - expected).abs() <= 1e-5 * sizes).all()


def test_other_batches_pass(sounds):
    batch = {"x": torch.zeros(1, 1, 9), "label": torch.zeros(1)}
    assert mixed(batch) is batch
    folder, utterances = sounds
    # Validation does not augment.
    batch = TrainDataset(
        utterances, str(folder / "speech"), max_frames=20, seed=0, augment_later=True
    )[0, [[0]]]
    assert mixed(batch) is batch


class RecordingNet(torch.nn.Module):
    """A net that keeps the batches that it receives."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.batches = []

    def forward(self, batch):
        self.batches.append(batch)
        return {"loss": self.weight.sum()}


@pytest.mark.parametrize("mixedprec", [False, True])
def test_the_network_receives_mixed_crops(sounds, mixedprec):
    """They come through workers, are float32 under autocast too, and have no noise entries."""
    now, later = datasets(sounds, max_frames=60, seed=0)
    items = [(1, [[i, i + 1] for i in range(0, 120, 4)]), (2, [[0, 3], [4, 5]])]
    net = RecordingNet()
    trainer = Trainer(net, torch.optim.SGD(net.parameters(), 0.1), mixedprec=mixedprec)
    trainer.scheduler = torch.optim.lr_scheduler.LambdaLR(trainer.optimizer, lambda _: 1)
    list(trainer.train_epoch(batches(train_loader(later, items, workers=1))))
    for batch, item in zip(net.batches, items, strict=True):
        assert set(batch) == {*now[item], "step", "epoch", "real"}
        assert_close(batch["x"], now[item]["x"])


def test_spectra_that_were_used_last_are_kept():
    made = []

    def make(*key):
        made.append(key)
        return np.full(10, key[1], np.complex64)

    # Two spectra of 80 bytes fit into 200 bytes.
    spectra = SpectrumCache(make, 200)
    for name in "abacab":
        assert spectra(name, ord(name))[0] == ord(name)
    assert [name for name, _ in made] == ["a", "b", "c", "b"]
    assert [name for name, _ in spectra.spectra] == ["a", "b"]
    assert sum(spectrum.nbytes for spectrum in spectra.spectra.values()) == 160
    assert spectra.bytes == 160


def test_spectra_of_rooms_are_kept(sounds, monkeypatch):
    now, _ = datasets(sounds, max_frames=60, seed=0)
    read = []

    def response(name):
        read.append(name)
        return np.ones(9, np.float32)

    monkeypatch.setattr(now.augment, "response", response)
    for length in (100, 100, 200):
        now.augment.mix(np.ones(length, np.float32), Plan(rir="a"))
    # Once for each length.
    assert read == ["a", "a"]


# ---------------------------------------------------------------- runs
def noisy_run(corpus, sounds, save_path, *more):
    """The command line of a run with such small steps that rounding errors do not grow."""
    folder = sounds[0]
    words = small_run(corpus, save_path, "--augment")
    words += ["--musan_path", folder / "musan", "--rir_path", folder / "rir"]
    words += ["--test_list", "", "--optimizer", "sgd", "--lr", 1e-6, "--max_epoch", 1, *more]
    return [str(word) for word in words]


def losses_of(run):
    lines = (run / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def test_runs(corpus, sounds, tmp_path, program):
    """The losses equal those without the option up to rounding.

    A run that is stopped and resumed with other workers equals an uninterrupted one bit for bit.
    """
    for name, *more in (
        ["now"],
        ["later", "--gpu_augment"],
        ["parts", "--gpu_augment", "--max_steps", 3],
        ["parts", "--gpu_augment", "--nDataLoaderThread", 1],
    ):
        code, _, err = program(*noisy_run(corpus, sounds, tmp_path / name, *more))
        assert code == 0, err
    assert losses_of(tmp_path / "later") == pytest.approx(losses_of(tmp_path / "now"), rel=1e-5)
    assert losses_of(tmp_path / "later") != losses_of(tmp_path / "now")
    (state, log), (whole, whole_log) = end_of(tmp_path / "parts"), end_of(tmp_path / "later")
    assert all(equal(state[key], whole[key]) for key in ("model", "loss", "optimizer", "step"))
    assert log == whole_log


@pytest.mark.forks
def test_two_processes(corpus, sounds, tmp_path):
    """The processes gather embeddings, and their batches have different numbers of noises."""
    words = ["--gather_embeddings", "--batch_size", 2, "--max_steps", 2]
    for name, *more in (["now"], ["later", "--gpu_augment"]):
        assert processes(2, *noisy_run(corpus, sounds, tmp_path / name, *words, *more)) == [0, 0]
    assert losses_of(tmp_path / "later") == pytest.approx(losses_of(tmp_path / "now"), rel=1e-5)


def test_option(caplog):
    parse(["--gpu_augment"], {}, "", read_checkpoint)
    assert "--gpu_augment has no effect without --augment" in caplog.text
