"""Recordings as they occur in practice: silent, short, cut off, unfinished, or compressed."""

import re
import resource
import shlex
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from conftest import Tiny, small_run
from test_scale import Squares

from common.errors import InputError
from corpus.audio import Audio, AudioError
from corpus.durations import read_durations
from corpus.embeddings import load_targets
from corpus.ffmpeg import find_ffmpeg
from corpus.files import check_files
from corpus.waves import Waves
from DatasetLoader import EvalDataset, LoadingError, TrainDataset
from inference.evaluation import represent_files
from inference.scorer import Scorer
from prep.check import CheckOptions, check_lists
from prep.conversion import convert
from prep.noise import split_musan
from SpeakerNet import SpeakerNet

NOISE = np.random.default_rng(3).uniform(-0.3, 0.3, 32000)


def write(path, x, **options):
    soundfile.write(path, x, 16000, **options)
    return path


# ---------------------------------------------------------------------- silent and short speech
@pytest.fixture
def weak(tmp_path):
    """A folder with a usable file and files that are too weak, and the list of its files."""
    faint = 10 ** (-75 / 20) * np.sign(NOISE)
    files = {
        "usable": NOISE,
        "zeros": np.zeros(32000),
        "offset": np.full(32000, 0.25),
        "faint": faint,
        "sample": np.array([0.5]),
        "short": NOISE[:7999],
    }
    for name, x in files.items():
        write(tmp_path / f"{name}.wav", x, subtype="FLOAT")
    (tmp_path / "list.txt").write_text("".join(f"{name}.wav\n" for name in files))
    return tmp_path


@pytest.fixture
def use(checkpoint):
    return ["--initial_model", checkpoint, "--device", "cpu", "--nDataLoaderThread", 0]


@pytest.mark.parametrize(
    "name, problem",
    [
        ("zeros", "silent (-200.0 dB)"),
        ("offset", "silent (-200.0 dB)"),
        ("faint", "silent (-75.0 dB)"),
        ("sample", "short (6.25e-05 s)"),
        ("short", "short (0.4999 s)"),
    ],
)
def test_verify_refuses_weak_speech(weak, use, program, name, problem):
    for names in ([name, "usable"], ["usable", name]):
        code, out, err = program(
            "--verify", *(f"{n}.wav" for n in names), "--test_path", weak, *use
        )
        assert code == 2 and "Decision" not in out
        assert err.startswith(
            f"error: {name}.wav: expected speech with a level of at least -70 dB (--silence_db) "
            f"and at least 0.5 s (--min_seconds), found a file that is {problem}. "
        )


def test_the_limits_of_verify_are_options(weak, use, program):
    words = ["--verify", "faint.wav", "short.wav", "--test_path", weak, *use]
    limits = ["--silence_db", -80, "--min_seconds", 0.4]
    code, out, err = program(*words, *limits)
    assert code == 0 and "Score" in out, err
    assert "faint.wav" in program(*words, *limits[2:])[2]
    assert "short.wav" in program(*words, *limits[:2])[2]
    assert program(*words, "--min_seconds", -1)[0] == 2


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_extract_and_eval_report_weak_speech(weak, use, program, workers):
    found = (
        "found other files: 5 of 6. Their embeddings and scores mean nothing: faint.wav is silent "
        "(-75.0 dB), offset.wav is silent (-200.0 dB), sample.wav is short (6.25e-05 s), short.wav "
        "is short (0.4999 s), zeros.wav is silent (-200.0 dB)."
    )
    words = ["--test_path", weak, *use, "--nDataLoaderThread", workers, "--output"]
    code, out, _ = program("--extract", weak / "list.txt", *words, weak / "emb")
    assert code == 0 and found in out and "Wrote 6 embeddings" in out
    names = (weak / "list.txt").read_text().split()
    trials = weak / "trials.txt"
    trials.write_text("".join(f"{i % 2} usable.wav {name}\n" for i, name in enumerate(names)))
    code, out, _ = program("--eval", "--test_list", trials, *words, weak / "s.txt")
    assert code == 0 and out.count(found) == 1
    # Nothing is reported without a reason.
    (weak / "list.txt").write_text("usable.wav\n")
    out = program("--extract", weak / "list.txt", *words, weak / "emb2")[1]
    assert "warning" not in out


def test_check_finds_an_offset_without_speech(weak):
    """The limit of --check is the limit of --verify."""
    (weak / "train.txt").write_text("id1 usable.wav\nid2 offset.wav\n")
    check_lists(CheckOptions([str(weak / "train.txt")], [str(weak)], None, 0, 1), processes=1)
    assert re.search(r'"silent",\s+"file": "offset.wav"', (weak / "check.json").read_text())


