"""Small imitations of real corpora, with their layouts.

The published commands download them from a server on loopback and make lists that a training can
read.
"""

import hashlib
import re
import subprocess
from collections import Counter

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
from prep.asvspoof import CM, PROTOCOLS, check_part
from prep.constants import CATALOGUES
from prep.conversion import convert, find_ffmpeg
from prep.sources import read_catalogue


def sound(tmp_path, seed, seconds=0.1, suffix=".wav"):
    """Bytes of an audio file of noise."""
    path = tmp_path / f"sound{suffix}"
    x = np.random.default_rng(seed).integers(-9999, 9999, int(16000 * seconds)).astype(np.int16)
    soundfile.write(path, x, 16000, subtype="PCM_16")
    return path.read_bytes()


def md5(data):
    return hashlib.md5(data).hexdigest()


def serve(server, tmp_path, files, name, sums=True, **more):
    """Puts files on the server, and writes a file list like prep/catalogues/NAME.

    The list has all fields of the published list except MD5 sums, counts and hosts. The MD5 sums
    are computed from `files`. `more` are further entries of the list. Returns the path of the list.
    """
    server.files.update(files)
    fields = {}
    for source in read_catalogue(CATALOGUES / name).sources:
        entry = {}
        for key in ("into", "after", "tree"):
            value = getattr(source, key)
            if value:
                entry[key] = value
        if source.only != ("*",):
            entry["only"] = list(source.only)
        if source.name in files and sums:
            entry["md5"] = md5(files[source.name])
        if source.parts:
            entry["parts"] = source.name.replace(".zip", "_part*")
            entry["md5"] = md5(b"".join(files[part] for part in source.parts))
        fields[source.name] = entry
    return catalogue(tmp_path / name, server, fields, **more)


# ---------------------------------------------------------------------- VoxCeleb
# Files of the development and the test set of VoxCeleb1.
DEV = ("id10001/v/00001.wav", "id10001/v/00002.wav", "id10002/v/00001.wav")
TEST = ("id10270/v/00001.wav", "id10270/w/00001.wav", "id10271/v/00001.wav")
# Files of VoxCeleb2: three of the development set, one of the test set.
COMPRESSED = (
    "id00012/v/00001.m4a",
    "id00012/v/00002.m4a",
    "id00015/v/00001.m4a",
    "id00017/v/00001.m4a",
)
LOGIN = ("--user", "user", "--password", "word")


def with_wav(name):
    return f"{name[:-4]}.wav"


@pytest.fixture(scope="module")
def compressed(tmp_path_factory):
    """{name: .m4a file} and {name: converted file} of VoxCeleb2.

    --convert makes the converted files. test_conversion.py tests it.
    """
    folder = tmp_path_factory.mktemp("m4a")
    (folder / "a.wav").write_bytes(sound(folder, 0))
    for i, name in enumerate(COMPRESSED):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        words = ["-v", "error", "-nostdin", "-i", folder / "a.wav"]
        volume = ["-af", f"volume={0.2 * (i + 1)}"]
        subprocess.run([find_ffmpeg(), *words, *volume, path], check=True)
    convert(folder, folder)
    originals = {}
    converted = {}
    for name in COMPRESSED:
        originals[name] = (folder / name).read_bytes()
        converted[name] = (folder / with_wav(name)).read_bytes()
    return originals, converted


def zip_of(tmp_path, prefix, names, files):
    """The bytes of a zip file of some of the files, below the folder `prefix`."""
    return zipped(tmp_path / "z", {prefix + name: files[name] for name in names}).read_bytes()


