"""Log-mel features in files: made by the command, read again, trained on and evaluated in place of audio."""
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from reference import golden

import dataprep
from corpus import InputError
from corpus.features import FEATURE_TYPES, Features, load_array
from models._frontend import MFSC, normalise

REFERENCE = Path(__file__).parent / "reference"


def make(capsys, *words):
    """-> (exit code, stdout, stderr) of dataprep.py --features with these words."""
    capsys.readouterr()
    code = dataprep.main(["--features", "--processes", "1", *map(str, words)])
    return code, *capsys.readouterr()


@pytest.fixture
def recordings(corpus, tmp_path):
    """Some files of the corpus in a folder of their own, and a list of them without extensions."""
    names = [line.split()[1] for line in (corpus / "train_list.txt").read_text().splitlines()][:6]
    for name in names:
        (tmp_path / "wav" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(corpus / "wav" / name, tmp_path / "wav" / name)
    (tmp_path / "files.lst").write_text("".join(f"{name.removesuffix('.wav')}\n" for name in names))
    return tmp_path


# ---------------------------------------------------------------------- making
def test_features_equal_the_references(tmp_path, capsys):
    """Through the command and the reader: before normalisation, and with both kinds of it."""
    case, = golden.load_cases(REFERENCE / "features_dmha.npz")
    sf.write(tmp_path / "a.flac", case.inputs["wave"].reshape(-1), 16000, subtype="PCM_16")
    (tmp_path / "files.lst").write_text(f"{tmp_path}/a\n")
    code, out, err = make(capsys, "-i", tmp_path / "files.lst")
    assert code == 0 and "features of 1 files (1 made now" in out, err
    raw = np.load(tmp_path / "a.npy")
    assert raw.dtype == np.float32 and raw.shape == (252, 80)
    want = {"none": case.arrays["logmel"].T, "cmn": case.arrays["features"], "cmvn": case.arrays["features_cmvn"]}
    for normalization, features in want.items():
        got = Features(tmp_path / "a.npy", 80, normalization)
        assert np.linalg.norm(got.read(0, got.frames) - features) < 1e-5 * np.linalg.norm(features)


@pytest.mark.parametrize("kind", FEATURE_TYPES)
def test_other_front_ends(kind, recordings, capsys):
    words = "-i", recordings / "files.lst", "--path", recordings / "wav", "--output", recordings / kind, "--feature_type", kind, "--n_mels", 24
    assert make(capsys, *words)[0] == 0
    names = (recordings / "files.lst").read_text().split()
    made = [load_array(recordings / kind / f"{name}.npy") for name in names]
    assert all(x.shape[1] == 24 and abs(len(x) - sf.info(recordings / "wav" / f"{name}.wav").frames // 160) <= 4
               for name, x in zip(names, made, strict=True))
    assert min(abs(x.mean(0)).max() for x in made) > 0.1                          # not normalised


def test_mirrored_in_parallel_and_gone_on_with(recordings, capsys):
    words = "-i", recordings / "files.lst", "--path", recordings / "wav", "--output", recordings / "out"
    names = (recordings / "files.lst").read_text().split()
    assert make(capsys, *words, "--processes", 2)[0] == 0
    made = [recordings / "out" / f"{name}.npy" for name in names]
    before = [path.read_bytes() for path in made]
    made[2].unlink()
    code, out, _ = make(capsys, *words)
    assert code == 0 and "features of 6 files (1 made now" in out and [path.read_bytes() for path in made] == before
    assert not list((recordings / "wav").rglob("*.npy")) and not list(recordings.rglob("*.part"))
    code, _, err = make(capsys, *words, "--feature_type", "sasv2")
    assert code == 2 and "holds other features than --feature_type sasv2 --n_mels 80" in err


def test_files_that_cannot_be_used_are_left_out_and_named(recordings, capsys):
    names = (recordings / "files.lst").read_text().split()
    good = (recordings / "wav" / f"{names[1]}.wav").read_bytes()
    sf.write(recordings / "wav" / f"{names[0]}.wav", np.zeros(511), 16000)
    (recordings / "wav" / f"{names[1]}.wav").write_bytes(good[:1000])
    code, _, err = make(capsys, "-i", recordings / "files.lst", "--path", recordings / "wav")
    assert code == 2 and "2 of 6 files cannot be used" in err and "want 512 samples or more, got 511" in err
    assert len((recordings / "wav" / "features_failed.txt").read_text().splitlines()) == 2
    assert len(list((recordings / "wav").rglob("*.npy"))) == 4
    for name in names[:2]:
        (recordings / "wav" / f"{name}.wav").write_bytes(good)
    assert make(capsys, "-i", recordings / "files.lst", "--path", recordings / "wav")[0] == 0
    assert not (recordings / "wav" / "features_failed.txt").exists()


@pytest.mark.parametrize("line, words, message", [
    ("nowhere/a", [], "1 of 1 files are missing"), ("../wav/a", ["--output", "out"], "want files below --path .*, got ../wav/a.wav")])
def test_lists_that_are_refused(line, words, message, recordings, capsys, monkeypatch):
    monkeypatch.chdir(recordings)
    shutil.copy(next((recordings / "wav").rglob("*.wav")), recordings / "wav" / "a.wav")
    Path("l").write_text(line)
    code, _, err = make(capsys, "-i", "l", "--path", "wav", *words)
    assert code == 2 and re.search(message, err)


# ---------------------------------------------------------------------- reading
class Code:
    def __reduce__(self):
        return exec, ("raise SystemExit('code of a pickle was run')",)


def test_old_pickles(tmp_path):
    """[bands, T] in any protocol, as NumPy of before and after 2.0 wrote them."""
    x = np.random.default_rng(0).standard_normal((80, 30))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / "a.pickle").write_bytes(pickle.dumps(x.astype(np.float32 if protocol else np.float64), protocol))
        np.testing.assert_allclose(load_array(tmp_path / "a.pickle"), x.T, rtol=1e-6)
    data = pickle.dumps(x, 2)
    (tmp_path / "a.pickle").write_bytes(data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    np.testing.assert_array_equal(load_array(tmp_path / "a.pickle"), x.T)


@pytest.mark.parametrize("name, content, message", [
    ("a.pickle", pickle.dumps(Code()), "it holds builtins.exec.*no code of it was run"), ("a.pickle", b"", "got something else"),
    ("a.pickle", pickle.dumps({"a": 1}), "got dict"), ("a.pickle", pickle.dumps(np.zeros((2, 3, 4))), r"got float64 \[2, 3, 4\]"),
    ("a.pickle", pickle.dumps(np.array([[1.0, np.nan]])), "NaN"), ("a.pickle", pickle.dumps(np.array([[Code()]])), "builtins.exec"),
    ("a.pickle", pickle.dumps(np.zeros((80, 0))), r"got float64 \[80, 0\]"), ("a.npy", b"no array", "got something else"), ("b.npy", None, "no such file")])
def test_files_that_are_no_features(name, content, message, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: .*{message}"):
        load_array(tmp_path / name)


def test_bands_and_stretches(tmp_path):
    x = np.random.default_rng(0).standard_normal((30, 8)).astype(np.float32)
    np.save(tmp_path / "a.npy", x)
    with pytest.raises(InputError, match="a.npy: want 80 bands, got 8"):
        Features(tmp_path / "a.npy", 80, "cmn")
    with Features(tmp_path / "a.npy", 8, "none") as features:
        np.testing.assert_array_equal(features.crop(40, np.random.default_rng(0)), np.concatenate([x, x[:10]]))
        np.testing.assert_array_equal(features.crop(40, np.random.default_rng(0), "zeros"), np.pad(x, ((5, 5), (0, 0))))
        crop = features.crop(10, np.random.default_rng(0))
        assert any(np.array_equal(crop, x[s:s + 10]) for s in range(21))


def test_normalisation_is_that_of_the_front_end():
    wave = torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    raw = MFSC(80, normalization="none")(wave)
    for normalization in ("cmn", "cmvn"):
        assert torch.equal(normalise(raw, normalization), MFSC(80, normalization=normalization)(wave))