# ---------------------------------------------------------------------- files without their end
STATED = (
    "RF64",
    "W64",
    "AIFF",
    "AU",
    "NIST",
    "SVX",
    "VOC",
    "AVR",
    "MPC2K",
    "MAT4",
    "MAT5",
    "WAVEX",
)
KINDS = [(name, "PCM_16") for name in STATED]
KINDS += [
    ("RF64", "FLOAT"),
    ("W64", "PCM_24"),
    ("W64", "IMA_ADPCM"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
]


@pytest.mark.parametrize("format, subtype", KINDS)
def test_files_that_are_cut_off(tmp_path, format, subtype):
    path = tmp_path / "a"
    write(path, NOISE, format=format, subtype=subtype)
    whole = path.read_bytes()
    with Audio(path) as audio:
        assert len(audio.read(0, audio.frames)) > 31000 and not audio.unfinished
    # A sample less, parts, and what remains after most of the file is lost.
    for size in (len(whole) - 9, len(whole) * 2 // 3, len(whole) // 3):
        path.write_bytes(whole[:size])
        with pytest.raises(AudioError, match="the file is truncated: expected ") as error:
            Audio(path)
        assert error.value.kind == "truncated"


def test_a_caf_file_that_is_cut_off(tmp_path):
    """libsndfile refuses a CAF file that has lost more."""
    path = write(tmp_path / "a.caf", NOISE, format="CAF", subtype="PCM_16")
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(AudioError, match="the file is truncated: expected 64004 bytes"):
        Audio(path)


def test_a_file_at_another_rate_is_truncated_before_it_is_converted(tmp_path):
    path = tmp_path / "a.aiff"
    soundfile.write(path, NOISE, 44100)
    path.write_bytes(path.read_bytes()[:30000])
    with pytest.raises(AudioError, match="the file is truncated"):
        Audio(path)


@pytest.mark.parametrize("format", ["AIFF", "FLAC", "MP3"])
def test_resampling_finds_files_that_are_cut_off(tmp_path, format, no_ffmpeg):
    path = tmp_path / "a.audio"
    soundfile.write(path, NOISE, 44100, format=format)
    waves = Waves({}, resample=True)
    assert waves.open(str(path)).frames == -(-32000 * 160 // 441)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(AudioError, match="the file is truncated"):
        waves.open(str(path))


def test_resampling_reads_unfinished_files(tmp_path):
    path = tmp_path / "a.au"
    soundfile.write(path, NOISE, 8000)
    data = bytearray(path.read_bytes())
    data[8:12] = bytes(4)
    path.write_bytes(data)
    assert Waves({}, resample=True).open(str(path)).frames == 64000


def test_an_ogg_file_that_is_cut_off_between_pages(tmp_path):
    path = write(tmp_path / "a.ogg", np.tile(NOISE, 4))
    whole = path.read_bytes()
    pages = [match.start() for match in re.finditer(b"OggS", whole)]
    assert len(pages) > 4
    for end in pages[3:]:
        path.write_bytes(whole[:end])
        with pytest.raises(AudioError, match="the file is truncated"):
            Audio(path)


def test_check_finds_files_that_are_cut_off(tmp_path):
    (tmp_path / "train.txt").write_text("id1 a.au\nid1 b.wav\n")
    path = write(tmp_path / "a.au", NOISE)
    path.write_bytes(path.read_bytes()[:30000])
    write(tmp_path / "b.wav", NOISE)
    check_lists(CheckOptions([str(tmp_path / "train.txt")], [str(tmp_path)], None, 0, 1), 1)
    assert '"truncated": 1' in (tmp_path / "check.json").read_text()
    assert (tmp_path / "train.clean.txt").read_text() == "id1 b.wav\n"


def test_a_damaged_mp3_is_truncated(tmp_path):
    """Where frames are missing, libsndfile seeks beyond the end. soundfile raises ValueError."""
    x = np.random.default_rng(0).uniform(-0.5, 0.5, 16000)
    path = write(tmp_path / "a.mp3", x, format="MP3")
    whole = path.read_bytes()
    path.write_bytes(whole[:2386] + whole[2386 + 830 :])
    with pytest.raises(AudioError, match="the file is truncated or damaged"), Audio(path) as audio:
        audio.read(audio.frames - 1, 1)


def test_a_flac_that_claims_a_day_per_byte_needs_little_memory(tmp_path):
    """The number of samples is in the last 36 bits of bytes 18 to 25."""
    path = tmp_path / "a.flac"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(8000), 16000)
    data = bytearray(path.read_bytes())
    assert int.from_bytes(data[18:26], "big") % 2**36 == 8000
    for claimed in (2**25, 2**32, 2**36 - 1):
        data[22:26] = (claimed % 2**32).to_bytes(4, "big")
        data[21] = data[21] & 0xF0 | claimed >> 32
        path.write_bytes(data)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with Audio(path) as audio, pytest.raises(InputError, match="a.flac: the file is trunc"):
            audio.read(0, audio.frames)
        # In kilobytes.
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


# ---------------------------------------------------------------------- unfinished files
def without_length(path, format, subtype, size_of_all=0):
    """Writes a file as a recorder leaves it that stops early: the header states the length 0."""
    write(path, NOISE, format=format, subtype=subtype)
    data = bytearray(path.read_bytes())
    if format == "WAV":
        data[4:8] = size_of_all.to_bytes(4, "little")
        start = data.index(b"data") + 4
        data[start : start + 4] = bytes(4)
    elif format == "RF64":
        data[20:44] = bytes(24)
    elif format == "AU":
        data[8:12] = bytes(4)
    elif format == "AIFF":
        # libsndfile counts 8 bytes before the samples.
        data[22:26] = bytes(4)
        start = data.index(b"SSND") + 4
        data[start : start + 4] = (8).to_bytes(4, "big")
    elif format == "CAF":
        start = data.index(b"data") + 4
        data[start : start + 8] = (4).to_bytes(8, "big")
    path.write_bytes(data)


@pytest.mark.parametrize(
    "kind",
    [
        ("WAV", "PCM_16"),
        ("WAV", "PCM_16", 8),
        ("WAV", "PCM_16", 36),
        ("WAV", "PCM_16", 0xFFFFFFFF),
        ("WAV", "PCM_24"),
        ("WAV", "FLOAT"),
        ("RF64", "PCM_16"),
        ("AU", "PCM_16"),
        ("AIFF", "PCM_16"),
        ("AIFF", "PCM_24"),
        ("CAF", "PCM_16"),
    ],
)
def test_unfinished_files_are_read_to_their_end(tmp_path, kind, caplog):
    path = tmp_path / "a"
    write(path, NOISE, format=kind[0], subtype=kind[1])
    expected = soundfile.read(path, dtype="float32")[0]
    without_length(path, *kind)
    with Audio(path) as audio:
        assert np.array_equal(audio.read(0, audio.frames), expected)
        assert np.array_equal(audio.read(31000, 1000), expected[31000:])
    check_files(str(tmp_path), ["a"], "list.txt")
    assert "list.txt: the header states the length 0 in 1 file, as after a recorder" in caplog.text


def test_check_keeps_unfinished_files(tmp_path, caplog):
    without_length(tmp_path / "a.wav", "WAV", "PCM_16")
    (tmp_path / "train.txt").write_text("id1 a.wav\n")
    options = CheckOptions([str(tmp_path / "train.txt")], [str(tmp_path)], None, 0, 1)
    assert not check_lists(options, processes=1)
    assert (tmp_path / "train.clean.txt").read_text() == "id1 a.wav\n"
    assert "the header states the length 0 in 1 file" in caplog.text


@pytest.mark.parametrize("tail", [b"", b"LIST\x04\0\0\0abcd", b"LIST\x03\0\0\0abc\0note\0\0\0\0"])
def test_a_wav_without_samples_is_empty(tmp_path, tail):
    path = write(tmp_path / "a.wav", NOISE[:0])
    path.write_bytes(path.read_bytes() + tail)
    with pytest.raises(AudioError, match="contains no samples"):
        Audio(path)


def test_noise_of_an_unfinished_file_is_cut_into_pieces(tmp_path):
    folder = tmp_path / "musan" / "noise" / "a"
    folder.mkdir(parents=True)
    x = np.tile(NOISE, 3)
    write(folder / "a.wav", x, format="AIFF", subtype="PCM_16")
    expected = soundfile.read(folder / "a.wav", dtype="int16")[0][: 5 * 16000]
    data = bytearray((folder / "a.wav").read_bytes())
    start = data.index(b"SSND") + 4
    data[22:26] = bytes(4)
    data[start : start + 4] = (8).to_bytes(4, "big")
    (folder / "a.wav").write_bytes(data)
    split_musan(tmp_path, 1)
    piece = soundfile.read(tmp_path / "musan_split/noise/a/a/00000.wav", dtype="int16")[0]
    assert np.array_equal(piece, expected)


# ---------------------------------------------------------------------- compressed speech
CODECS = {"m4a": ["-c:a", "aac"], "mp3": ["-ar", "44100"], "webm": ["-c:a", "libopus"]}


@pytest.fixture(scope="module")
def voices(tmp_path_factory):
    """A folder whose name has a space, with a voice as WAV and compressed."""
    folder = tmp_path_factory.mktemp("my voices")
    tone = np.sin(np.arange(20000) ** 1.4 / 90) * np.sin(np.arange(20000) / 2000) / 3
    write(folder / "my voice (1).wav", tone)
    for suffix, options in CODECS.items():
        source = ["-i", folder / "my voice (1).wav", *options]
        target = folder / f"my voice (1).{suffix}"
        subprocess.run([find_ffmpeg(), "-v", "error", *source, target], check=True)
    return folder


@pytest.fixture
def no_ffmpeg(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)


def test_compressed_files_are_read_as_convert_writes_them(voices, tmp_path):
    for suffix in CODECS:
        (tmp_path / suffix).mkdir()
        shutil.copy(voices / f"my voice (1).{suffix}", tmp_path / suffix)
        convert(tmp_path / suffix, tmp_path / "out" / suffix, processes=1)
        expected = soundfile.read(tmp_path / "out" / suffix / "my voice (1).wav", dtype="float32")[
            0
        ]
        with Audio(voices / f"my voice (1).{suffix}") as audio:
            assert audio.frames == len(expected) > 19000
            assert np.array_equal(audio.read(0, audio.frames), expected)
            assert np.array_equal(audio.read(5000, 10), expected[5000:5010])
            with pytest.raises(AudioError, match="truncated or damaged"):
                audio.read(audio.frames, 1)


def test_compressed_files_of_verify_extract_and_lists(voices, use, program, tmp_path):
    names = [f"my voice (1).{suffix}" for suffix in CODECS]
    code, out, err = program("--verify", *names[:2], "--test_path", voices, *use)
    assert code == 0 and float(out.split()[1]) > 0.9, err
    code, out, err = program("--extract", voices / names[0], *use)
    assert code == 0 and len(out.split("\n")[-2].split()) == 32, err
    for name in names:
        shutil.copy(voices / name, tmp_path / name.replace(" ", ""))
    found = [name.replace(" ", "") for name in names]
    (tmp_path / "list.txt").write_text("".join(f"{name}\n" for name in found[:1]))
    words = ["--test_path", tmp_path, "--output", tmp_path / "e", *use]
    assert program("--extract", tmp_path / "list.txt", *words)[0] == 0
    assert np.load(tmp_path / "e" / "myvoice(1).npy").shape == (2, 32)
    assert read_durations(str(tmp_path), found, "list")[found[0]] == pytest.approx(1.25, abs=0.1)


def test_without_ffmpeg_the_command_can_be_pasted(voices, no_ffmpeg):
    """The words that a shell makes of the proposed command are the names of the files."""
    path = voices / "my voice (1).m4a"
    with pytest.raises(AudioError) as error:
        Audio(path)
    folder, file = re.findall(r'"([^"]*)"', str(error.value))
    assert shlex.split(folder) == ["python", "dataprep.py", "convert", str(voices)]
    assert shlex.split(file)[:3] == ["ffmpeg", "-i", str(path)]
    with pytest.raises(InputError) as error:
        load_targets(str(voices), ["id1"], "B", 2)
    (command,) = re.findall(r'"([^"]*)"', str(error.value))
    assert shlex.split(command)[-1] == str(voices)


def test_damaged_compressed_files(voices, tmp_path):
    whole = (voices / "my voice (1).m4a").read_bytes()
    for content in (b"", b"no audio", whole[:2000], whole[: len(whole) // 2]):
        (tmp_path / "a.m4a").write_bytes(content)
        with pytest.raises(AudioError, match="a.m4a: neither libsndfile nor ffmpeg reads") as error:
            Audio(tmp_path / "a.m4a")
        assert "\n" not in str(error.value)
    # A file is decoded again after a change.
    (tmp_path / "a.m4a").write_bytes(whole)
    assert Audio(tmp_path / "a.m4a").frames > 19000


def test_compressed_files_that_are_cut_off(voices, tmp_path):
    """ffmpeg decodes them without a message. The headers of both formats state the length."""
    (tmp_path / "in").mkdir()
    source = ["-i", voices / "my voice (1).wav"]
    for name, options in {"a.mp3": ["-ar", "44100"], "b.opus": ["-ac", "2"]}.items():
        path = tmp_path / "in" / name
        subprocess.run([find_ffmpeg(), "-v", "error", *source, *options, path], check=True)
        assert Audio(path).frames > 19000
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        with pytest.raises(AudioError, match="the file is truncated: expected "):
            Audio(path)
    with pytest.raises(InputError, match="2 of 2"):
        convert(tmp_path / "in", tmp_path / "out", processes=1)
    report = (tmp_path / "out" / "convert_failed.txt").read_text()
    assert "a.mp3: the file is truncated: expected " in report and report.count("\n") == 2
    assert not list((tmp_path / "out").rglob("*.wav"))


def test_an_mp3_without_its_length_is_decoded_completely(voices, tmp_path, monkeypatch):
    """libsndfile guesses the length from the first frame, here the one of silence."""
    path = tmp_path / "a.mp3"
    write(tmp_path / "a.wav", np.concatenate([np.zeros(8000), np.tile(NOISE, 2)]))
    options = ["-q:a", "4", "-write_xing", "0", path]
    subprocess.run([find_ffmpeg(), "-v", "error", "-i", tmp_path / "a.wav", *options], check=True)
    with Audio(path) as audio:
        # The coder adds at most three frames of 576 samples.
        assert 72000 <= audio.frames < 72000 + 3 * 576
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(AudioError, match="the header does not state the length"):
        Audio(path)


def test_a_list_of_compressed_files_is_sampled(voices, tmp_path, monkeypatch, caplog):
    opened = []

    class Counted(Audio):
        def __init__(self, path):
            opened.append(path)
            super().__init__(path)

    monkeypatch.setattr("corpus.roots.Audio", Counted)
    monkeypatch.setattr("corpus.files.COMPRESSED_CHECKED", 12)
    names = [f"{i:02d}.m4a" for i in range(30)]
    for name in names:
        (tmp_path / name).hardlink_to(voices / "my voice (1).m4a")
    shutil.copy(voices / "my voice (1).wav", tmp_path / "a.wav")
    check_files(str(tmp_path), [*names, "a.wav"], "list.txt")
    assert len(opened) == 13
    assert "warning: list.txt: ffmpeg decodes files such as 00.m4a each time" in caplog.text


# ---------------------------------------------------------------------- too little memory
class HungryNet(Tiny):
    """A net that needs more memory than any computer has for more than `most` rows."""

    most = 0

    def forward(self, x):
        if len(x) > self.most:
            torch.empty(2**50)
        return super().forward(x)


def test_a_file_too_long_for_the_memory_of_a_cpu(tmp_path):
    write(tmp_path / "long.wav", NOISE)
    data = EvalDataset(["long.wav"], str(tmp_path), eval_frames=0, num_eval=1)
    scorer = Scorer(SpeakerNet(HungryNet(), Squares()))
    options = SimpleNamespace(nDataLoaderThread=0, cache_precision="float32")
    expected = (
        "long.wav: this file is too long for the memory of cpu. Cut the file, or use crops "
        "(--eval_frames)."
    )
    with pytest.raises(LoadingError) as error:
        list(represent_files(scorer, data, options))
    assert str(error.value) == expected


def test_a_batch_too_large_for_the_memory_of_a_cpu_is_halved(monkeypatch):
    x = torch.randn(5, 1, 4000)
    scorer = Scorer(SpeakerNet(HungryNet(), Squares()))
    monkeypatch.setattr(HungryNet, "most", 5)
    ((_, whole),) = scorer.represent([([*range(5)], x)])
    monkeypatch.setattr(HungryNet, "most", 2)
    ((_, parts),) = scorer.represent([([*range(5)], x)])
    torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-5)


def test_other_errors_of_a_network_are_not_hidden(monkeypatch):
    monkeypatch.setattr(Tiny, "forward", lambda *_: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="inconsistent tensor size|size"):
        list(Scorer(SpeakerNet(Tiny(), Squares())).represent([([0], torch.zeros(1, 1, 4000))]))


def test_training_without_memory_on_a_cpu_names_the_remedy(corpus, tmp_path, program, monkeypatch):
    monkeypatch.setattr(TrainDataset, "__getitem__", lambda *_: torch.empty(2**50))
    code, _, err = program(*small_run(corpus, tmp_path / "run"))
    assert code == 2
    assert "error: The memory of this computer has no room for 4.5e+06 GB more. Lower " in err
    assert "--batch_size" in err and "Traceback" not in err


def test_more_crops_than_the_memory_has_room_for(weak, use, program):
    words = ["--verify", "usable.wav", "usable.wav", "--test_path", weak, *use]
    code, out, err = program(*words, "--num_eval", 100_000, "--eval_frames", 300)
    # 300 frames of 160 samples and 240 samples more, 4 bytes each
    assert code == 2 and f"at most {2**30 // (4 * 48240):,} crops of this length" in err
    assert err.startswith("error: --num_eval: ") and "found 100,000." in err
