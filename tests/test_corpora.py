"""Corpora in their real layouts, in miniature, through the published commands, from nothing but a server on loopback to lists that a training reads."""

import hashlib
import re
import subprocess

import numpy as np
import pytest
import soundfile
from loopback import catalogue, kill_until_done, run, tree
from test_archives import tarred, zipped

from common.errors import InputError
from corpus.augment import Augment
from corpus.enrolment import lists_beside
from corpus.files import check_files
from corpus.lists import read_train_list, read_trials
from prep import noise, openslr
from prep.conversion import convert, find_ffmpeg
from prep.constants import CATALOGUES
from prep.sources import read_catalogue


def sound(tmp_path, seed, seconds=0.1, suffix=".wav"):
    """Bytes of an audio file of noise."""
    path = tmp_path / f"sound{suffix}"
    soundfile.write(
        path,
        np.random.default_rng(seed).integers(-9999, 9999, int(16000 * seconds)).astype(np.int16),
        16000,
        subtype="PCM_16",
    )
    return path.read_bytes()


def md5(data):
    return hashlib.md5(data).hexdigest()


def serve(server, tmp_path, files, name, sums=True, **more):
    """Puts archives on the server and writes a list with all that prep/catalogues/NAME says but for sums, counts and hosts -> the list."""
    found = read_catalogue(CATALOGUES / name)
    server.files.update(files)
    fields = {}
    for source in found.sources:
        fields[source.name] = {
            key: value
            for key, value in source._asdict().items()
            if key in ("into", "after", "tree") and value
        }
        fields[source.name] |= {"only": list(source.only)} if source.only != ("*",) else {}
        if source.name in files and sums:
            fields[source.name]["md5"] = md5(files[source.name])
        if source.parts:
            fields[source.name] |= {
                "parts": source.name.replace(".zip", "_part*"),
                "md5": md5(b"".join(files[part] for part in source.parts)),
            }
    return catalogue(tmp_path / name, server, fields, **more)


# ---------------------------------------------------------------------- VoxCeleb
ONE, TWO = (
    ("id10001/v/00001.wav", "id10001/v/00002.wav", "id10002/v/00001.wav"),
    ("id10270/v/00001.wav", "id10270/w/00001.wav", "id10271/v/00001.wav"),
)
COMPRESSED = (
    "id00012/v/00001.m4a",
    "id00012/v/00002.m4a",
    "id00015/v/00001.m4a",
    "id00017/v/00001.m4a",
)


@pytest.fixture(scope="module")
def compressed(tmp_path_factory):
    """{name: the .m4a file}, {name: what --convert makes of it}; test_conversion.py says that this is what it should be."""
    folder = tmp_path_factory.mktemp("m4a")
    (folder / "a.wav").write_bytes(sound(folder, 0))
    for i, name in enumerate(COMPRESSED):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [
                find_ffmpeg(),
                "-v",
                "error",
                "-nostdin",
                "-i",
                folder / "a.wav",
                "-af",
                f"volume={0.2 * (i + 1)}",
                folder / name,
            ],
            check=True,
        )
    convert(folder, folder)
    return tuple(
        {name: (folder / name).with_suffix(suffix).read_bytes() for name in COMPRESSED}
        for suffix in (".m4a", ".wav")
    )


@pytest.fixture
def voxceleb_host(server, compressed, tmp_path):
    """-> (the file list, what voxceleb1/ and voxceleb2/ must hold in the end)."""
    wavs = {name: sound(tmp_path, i) for i, name in enumerate(ONE + TWO)}
    m4as, made_of_them = compressed
    archives = {
        "vox1_dev_wav": zipped(
            tmp_path / "z", {f"wav/{name}": wavs[name] for name in ONE}
        ).read_bytes(),
        "vox2_dev_aac": zipped(
            tmp_path / "z", {f"dev/aac/{name}": m4as[name] for name in COMPRESSED[:3]}
        ).read_bytes(),
    }
    files = {
        "vox1_test_wav.zip": zipped(
            tmp_path / "z", {f"wav/{name}": wavs[name] for name in TWO}
        ).read_bytes(),
        "vox2_test_aac.zip": zipped(
            tmp_path / "z", {f"aac/{name}": m4as[name] for name in COMPRESSED[3:]}
        ).read_bytes(),
        "train_list.txt": "".join(
            f"{name[:7]} {name[:-4]}.wav\n" for name in COMPRESSED[:3]
        ).encode(),
    }
    for source in read_catalogue(CATALOGUES / "voxceleb.yaml").sources:
        whole = archives.get(source.name.removesuffix(".zip"), b"")
        files |= {
            part: whole[
                i * len(whole) // len(source.parts) : (i + 1) * len(whole) // len(source.parts)
            ]
            for i, part in enumerate(source.parts)
        }
        if source.tree == "voxceleb1":
            files[source.name] = (
                f"1 {TWO[0]} {TWO[1]}\n0 {TWO[0]} {ONE[0] if 'all' in source.name else TWO[2]}\n".encode()
            )
    server.login = "user:word"
    counts = {
        "voxceleb1/id*": 4,
        "voxceleb1/id*/*/*": 6,
        "voxceleb2/id*": 3,
        "voxceleb2/id*/*/*": 4,
    }
    made = {f"voxceleb1/{name}": data for name, data in wavs.items()} | {
        f"voxceleb2/{name}": data for name, data in m4as.items()
    }
    made |= {name: data for name, data in files.items() if name.endswith(".txt")}
    listed = serve(server, tmp_path, files, "voxceleb.yaml", counts=counts)
    return (
        ["--file_list", listed],
        made,
        {**made, **{f"voxceleb2/{name[:-4]}.wav": data for name, data in made_of_them.items()}},
    )