def split_archive(source, data):
    """Cuts an archive into its parts, {name of a part: bytes}."""
    count = len(source.parts)
    parts = {}
    for i, name in enumerate(source.parts):
        parts[name] = data[i * len(data) // count : (i + 1) * len(data) // count]
    return parts


@pytest.fixture
def voxceleb_host(server, compressed, tmp_path):
    """Puts VoxCeleb on the server.

    Returns the words for the file list, and the files that the corpus must have after the
    extraction and after the conversion.
    """
    wavs = {name: sound(tmp_path, i) for i, name in enumerate(DEV + TEST)}
    m4as, converted = compressed
    archives = {
        "vox1_dev_wav.zip": zip_of(tmp_path, "wav/", DEV, wavs),
        "vox2_dev_aac.zip": zip_of(tmp_path, "dev/aac/", COMPRESSED[:3], m4as),
    }
    train_list = "".join(f"{name[:7]} {with_wav(name)}\n" for name in COMPRESSED[:3])
    files = {
        "vox1_test_wav.zip": zip_of(tmp_path, "wav/", TEST, wavs),
        "vox2_test_aac.zip": zip_of(tmp_path, "aac/", COMPRESSED[3:], m4as),
        "train_list.txt": train_list.encode(),
    }
    for source in read_catalogue(CATALOGUES / "voxceleb.yaml").sources:
        if source.parts:
            files |= split_archive(source, archives[source.name])
        if source.tree == "voxceleb1":
            other = DEV[0] if "all" in source.name else TEST[2]
            trials = f"1 {TEST[0]} {TEST[1]}\n0 {TEST[0]} {other}\n"
            files[source.name] = trials.encode()
    server.login = "user:word"
    counts = {
        "voxceleb1/id*": 4,
        "voxceleb1/id*/*/*": 6,
        "voxceleb2/id*": 3,
        "voxceleb2/id*/*/*": 4,
    }
    listed = serve(server, tmp_path, files, "voxceleb.yaml", counts=counts)
    extracted = {name: data for name, data in files.items() if name.endswith(".txt")}
    for name, data in wavs.items():
        extracted[f"voxceleb1/{name}"] = data
    for name, data in m4as.items():
        extracted[f"voxceleb2/{name}"] = data
    complete = dict(extracted)
    for name, data in converted.items():
        complete[f"voxceleb2/{with_wav(name)}"] = data
    return ["--file_list", listed], extracted, complete


def corpus_files(folder):
    """The files that a user of the corpus needs, without archives and hidden files."""
    files = {}
    for name, data in tree(folder).items():
        if ("/" in name or name.endswith(".txt")) and "/." not in name:
            files[name] = data
    return files


def test_voxceleb_step_by_step(voxceleb_host, server, tmp_path, monkeypatch, capsys):
    """The published commands make lists that a training can read."""
    words, extracted, converted = voxceleb_host
    data = tmp_path / "data"
    monkeypatch.chdir(tmp_path)
    assert run("--save_path", "./data", "--download", *LOGIN, *words) == 0
    # 14 archives and parts, 7 lists, MD5SUMS
    assert len(tree(data)) == 14 + 7 + 1
    assert "word" not in capsys.readouterr().out
    assert run("--save_path", "./data", "--extract", *words) == 0
    out = capsys.readouterr().out
    assert corpus_files(data) == extracted
    to_convert = "'python dataprep.py convert' must still convert 3 files."
    assert f"train_list.txt: 2 speakers, 3 utterances. {to_convert}" in out
    assert "2 trials of 3 files: target 1, nontarget 1. All files are in" in out
    assert run("--save_path", "./data", "--convert", *words) == 0
    assert corpus_files(data) == converted
    out = capsys.readouterr().out
    assert "2 speakers, 3 utterances. All files are in data/voxceleb2." in out
    train = read_train_list("data/train_list.txt")
    check_files("data/voxceleb2", [utterance.path for utterance in train], "")
    check_files("data/voxceleb1", read_trials("data/list_test_all.txt").paths(), "")
    server.requests.clear()
    assert run("--save_path", "./data", "--all", *words) == 0
    assert corpus_files(data) == converted
    assert not server.requests


def test_numbers_of_trials():
    """VoxCeleb1-O, E and H have these numbers of trials, before and after the cleaning."""
    lines = {
        source.name: source.lines for source in read_catalogue(CATALOGUES / "voxceleb.yaml").sources
    }
    counts = {"veri_test": 37720, "list_test_all": 581480, "list_test_hard": 552536}
    cleaned = {"veri_test2": 37611, "list_test_all2": 579818, "list_test_hard2": 550894}
    for name, count in (counts | cleaned).items():
        assert lines[f"{name}.txt"] == count


def test_voxceleb_in_one_command_with_kills(voxceleb_host, tmp_path):
    words, _, converted = voxceleb_host
    data = tmp_path / "data"
    words = ["--all", "--save_path", data, *LOGIN, "--processes", 1, "--remove_archives", *words]
    assert kill_until_done(words, 0, 100) > 0
    assert corpus_files(data) == converted
    assert not list(data.glob("vox*.zip"))
    assert not list(data.glob("vox*_part*"))


def test_voxceleb_with_flags_in_any_order(voxceleb_host, tmp_path):
    words, extracted, _ = voxceleb_host
    data = tmp_path / "data"
    assert run("--extract", "--download", "--save_path", data, *LOGIN, *words) == 0
    assert corpus_files(data) == extracted


def test_train_list_of_all_files(voxceleb_host, tmp_path):
    """A file list without train_list.txt: the program writes a train list."""
    words, *_ = voxceleb_host
    data = tmp_path / "data"
    listed = words[1]
    listed.write_text(re.sub(r"  train_list.txt:\n(    .*\n)+", "", listed.read_text()))
    assert run("--all", "--save_path", data, *LOGIN, *words) == 0
    train = read_train_list(data / "train_list.txt")
    assert [utterance.path for utterance in train] == [with_wav(name) for name in COMPRESSED]


def test_list_with_a_missing_file(voxceleb_host, tmp_path, capsys):
    words, *_ = voxceleb_host
    data = tmp_path / "data"
    words = ["--save_path", data, *LOGIN, *words]
    assert run("--download", "--extract", *words) == 0
    trials = f"1 {TEST[0]} {TEST[1]}\n0 {TEST[0]} id10999/v/00001.wav\n"
    (data / "list_test_all.txt").write_text(trials)
    assert run("--extract", *words) == 2
    assert "1 of 3 files are missing in" in capsys.readouterr().err


# ---------------------------------------------------------------------- MUSAN and rooms
# Files of MUSAN and their lengths in seconds.
SECONDS = {
    "music/fma/m0": 11.2,
    "noise/free-sound/n0": 8.001,
    "noise/free-sound/n1": 5,
    "speech/us-gov/s0": 5.5,
}


@pytest.fixture
def noise_host(server, tmp_path):
    """Puts MUSAN and RIRS_NOISES on the server. Returns the words of the command."""
    musan = {}
    for i, (name, seconds) in enumerate(SECONDS.items()):
        musan[f"musan/{name}.wav"] = sound(tmp_path, i, seconds)
    rooms = {}
    for size in ("small", "medium", "large"):
        folder = f"RIRS_NOISES/simulated_rirs/{size}room/Room001"
        rooms[f"{folder}/Room001-00001.wav"] = sound(tmp_path, 50)
    files = {
        "musan.tar.gz": tarred(tmp_path / "t", {**musan, "musan/README": b"x"}, "").read_bytes(),
        "rirs_noises.zip": zipped(tmp_path / "z", rooms).read_bytes(),
    }
    counts = {"musan/music/*/*.wav": 1, "musan/noise/*/*.wav": 2, "musan/speech/*/*.wav": 1}
    listed = serve(server, tmp_path, files, "augment.yaml", counts=counts)
    return ["--augment", "--save_path", tmp_path / "data", "--processes", 1, "--file_list", listed]


def expected_pieces(data):
    """{name of a piece: its samples} as voxceleb_trainer cuts them: 5 s every 3 s."""
    pieces = {}
    for name in SECONDS:
        x, _ = soundfile.read(data / "musan" / f"{name}.wav", dtype="int16")
        for start in range(0, len(x) - 80000, 48000):
            pieces[f"{name}/{start // 16000:05d}.wav"] = x[start : start + 80000]
    return pieces


def test_noise(noise_host, server, tmp_path, capsys):
    """The pieces have the samples of voxceleb_trainer, and the augmentation finds all files."""
    assert run(*noise_host) == 0
    out = capsys.readouterr().out
    assert f"Cut 4 files into 6 pieces of 5 s in {tmp_path}/data/musan_split. " in out
    assert "because they are not longer than 5 s: 1.\n" in out
    data = tmp_path / "data"
    rooms = data / "RIRS_NOISES" / "simulated_rirs"
    expected = expected_pieces(data)
    assert sorted(tree(data / "musan_split")) == sorted(expected)
    for name, x in expected.items():
        piece, _ = soundfile.read(data / "musan_split" / name, dtype="int16")
        np.testing.assert_array_equal(piece, x)
    assert sorted(path.name for path in rooms.iterdir()) == ["mediumroom", "smallroom"]
    augment = Augment(data / "musan_split", rooms)
    counts = {kind: len(files) for kind, files in augment.files.items()}
    assert counts == {"music": 3, "speech": 1, "noise": 2, "rir": 2}
    # The second command neither downloads nor writes anything.
    times = {path: path.stat().st_mtime_ns for path in data.rglob("*.wav")}
    server.requests.clear()
    assert run(*noise_host, "--processes", 2) == 0
    assert not server.requests
    assert times == {path: path.stat().st_mtime_ns for path in data.rglob("*.wav")}


def test_noise_killed(noise_host, tmp_path):
    assert run(*noise_host) == 0
    again = [tmp_path / "again" if word == tmp_path / "data" else word for word in noise_host]
    assert kill_until_done(again, 1, 40) > 0
    assert tree(tmp_path / "again") == tree(tmp_path / "data")


def test_file_of_musan_that_cannot_be_used(tmp_path):
    folder = tmp_path / "musan" / "noise" / "a"
    folder.mkdir(parents=True)
    (folder / "good.wav").write_bytes(sound(tmp_path, 0, 6))
    (folder / "bad.wav").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match="skipped 1 of 2 files, which cannot be used"):
        noise.split_musan(tmp_path, 1)
    assert list((tmp_path / "musan_split").rglob("*.wav")) == [
        tmp_path / "musan_split/noise/a/good/00000.wav"
    ]
    assert "bad.wav" in (tmp_path / "musan_failed.txt").read_text()


