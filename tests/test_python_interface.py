"""from inference import load: the numbers of --extract and --verify, without a command line."""

import json
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
import scipy.signal
import soundfile as sf
import torch
from pages import ROOT
from test_score_norm import calibration_file

from inference import InputError, load
from metrics.backends import estimate
from network.checkpoints import read_checkpoint, write_checkpoint


@pytest.fixture(scope="module")
def net(checkpoint):
    return load(checkpoint, device="cpu")


@pytest.fixture(scope="module")
def files(corpus):
    return sorted(str(path) for path in (corpus / "wav").rglob("*.wav"))


def samples(path):
    return sf.read(path, dtype="int16")[0]


def write_cuts(folder, files, number):
    """Writes parts of files, many of them of equal length -> their samples."""
    draw = np.random.default_rng(0)
    arrays = []
    for i in range(number):
        start = int(draw.integers(0, 4000))
        length = int(draw.choice([8000, 12000, 12001]))
        arrays.append(samples(files[i % len(files)])[start : start + length])
        sf.write(folder / f"{i:03d}.wav", arrays[-1], 16000)
    return arrays


# ---------------------------------------------------------------------- the same numbers
@pytest.mark.parametrize("number", [12, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("options", [{}, {"eval_frames": 0}], ids=["crops", "complete"])
def test_arrays_have_the_bits_of_extract(files, checkpoint, program, tmp_path, options, number):
    wav = tmp_path / "wav"
    wav.mkdir()
    arrays = write_cuts(wav, files, number)
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    use = ["--initial_model", checkpoint, "--device", "cpu", "--nDataLoaderThread", 0, *words]
    code, _, err = program("--extract", wav, "--output", tmp_path / "out", *use)
    assert code == 0, err
    net = load(checkpoint, device="cpu", **options)
    found = net.embed(arrays, batch_size=32)
    assert found.shape == (number, 1 if options else 2, 32) and found.dtype == np.float32
    for i, embedding in enumerate(found):
        assert np.array_equal(embedding, np.load(tmp_path / "out" / f"{i:03d}.npy"))
    # Neither the size of the batch nor the other recordings have an influence.
    assert np.array_equal(net.embed(arrays[:7], batch_size=3), found[:7])
    assert np.array_equal(net.embed(arrays[5]), found[5])


def test_another_speed_equals_files_at_that_speed(files, checkpoint, tmp_path):
    """The speed 0.8 makes five samples of four."""
    slow = str(tmp_path / "slow.wav")
    sf.write(slow, scipy.signal.resample_poly(samples(files[0]) / 32768, 5, 4), 16000, "FLOAT")
    expected = load(checkpoint, device="cpu").embed(slow)
    found = load(checkpoint, device="cpu", eval_speed=0.8).embed(files[0])
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    unchanged = load(checkpoint, device="cpu").embed(files[0])
    assert np.abs(unchanged - expected).max() > 1e-2 * np.abs(expected).max()


def test_every_kind_of_recording_gives_the_same(net, files):
    x = samples(files[0])
    expected = net.embed(files[0])
    assert expected.shape == (2, 32)
    same = [
        x,
        x / 32768,
        (x / 32768).astype(np.float32),
        torch.from_numpy(x),
        torch.from_numpy(x)[None] / 32768,
        x[:, None],
        files[0],
    ]
    found = net.embed([*same, files[1], files[0]])
    assert all(np.array_equal(e, expected) for e in (*found[: len(same)], found[-1]))
    assert not np.array_equal(found[-2], expected)


def test_verify_is_the_command(net, files, checkpoint, program):
    a, b = files[0], files[-1]
    words = ["--verify", a, b, "--initial_model", checkpoint, "--device", "cpu"]
    out = program(*words, "--nDataLoaderThread", 0)[1]
    score, same = net.verify(a, samples(b))
    assert f"{score:#.5g}" in out
    assert ("same speaker" if same else "different speakers") in out
    assert net.verify(a, a) == net.verify(samples(a), samples(a))
    assert load(checkpoint, threshold=score + 0.01).verify(a, b) == (score, False)
    assert load(checkpoint, threshold=score - 0.01).verify(a, b) == (score, True)


def test_no_threshold_is_no_decision(files, checkpoint, tmp_path):
    state = read_checkpoint(checkpoint)
    write_checkpoint(state | {"result": {}}, tmp_path / "x.model")
    assert load(tmp_path / "x.model").verify(files[0], files[1]).same is None


def test_a_calibration_gives_a_log_likelihood_ratio(files, checkpoint, tmp_path, program):
    raw = load(checkpoint).verify(files[0], files[1]).score
    path = calibration_file(tmp_path / "c.json", ["score"], [2.0], -1.0)
    expected = 2 * raw - 1
    # The probability is one half at the prior 1 / (1 + exp(llr)).
    half = 1 / (1 + np.exp(expected))
    words = ["--verify", *files[:2], "--initial_model", checkpoint, "--calibration", path]
    for prior, same in ((half - 0.01, False), (half + 0.01, True)):
        verdict = load(checkpoint, calibration=path, prior=prior).verify(*files[:2])
        assert verdict == (pytest.approx(expected, abs=1e-6), same)
        out = program(*words, "--prior", prior, "--nDataLoaderThread", 0)[1]
        assert ("Decision    same speaker" in out) == same
    high = load(checkpoint, calibration=path, threshold=raw + 0.1).verify(*files[:2])
    assert high == (pytest.approx(expected, abs=1e-6), False)
    # The logarithm of the shorter duration in seconds is a quality measure.
    path = calibration_file(tmp_path / "q.json", ["score", "duration_min"], [0.0, 1.0])
    shortest = min(len(samples(path)) for path in files[:2]) / 16000
    assert load(checkpoint, calibration=path).verify(*files[:2]).score == pytest.approx(
        np.log(shortest)
    )


def test_a_back_end(net, files, checkpoint, tmp_path):
    raw = net.embed(files[:8]).mean(1)
    backend = estimate(raw, [], ["mean"])
    backend.save(tmp_path / "mean.npz")
    for given in (backend, tmp_path / "mean.npz"):
        with_mean = load(checkpoint, backend=given)
        found = with_mean.embed(files[:8])
        assert np.allclose(found, net.embed(files[:8]) - raw.mean(0), atol=1e-5)
        score, same = with_mean.verify(*files[:2])
        left, right = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in found[:2])
        assert score == pytest.approx((left @ right.T).mean(), abs=1e-5)
        assert same is None


def test_a_published_folder(net, files, checkpoint, tmp_path, program):
    words = ["--publish", tmp_path / "hub", "--initial_model", checkpoint, "--device", "cpu"]
    code, _, err = program(*words)
    assert code == 0, err
    published = load(tmp_path / "hub", device="cpu")
    assert np.array_equal(published.embed(files[:3]), net.embed(files[:3]))
    assert published.verify(*files[:2]) == net.verify(*files[:2])


def test_other_rates_are_resampled(net, files, tmp_path):
    """A recording at 48 kHz, made by a Fourier series, is close to itself at 16 kHz."""
    x = samples(files[0]) / 32768
    spectrum = np.fft.rfft(x)
    spectrum[-len(spectrum) // 20 :] = 0
    slow = np.fft.irfft(spectrum, len(x))
    fast = 3 * np.fft.irfft(spectrum, 3 * len(x))
    sf.write(tmp_path / "fast.wav", fast, 48000, subtype="FLOAT")
    with pytest.raises(InputError, match="sample_rate: expected 16000 Hz, found 48000 Hz"):
        net.embed(fast, sample_rate=48000)
    with pytest.raises(InputError, match="found 48000 Hz and 1 channel.*resample=True"):
        net.embed(tmp_path / "fast.wav")
    expected = net.embed(slow)
    found = net.embed([fast, tmp_path / "fast.wav"], sample_rate=48000, resample=True)
    assert np.allclose(found[0], found[1], atol=1e-5)
    error = np.linalg.norm(found[0] - expected)
    assert error < 0.1 * np.linalg.norm(net.embed(fast) - expected)


def test_two_threads(net, files):
    expected = net.embed(files[:6])
    found = {}

    def work(number):
        found[number] = [net.embed(files[:6]) for _ in range(3)]

    threads = [threading.Thread(target=work, args=[number]) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert all(np.array_equal(e, expected) for several in found.values() for e in several)


# ---------------------------------------------------------------------- what is refused
NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 16000)


@pytest.mark.parametrize(
    "recordings, message",
    [
        ([], "recordings: expected at least one recording, found an empty list"),
        (["no.wav"], "no.wav: there is no such file"),
        (NOISE.reshape(2, -1), r"recordings: expected .* one channel.* shape \[2, 8000\]"),
        ([NOISE, NOISE.reshape(2, -1)], r"recordings\[1\]: expected .* shape \[2, 8000\]"),
        ([np.where(np.arange(16000) == 5, np.nan, NOISE)], "found NaN or infinity as sample 5"),
        ([NOISE[:0]], "found an empty array"),
        ([NOISE * 32768], "Divide the integers of a 16-bit file by 32768"),
        ([(NOISE * 32768).astype(int)], "or int16, found int64"),
        ([0.5, 0.25], "found an object of the type float"),
        (["x.npy"], "there is no such file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_recordings_that_cannot_be_used(net, recordings, message):
    with pytest.raises(InputError, match=message):
        net.embed(recordings)


def test_files_that_cannot_be_used(net, tmp_path):
    (tmp_path / "text.wav").write_text("no audio")
    sf.write(tmp_path / "two.wav", NOISE.reshape(-1, 2), 16000)
    with pytest.raises(InputError, match="text.wav: libsndfile cannot read"):
        net.embed(tmp_path / "text.wav")
    for resample in (False, True):
        with pytest.raises(InputError, match="two.wav: expected .*1 channel.*found .*2 channels"):
            net.embed([NOISE, tmp_path / "two.wav"], resample=resample)
    (tmp_path / "frames.npy").write_bytes(b"")
    with pytest.raises(InputError, match="expected speech for this model, found embeddings"):
        net.embed([tmp_path / "frames.npy"])


def test_weak_recordings(net, caplog):
    """verify() refuses them and embed() warns of them, as the commands do."""
    for weak, problem in ((0 * NOISE, r"silent \(-200.0 dB\)"), (NOISE[:100], "short")):
        with pytest.raises(InputError, match=f"^b: expected speech with .*{problem}"):
            net.verify(NOISE, weak)
        assert net.embed([NOISE, weak]).shape == (2, 2, 32)
        assert "recordings[1] is " + problem.split(" ")[0] in caplog.messages[-1]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"fbnk": "kaldi"}, "unknown option fbnk. Did you mean fbank"),
        ({"lr": 0.1}, "lr: this option has no effect on a loaded network"),
        ({"train_list": "x"}, "train_list: this option has no effect"),
        ({"eval": True}, "eval: this option has no effect"),
        ({"nOut": 7}, "nOut 7 contradicts .* Leave nOut out"),
        ({"device": "cuda:99"}, "device cuda:99: the device cannot be used"),
        ({"threshold": "high"}, "threshold: expected a number"),
        ({"prior": 1.0, "calibration": "x"}, "prior: expected less than 1"),
        ({"backend": "no.npz"}, "no.npz: there is no such file"),
        ({"calibration": "no.json"}, "no.json: there is no such file"),
        ({"score_norm": "snorm"}, "Add cohort_list LIST and cohort_path DIR"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_options_that_cannot_be_used(checkpoint, options, message):
    with pytest.raises(InputError, match=message) as error:
        load(checkpoint, **options)
    assert "--" not in str(error.value)


def test_checkpoints_that_cannot_be_used(checkpoint, tmp_path):
    with pytest.raises(InputError, match="^no.model: there is no such"):
        load("no.model")
    torch.save(read_checkpoint(checkpoint)["model"], tmp_path / "weights.pt")
    with pytest.raises(InputError, match="All shapes fit with nOut 32. Give this option."):
        load(tmp_path / "weights.pt")
    assert load(tmp_path / "weights.pt", nOut=32, eval_frames=0).embed(NOISE).shape == (1, 32)


# ---------------------------------------------------------------------- the program around it
PROBE = """
import json, logging, random, sys
import numpy as np
import inference
light = sorted(n for n in ("torch", "numpy.random.mtrand", "options") if n in sys.modules)
import torch
torch.manual_seed(1)
before = [torch.get_num_threads(), torch.backends.cudnn.allow_tf32, torch.get_default_dtype()]
before += [torch.is_grad_enabled(), logging.getLogger().handlers[:], logging.getLogger().level]
before += [torch.get_rng_state().sum().item(), np.random.get_state()[1].sum(), random.getstate()]
sys.argv = ["program", "--lr", "not a number"]
from inference import load
net = load(sys.stdin.read(), device="cpu")
net.embed(np.random.default_rng(0).standard_normal(16000) / 9)
after = [torch.get_num_threads(), torch.backends.cudnn.allow_tf32, torch.get_default_dtype()]
after += [torch.is_grad_enabled(), logging.getLogger().handlers[:], logging.getLogger().level]
after += [torch.get_rng_state().sum().item(), np.random.get_state()[1].sum(), random.getstate()]
names = {name.partition(".")[0] for name in sys.modules}
others = ("training", "trainSpeakerNet", "tuneThreshold", "report", "prep", "matplotlib")
print(json.dumps([light, before == after, [name for name in others if name in names]]))
"""


@pytest.mark.slow
def test_nothing_around_it_changes(checkpoint):
    """Nothing of training/ is imported, and no setting of the program changes."""
    command = [sys.executable, "-c", PROBE]
    done = subprocess.run(
        command, cwd=ROOT, input=str(checkpoint), capture_output=True, text=True, check=True
    )
    light, unchanged, others = json.loads(done.stdout)
    assert "torch" not in light and "options" not in light
    assert unchanged and others == []
    assert done.stderr == ""


def test_the_process_group_of_another_program(net, files, monkeypatch):
    """Ranks of the program around it do not share the recordings."""
    expected = net.embed(files[:4])
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 1)
    assert np.array_equal(net.embed(files[:4]), expected)


# ---------------------------------------------------------------------- the pages
def python_blocks(page):
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S)


def test_the_examples_run(files, checkpoint, tmp_path, monkeypatch, capsys):
    (tmp_path / "exps/demo/model").mkdir(parents=True)
    (tmp_path / "exps/demo/model/best.model").symlink_to(checkpoint)
    for name, path in zip(("a.wav", "b.wav"), files, strict=False):
        (tmp_path / name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    blocks = python_blocks(ROOT / "docs" / "python.md")
    assert len(blocks) == 4 and python_blocks(ROOT / "README.md") == blocks[:1]
    for block in blocks:
        names = {}
        exec(block, names)
        if "score" in names:
            assert names["embeddings"].shape == (2, 2, 32)
            assert -1 <= names["score"] <= 1 and names["same"] in (True, False)
    assert capsys.readouterr().out == "missing.wav: there is no such file. Check the path.\n"