def left(folder):
    """What a user of the corpus looks at."""
    return {
        name: data
        for name, data in tree(folder).items()
        if ("/" in name or name.endswith(".txt")) and "/." not in name
    }


def test_voxceleb_step_by_step(voxceleb_host, server, tmp_path, monkeypatch, capsys):
    """The published commands; then a training that reads the lists."""
    words, extracted, converted = voxceleb_host
    monkeypatch.chdir(tmp_path)
    assert (
        run("--save_path", "./data", "--download", "--user", "user", "--password", "word", *words)
        == 0
    )
    assert len(tree(tmp_path / "data")) == 14 + 7 + 1 and "word" not in capsys.readouterr().out
    assert run("--save_path", "./data", "--extract", *words) == 0
    out = capsys.readouterr().out
    assert left(tmp_path / "data") == extracted
    assert "train_list.txt: 2 speakers, 3 utterances; 3 files wait for --convert" in out
    assert "2 trials of 3 files: target 1, nontarget 1; all files are in" in out
    assert run("--save_path", "./data", "--convert", *words) == 0
    assert (
        left(tmp_path / "data") == converted
        and "2 speakers, 3 utterances; all files are in data/voxceleb2" in capsys.readouterr().out
    )
    check_files("data/voxceleb2", [u.path for u in read_train_list("data/train_list.txt")], "")
    check_files("data/voxceleb1", read_trials("data/list_test_all.txt").paths(), "")
    server.requests.clear()
    assert (
        run("--save_path", "./data", "--all", *words) == 0
        and left(tmp_path / "data") == converted
        and not server.requests
    )


def test_voxceleb_all_at_once_and_killed(voxceleb_host, tmp_path):
    words, _, converted = voxceleb_host
    words = [
        "--all",
        "--save_path",
        tmp_path / "data",
        "--user",
        "user",
        "--password",
        "word",
        "--processes",
        1,
        "--remove_archives",
        *words,
    ]
    assert kill_until_done(words, 0, 100) > 0 and left(tmp_path / "data") == converted
    assert not list((tmp_path / "data").glob("vox*.zip")) and not list(
        (tmp_path / "data").glob("vox*_part*")
    )


def test_voxceleb_with_flags_in_any_order(voxceleb_host, tmp_path):
    words, extracted, _ = voxceleb_host
    assert (
        run(
            "--extract",
            "--download",
            "--save_path",
            tmp_path / "data",
            "--user",
            "user",
            "--password",
            "word",
            *words,
        )
        == 0
    )
    assert left(tmp_path / "data") == extracted


def test_train_list_of_the_tree(voxceleb_host, tmp_path):
    words, _, converted = voxceleb_host
    listed = words[1]
    listed.write_text(re.sub(r"  train_list.txt:\n(    .*\n)+", "", listed.read_text()))
    assert (
        run(
            "--all",
            "--save_path",
            tmp_path / "data",
            "--user",
            "user",
            "--password",
            "word",
            *words,
        )
        == 0
    )
    assert [u.path for u in read_train_list(tmp_path / "data" / "train_list.txt")] == [
        f"{name[:-4]}.wav" for name in COMPRESSED
    ]