# ---------------------------------------------------------------------- ASVspoof 2019 LA
def protocols_of(part):
    """{name: contents} of the protocols of a part, its file names, and its enrolment files."""
    letter = part[0].upper()
    speaker = f"LA_{letter}1"
    names = [f"LA_{letter}_{i:07d}" for i in range(4)]
    kind = "trn" if part == "train" else "trl"
    cm_lines = []
    asv_lines = []
    for i, name in enumerate(names):
        cm_lines.append(f"{speaker} {name} - {'- bonafide' if i % 2 else 'A01 spoof'}\n")
        key = ("spoof", "target", "spoof", "nontarget")[i]
        asv_lines.append(f"{speaker} {name} {'bonafide' if i % 2 else 'A01'} {key}\n")
    cm = "LA/ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm"
    protocols = {f"{cm}.{part}.{kind}.txt": "".join(cm_lines).encode()}
    if part == "train":
        return protocols, names, []
    enrolment = [f"LA_{letter}_A000000{i}" for i in range(2)]
    asv = "LA/ASVspoof2019_LA_asv_protocols/ASVspoof2019.LA.asv"
    protocols[f"{asv}.{part}.female.trn.txt"] = f"{speaker} {','.join(enrolment)}\n".encode()
    protocols[f"{asv}.{part}.gi.trl.txt"] = "".join(asv_lines).encode()
    return protocols, names, enrolment


def asvspoof(tmp_path, without=()):
    """Writes LA.zip: speech of three parts, enrolment files in dev and eval, and protocols.

    without: names of files that are missing in it. Returns the path.
    """
    files = {}
    flac = sound(tmp_path, 0, suffix=".flac")
    for part in ("train", "dev", "eval"):
        protocols, names, enrolment = protocols_of(part)
        files |= protocols
        for name in names + enrolment:
            files[f"LA/ASVspoof2019_LA_{part}/flac/{name}.flac"] = flac
    kept = {name: data for name, data in files.items() if name.rsplit("/", 1)[-1] not in without}
    return zipped(tmp_path / "LA.zip", kept)


def test_asvspoof(tmp_path, capsys):
    """All files that README and configs/sasv_stage3.yaml name exist and can be read."""
    archive = asvspoof(tmp_path)
    data = tmp_path / "data"
    for _ in range(2):
        assert run("--asvspoof2019", archive, "--save_path", data, "--force") == 0
    out = capsys.readouterr().out
    assert "found 4 files of the protocol, 2 more files for enrolment, and 0 other files." in out
    for name, count in (("cm.train.trn", 4), ("cm.train_dev.trn", 8)):
        path = data / "protocols" / f"ASVspoof2019.LA.{name}.txt"
        names = [utterance.path for utterance in read_train_list(path)]
        assert len(check_files(data / "LA", names, path)) == count
    for folder in (data / "protocols", data / "LA" / "ASVspoof2019_LA_asv_protocols"):
        trials_list = folder / "ASVspoof2019.LA.asv.eval.gi.trl.txt"
        assert len(lists_beside(trials_list)) == 1
        flacs = data / "LA" / "ASVspoof2019_LA_eval" / "flac"
        check_files(flacs, read_trials(trials_list).paths(), trials_list)
    # The links are relative: they survive a move of the folder.
    moved = tmp_path / "moved" / "data"
    moved.parent.mkdir()
    data.rename(moved)
    assert read_train_list(moved / "protocols" / "ASVspoof2019.LA.cm.dev.trl.txt")