def test_list_that_does_not_fit_its_tree(voxceleb_host, tmp_path, capsys):
    words, *_ = voxceleb_host
    words = ["--save_path", tmp_path / "data", "--user", "user", "--password", "word", *words]
    assert run("--download", "--extract", *words) == 0
    (tmp_path / "data" / "list_test_all.txt").write_text(
        f"1 {TWO[0]} {TWO[1]}\n0 {TWO[0]} id10999/v/00001.wav\n"
    )
    assert (
        run("--extract", *words) == 2 and "1 of 3 files are missing in" in capsys.readouterr().err
    )


# ---------------------------------------------------------------------- MUSAN and rooms
PIECES = {
    "music/fma/m0": 11.2,
    "noise/free-sound/n0": 8.001,
    "noise/free-sound/n1": 5,
    "speech/us-gov/s0": 5.5,
}


@pytest.fixture
def noise_host(server, tmp_path):
    musan = {
        f"musan/{name}.wav": sound(tmp_path, i, seconds)
        for i, (name, seconds) in enumerate(PIECES.items())
    }
    rooms = {
        f"RIRS_NOISES/simulated_rirs/{size}room/Room001/Room001-00001.wav": sound(tmp_path, 50)
        for size in ("small", "medium", "large")
    }
    files = {
        "musan.tar.gz": tarred(tmp_path / "t", {**musan, "musan/README": b"x"}, "").read_bytes(),
        "rirs_noises.zip": zipped(tmp_path / "z", rooms).read_bytes(),
    }
    counts = {"musan/music/*/*.wav": 1, "musan/noise/*/*.wav": 2, "musan/speech/*/*.wav": 1}
    listed = serve(server, tmp_path, files, "augment.yaml", counts=counts)
    return ["--augment", "--save_path", tmp_path / "data", "--processes", 1, "--file_list", listed]


def test_noise(noise_host, server, tmp_path, capsys):
    """Pieces are what the reference cuts, bit for bit; they and the rooms are what augmentation wants."""
    words = noise_host
    assert (
        run(*words) == 0
        and "6 pieces of 4 files, 1 files of 5 s or less left out" in capsys.readouterr().out
    )
    data, expected = tmp_path / "data", {}
    for name in PIECES:
        x = soundfile.read(data / "musan" / f"{name}.wav", dtype="int16")[0]
        expected |= {
            f"{name}/{start // 16000:05d}.wav": x[start : start + 80000]
            for start in range(0, len(x) - 80000, 48000)
        }
    assert sorted(tree(data / "musan_split")) == sorted(expected)
    for name, x in expected.items():
        np.testing.assert_array_equal(
            soundfile.read(data / "musan_split" / name, dtype="int16")[0], x
        )
    assert sorted(path.name for path in (data / "RIRS_NOISES" / "simulated_rirs").iterdir()) == [
        "mediumroom",
        "smallroom",
    ]
    assert {
        kind: len(files)
        for kind, files in Augment(
            data / "musan_split", data / "RIRS_NOISES" / "simulated_rirs"
        ).files.items()
    } == {"music": 3, "speech": 1, "noise": 2, "rir": 2}
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*.wav")}
    server.requests.clear()
    assert (
        run(*words, "--processes", 2) == 0
        and not server.requests
        and before == {path: path.stat().st_mtime_ns for path in data.rglob("*.wav")}
    )


def test_noise_killed(noise_host, tmp_path):
    words = noise_host
    assert run(*words) == 0
    whole = tree(tmp_path / "data")
    words[2] = tmp_path / "again"
    assert kill_until_done(words, 1, 40) > 0 and tree(tmp_path / "again") == whole


def test_file_of_musan_that_cannot_be_used(tmp_path):
    folder = tmp_path / "musan" / "noise" / "a"
    folder.mkdir(parents=True)
    (folder / "good.wav").write_bytes(sound(tmp_path, 0, 6))
    (folder / "bad.wav").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match="1 of 2 files cannot be used"):
        noise.split_musan(tmp_path, 1)
    assert list((tmp_path / "musan_split").rglob("*.wav")) == [
        tmp_path / "musan_split/noise/a/good/00000.wav"
    ]
    assert "bad.wav" in (tmp_path / "musan_failed.txt").read_text()


# ---------------------------------------------------------------------- ASVspoof 2019 LA
def asvspoof(tmp_path, without=()):
    """LA.zip with its layout: speech of train, dev and eval, enrolment files in dev and eval, protocols."""
    cm, asv, files = (
        "LA/ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm",
        "LA/ASVspoof2019_LA_asv_protocols/ASVspoof2019.LA.asv",
        {},
    )
    flac = sound(tmp_path, 0, suffix=".flac")
    for part, kind in (("train", "trn"), ("dev", "trl"), ("eval", "trl")):
        letter = part[0].upper()
        names = [f"LA_{letter}_{i:07d}" for i in range(4)]
        files[f"{cm}.{part}.{kind}.txt"] = "".join(
            f"LA_{letter}1 {name} - {'- bonafide' if i % 2 else 'A01 spoof'}\n"
            for i, name in enumerate(names)
        ).encode()
        enrolment = [] if part == "train" else [f"LA_{letter}_A000000{i}" for i in range(2)]
        if enrolment:
            files[f"{asv}.{part}.female.trn.txt"] = f"LA_{letter}1 {','.join(enrolment)}\n".encode()
            lines = [
                f"LA_{letter}1 {name} {'bonafide' if i % 2 else 'A01'} {('spoof', 'target', 'spoof', 'nontarget')[i]}\n"
                for i, name in enumerate(names)
            ]
            files[f"{asv}.{part}.gi.trl.txt"] = "".join(lines).encode()
        files |= {f"LA/ASVspoof2019_LA_{part}/flac/{name}.flac": flac for name in names + enrolment}
    return zipped(
        tmp_path / "LA.zip",
        {name: data for name, data in files.items() if name.rsplit("/", 1)[-1] not in without},
    )


def test_asvspoof(tmp_path, capsys):
    """What README and configs/sasv_stage3.yaml name is there, and read."""
    archive, data = asvspoof(tmp_path), tmp_path / "data"
    for _ in range(2):
        assert run("--asvspoof2019", archive, "--save_path", data) == 0
    assert (
        "eval: 4 files of the protocol, 2 more for enrolment, 0 others" in capsys.readouterr().out
    )
    for name, wanted in (("cm.train.trn", 4), ("cm.train_dev.trn", 8)):
        path = data / "protocols" / f"ASVspoof2019.LA.{name}.txt"
        assert (
            len(check_files(data / "LA", [u.path for u in read_train_list(path)], path)) == wanted
        )
    for folder in (data / "protocols", data / "LA" / "ASVspoof2019_LA_asv_protocols"):
        trials_list = folder / "ASVspoof2019.LA.asv.eval.gi.trl.txt"
        assert len(lists_beside(trials_list)) == 1
        check_files(
            data / "LA" / "ASVspoof2019_LA_eval" / "flac",
            read_trials(trials_list).paths(),
            trials_list,
        )
    (tmp_path / "moved").mkdir()
    # links are relative
    data.rename(tmp_path / "moved" / "data")
    assert read_train_list(
        tmp_path / "moved" / "data" / "protocols" / "ASVspoof2019.LA.cm.dev.trl.txt"
    )


@pytest.mark.parametrize(
    "without, message",
    [
        ("LA_D_0000001.flac", "of dev, got 5, without 1 of them: LA_D_0000001"),
        ("LA_E_A0000001.flac", "of eval, got 5, without 1 of them: LA_E_A0000001"),
        ("ASVspoof2019.LA.cm.dev.trl.txt", "ASVspoof2019.LA.cm.dev.trl.txt: want this protocol"),
    ],
)
def test_incomplete_asvspoof(without, message, tmp_path, capsys):
    assert (
        run("--asvspoof2019", asvspoof(tmp_path, {without}), "--save_path", tmp_path / "data") == 2
    )
    assert message in capsys.readouterr().err and not (tmp_path / "data" / "protocols").exists()
    assert run("--asvspoof2019", tmp_path / "nothing.zip") == 2


# ---------------------------------------------------------------------- small corpora
def check_trials(path, root, genders, wanted):
    """Counts; targets of one speaker, non-targets of two of one gender; no pair twice."""
    lines = [line.split() for line in path.read_text().splitlines()]
    assert [sum(line[0] == key for line in lines) for key in "10"] == wanted
    assert len({frozenset(line[1:]) for line in lines}) == len(lines)
    for key, *pair in lines:
        a, b = (re.search(r"SPEAKER(\d+)|^(\d+)/", name) for name in pair)
        a, b = a[1] or a[2], b[1] or b[2]
        assert (a == b) == (key == "1") and genders[a] == genders[b] and pair[0] != pair[1]
    check_files(root, read_trials(path).paths(), path)