@pytest.mark.parametrize(
    "without, message",
    [
        ("LA_D_0000001.flac", "cannot find 1 of 6 files in the protocols of dev: LA_D_0000001."),
        ("LA_E_A0000001.flac", "cannot find 1 of 6 files in the protocols of eval: LA_E_A0000001."),
        ("ASVspoof2019.LA.cm.dev.trl.txt", "ASVspoof2019.LA.cm.dev.trl.txt: the archive does not"),
    ],
)
def test_incomplete_asvspoof(without, message, tmp_path, capsys):
    archive = asvspoof(tmp_path, {without})
    assert run("--asvspoof2019", archive, "--save_path", tmp_path / "data") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "data" / "protocols").exists()
    assert run("--asvspoof2019", tmp_path / "nothing.zip") == 2
    assert "nothing.zip: this file does not exist. Download LA.zip" in capsys.readouterr().err


def test_asvspoof_without_a_folder(tmp_path, capsys):
    """The message says that the folder of a part does not exist."""
    la = tmp_path / "data" / "LA"
    (la / CM).mkdir(parents=True)
    for part, name in PROTOCOLS.items():
        (la / CM / name).write_text(f"LA_1 LA_{part}_1 - - bonafide\n")
    with pytest.raises(InputError) as error:
        check_part(la, "dev")
    folder = la / "ASVspoof2019_LA_dev" / "flac"
    assert str(error.value) == f"{folder}: this folder does not exist. Download LA.zip again."


# ---------------------------------------------------------------------- small corpora
def check_trials(path, root, genders, counts):
    """Checks trials: the numbers of targets and non-targets, and what each trial compares.

    Targets have one speaker, non-targets two speakers of one gender. No pair appears twice.
    """
    lines = [line.split() for line in path.read_text().splitlines()]
    keys = Counter(key for key, *_ in lines)
    assert [keys["1"], keys["0"]] == counts
    assert len({frozenset(line[1:]) for line in lines}) == len(lines)
    for key, *pair in lines:
        speakers = []
        for name in pair:
            found = re.search(r"SPEAKER(\d+)|^(\d+)/", name)
            speakers.append(found[1] or found[2])
        first, second = speakers
        assert (first == second) == (key == "1")
        assert genders[first] == genders[second]
        assert pair[0] != pair[1]
    check_files(root, read_trials(path).paths(), path)


def librispeech_part(tmp_path, part, speakers, table):
    """The bytes of an archive of LibriSpeech, with three files of each speaker."""
    files = {"LibriSpeech/SPEAKERS.TXT": table.encode()}
    for speaker in speakers:
        for i in range(3):
            name = f"LibriSpeech/{part}/{speaker}/7/{speaker}-7-000{i}.flac"
            files[name] = sound(tmp_path, i, suffix=".flac")
    return tarred(tmp_path / "t", files).read_bytes()


def test_mini_librispeech(server, tmp_path):
    genders = {"1": "F", "2": "M", "3": "F", "4": "F", "5": "M", "6": "M"}
    table = ";ID |SEX| SUBSET |MINUTES| NAME\n"
    for speaker, gender in genders.items():
        table += f"{speaker:4} | {gender} | dev-clean | 8.1 | Name\n"
    files = {
        "train-clean-5.tar.gz": librispeech_part(tmp_path, "train-clean-5", "12", table),
        "dev-clean-2.tar.gz": librispeech_part(tmp_path, "dev-clean-2", "3456", table),
    }
    data = tmp_path / "data"
    listed = serve(server, tmp_path, files, "mini_librispeech.yaml", sums=False)
    words = ["--mini_librispeech", data, "--file_list", listed, "--trials", 20]
    assert run(*words) == 0
    train = read_train_list(data / "train_list.txt")
    assert sorted(utterance.speaker for utterance in train) == ["1"] * 3 + ["2"] * 3
    paths = [utterance.path for utterance in train]
    check_files(data / "train" / "train-clean-5", paths, "")
    check_trials(data / "trials.txt", data / "test" / "dev-clean-2", genders, [10, 10])
    trials = (data / "trials.txt").read_bytes()
    server.requests.clear()
    assert run(*words) == 0
    assert (data / "trials.txt").read_bytes() == trials
    assert not server.requests
    # Other trials replace no list, which somebody may have changed.
    assert run(*words, "--seed", 1) == 2
    assert (data / "trials.txt").read_bytes() == trials
    (data / "trials.txt").unlink()
    assert run(*words, "--seed", 1) == 0
    assert (data / "trials.txt").read_bytes() != trials
    sums = [f"{md5(files[name])}  {name}" for name in sorted(files)]
    assert (data / "MD5SUMS").read_text().splitlines() == sums


def speechocean_part(tmp_path, part, genders):
    """{name: contents} of a part of speechocean762, with three files of each speaker."""
    wav_scp = ""
    utt2spk = ""
    spk2gender = ""
    files = {}
    for speaker, gender in genders.items():
        spk2gender += f"{speaker}\t{gender}\n"
        for i in range(3):
            name = f"0{speaker}001{i}"
            path = f"WAVE/SPEAKER{speaker}/{name}.WAV"
            wav_scp += f"{name}\t{path}\n"
            utt2spk += f"{name}\t{speaker}\n"
            files[path] = sound(tmp_path, int(name))
    files[f"{part}/wav.scp"] = wav_scp.encode()
    files[f"{part}/utt2spk"] = utt2spk.encode()
    files[f"{part}/spk2gender"] = spk2gender.encode()
    return files


def test_speechocean(server, tmp_path, capsys):
    train_genders = {"0001": "m", "0002": "f"}
    test_genders = {"0003": "m", "0004": "m"}
    contents = speechocean_part(tmp_path, "train", train_genders)
    contents |= speechocean_part(tmp_path, "test", test_genders)
    contents = {f"speechocean762/{name}": data for name, data in contents.items()}
    files = {"speechocean762.tar.gz": tarred(tmp_path / "t", contents, "").read_bytes()}
    counts = {"WAVE/SPEAKER*/*": 12}
    listed = serve(server, tmp_path, files, "speechocean762.yaml", sums=False, counts=counts)
    data = tmp_path / "data"
    assert run("--speechocean762", data, "--file_list", listed) == 0
    train = read_train_list(data / "train_list.txt")
    assert [utterance.speaker for utterance in train] == ["0001"] * 3 + ["0002"] * 3
    check_files(data, [utterance.path for utterance in train], "")
    # Two speakers with three files each have only 6 target and 9 non-target pairs.
    check_trials(data / "trials.txt", data, test_genders, [6, 9])
    out = capsys.readouterr().out
    assert f"Wrote {data}/train_list.txt with 2 speakers and 6 files." in out
    message = "with 2 speakers, 6 target trials and 9 non-target trials."
    assert f"Wrote {data}/trials.txt {message}" in out
    assert f"trainSpeakerNet.py: --train_list {data}/train_list.txt --train_path {data} " in out


@pytest.mark.parametrize(
    "test, genders, message",
    [
        (
            {"b": ["b0"], "a": ["a1"]},
            {"a": "f", "b": "f"},
            "expected different speakers for training and for tests, found a in both",
        ),
        (
            {"b": ["b0"], "c": ["c0"]},
            {"b": "f"},
            "the gender is unknown for the test speakers c.",
        ),
    ],
)
def test_wrong_test_speakers(test, genders, message, tmp_path):
    train = openslr.SpeakerFiles(tmp_path, {"a": ["a0"]})
    test = openslr.SpeakerFiles(tmp_path, test)
    with pytest.raises(InputError, match=message):
        openslr.write_corpus_lists(tmp_path, train, test, genders, 10, 0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "tables, message",
    [
        (
            {"wav.scp": "1 a.wav\n2 b.wav\n", "utt2spk": "1 x\n"},
            r"found different utterances \(2 and 1\)",
        ),
        ({"wav.scp": "1\n"}, "found '1'"),
    ],
)
def test_bad_tables(tables, message, tmp_path):
    for name, text in tables.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        openslr.speakers_of_tables(tmp_path)