def test_mini_librispeech(server, tmp_path):
    genders, parts = (
        {"1": "F", "2": "M", "3": "F", "4": "F", "5": "M", "6": "M"},
        {"train-clean-5": "12", "dev-clean-2": "3456"},
    )
    table = ";ID |SEX| SUBSET |MINUTES| NAME\n" + "".join(
        f"{who:4} | {sex} | dev-clean | 8.1 | Name\n" for who, sex in genders.items()
    )
    files = {
        f"{part}.tar.gz": tarred(
            tmp_path / "t",
            {
                "LibriSpeech/SPEAKERS.TXT": table.encode(),
                **{
                    f"LibriSpeech/{part}/{who}/7/{who}-7-000{i}.flac": sound(
                        tmp_path, i, suffix=".flac"
                    )
                    for who in speakers
                    for i in range(3)
                },
            },
        ).read_bytes()
        for part, speakers in parts.items()
    }
    data, listed = (
        tmp_path / "data",
        serve(server, tmp_path, files, "mini_librispeech.yaml", sums=False),
    )
    words = ["--mini_librispeech", data, "--file_list", listed, "--trials", 20]
    assert run(*words) == 0
    train = read_train_list(data / "train_list.txt")
    assert sorted(u.speaker for u in train) == ["1"] * 3 + ["2"] * 3
    check_files(data / "train" / "train-clean-5", [u.path for u in train], "")
    check_trials(data / "trials.txt", data / "test" / "dev-clean-2", genders, [10, 10])
    before = (data / "trials.txt").read_bytes()
    server.requests.clear()
    assert run(*words) == 0 and (data / "trials.txt").read_bytes() == before and not server.requests
    assert run(*words, "--seed", 1) == 0 and (data / "trials.txt").read_bytes() != before
    assert (data / "MD5SUMS").read_text().split() == [
        word for name in sorted(files) for word in (md5(files[name]), name)
    ]


def test_speechocean(server, tmp_path, capsys):
    genders, parts, tables = (
        {"0001": "m", "0002": "f", "0003": "m", "0004": "m"},
        {"train": ["0001", "0002"], "test": ["0003", "0004"]},
        {},
    )
    for part, speakers in parts.items():
        names = [(who, f"0{who}001{i}") for who in speakers for i in range(3)]
        tables |= {
            f"{part}/wav.scp": "".join(
                f"{name}\tWAVE/SPEAKER{who}/{name}.WAV\n" for who, name in names
            ).encode(),
            f"{part}/utt2spk": "".join(f"{name}\t{who}\n" for who, name in names).encode(),
            f"{part}/spk2gender": "".join(f"{who}\t{genders[who]}\n" for who in speakers).encode(),
        }
        tables |= {
            f"WAVE/SPEAKER{who}/{name}.WAV": sound(tmp_path, int(name)) for who, name in names
        }
    files = {
        "speechocean762.tar.gz": tarred(
            tmp_path / "t", {f"speechocean762/{name}": data for name, data in tables.items()}, ""
        ).read_bytes()
    }
    words = [
        "--file_list",
        serve(
            server,
            tmp_path,
            files,
            "speechocean762.yaml",
            sums=False,
            counts={"WAVE/SPEAKER*/*": 12},
        ),
    ]
    data = tmp_path / "data"
    assert run("--speechocean762", data, *words) == 0
    train = read_train_list(data / "train_list.txt")
    assert [u.speaker for u in train] == ["0001"] * 3 + ["0002"] * 3
    check_files(data, [u.path for u in train], "")
    # all there are
    check_trials(data / "trials.txt", data, genders, [6, 9])
    assert (
        "2 speakers and 6 files to train, 2 speakers to test, 6 target and 9 non-target trials"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    "test, genders, message",
    [
        (
            {"b": ["b0"], "a": ["a1"]},
            {"a": "f", "b": "f"},
            "want other speakers to test than to train, got a in both",
        ),
        (
            {"b": ["b0"], "c": ["c0"]},
            {"b": "f"},
            "want the gender of all test speakers, got none of c",
        ),
    ],
)
def test_speakers_that_make_no_trials(test, genders, message, tmp_path):
    with pytest.raises(InputError, match=message):
        openslr.write_lists(tmp_path, {"a": ["a0"]}, test, genders, 10, 0, (tmp_path, tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "tables, message",
    [
        ({"wav.scp": "1 a.wav\n2 b.wav\n", "utt2spk": "1 x\n"}, "got 2 and 1"),
        ({"wav.scp": "1\n"}, "got '1'"),
    ],
)
def test_bad_tables(tables, message, tmp_path):
    for name, text in tables.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        openslr.speakers_of_tables(tmp_path)
