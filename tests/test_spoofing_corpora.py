"""Small imitations of the corpora with spoofed speech: their layouts, lists and counts."""

import glob
import io
import os
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile
from loopback import run
from pages import ROOT, commands_of
from test_archives import tarred
from test_corpora import asvspoof

import trainSpeakerNet
from corpus.files import check_files
from corpus.lists import read_train_list, read_trials
from corpus.protocols import is_protocol, read_protocol
from prep.spoofing import compare_counts, tally_of_files, tally_of_trials
from prep.spoofing_corpora import ASVSPOOF_5, ASVSPOOF_2021, COUNTS_2019, SPOOFCELEB

PROTOCOLS = Path(os.environ.get("SPEECH_DATA") or "/nowhere").parent / "protocols"
real_lists = pytest.mark.skipif(
    not PROTOCOLS.is_dir(), reason="the public protocols are not beside SPEECH_DATA"
)
# {part: number of bona fide and of spoofed files}, published with ASVspoof 5 and 2021.
PUBLISHED = {
    "ASVspoof5.train.tsv": (18797, 163560),
    "ASVspoof5.dev.track_1.tsv": (31334, 109616),
    "ASVspoof5.eval.track_1.tsv": (138688, 542086),
    "LA_E_": (14816, 133360),
    "DF_E_": (14869, 519059),
}


def lines_of(*lines):
    return "".join(f"{line}\n" for line in lines).encode()


def write(folder, files):
    """Writes {path: contents} below a folder. Returns the folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def noise():
    """Returns the bytes of a FLAC file of half a second."""
    x = np.random.default_rng(0).integers(-9999, 9999, 8000).astype(np.int16)
    data = io.BytesIO()
    soundfile.write(data, x, 16000, subtype="PCM_16", format="FLAC")
    return data.getvalue()


FLAC = noise()


def audio_of(folder, *names):
    """Returns {path: contents} of audio files."""
    return {f"{folder}/{name}.flac": FLAC for name in names}


# ---------------------------------------------------------------------- published numbers
def test_published_numbers():
    """The numbers that are quoted were typed twice, here and in the program."""
    expected = {}
    for part in (*ASVSPOOF_2021.parts, *ASVSPOOF_5.parts):
        if part.counts:
            counts = part.counts
            numbers = (counts["bona fide files"], counts["spoofed files"])
            expected[part.starts or part.names[0]] = numbers
    assert expected == PUBLISHED
    assert [part.counts["files"] for part in ASVSPOOF_2021.parts] == [181566, 611829]
    assert SPOOFCELEB.whole == {"speakers": 1251, "attacks": 23}


@real_lists
def test_numbers_of_the_real_protocols():
    """The numbers of ASVspoof 2019 LA are the numbers of its public lists."""
    train = tally_of_files(PROTOCOLS / "ASVspoof2019.LA.cm.train.trn.txt")
    both = tally_of_files(PROTOCOLS / "ASVspoof2019.LA.cm.train_dev.trn.txt")
    compare_counts("", COUNTS_2019["ASVspoof2019.LA.cm.train.trn.txt"], train.counts, False)
    dev = {"attacks": 6, "speakers": len(both.speakers - train.speakers)}
    both.counts.subtract(train.counts)
    dev = {**both.counts, **dev}
    compare_counts("", COUNTS_2019["ASVspoof2019.LA.cm.dev.trl.txt"], dev, False)
    name = "ASVspoof2019.LA.asv.eval.gi.trl.txt"
    tally = tally_of_trials(PROTOCOLS / name)
    compare_counts("", COUNTS_2019[name], tally.counts, False)
    # 71,237 files are tested.
    cm = COUNTS_2019["ASVspoof2019.LA.cm.eval.trl.txt"]
    tested = [file for file in tally.names if not file.startswith("LA_E_A")]
    assert cm["bona fide files"] + cm["spoofed files"] == len(tested) == 71237


def test_asvspoof2019_with_wrong_counts(tmp_path, capsys):
    archive = asvspoof(tmp_path)
    words = ["asvspoof2019", archive, "--save_path", tmp_path / "data"]
    assert run(*words) == 2
    assert (
        "ASVspoof2019.LA.cm.train.trn.txt: the counts differ from the published ones. speakers: "
        "expected 20, found 1; bona fide files: expected 2,580, found 2; spoofed files: expected "
        "22,800, found 2; attacks: expected 6, found 1; spoofed files of A01: expected 3,800, "
        "found 2;"
    ) in capsys.readouterr().err
    assert run(*words, "--force") == 0
    out = capsys.readouterr().out
    assert "warning: " in out
    assert "target trials: expected 5,370, found 1" in out


# ---------------------------------------------------------------------- ASVspoof 2021
def keys(track, *lines):
    """A key of ASVspoof 2021 with four files. Its columns after the phase are `lines`."""
    more = " ".join(lines)
    rows = []
    for i, (attack, key, phase) in enumerate(
        [
            ("bonafide", "bonafide", "eval"),
            ("A07", "spoof", "eval"),
            ("A08", "spoof", "progress"),
            ("A08", "spoof", "hidden"),
        ]
    ):
        row = f"LA_000{i % 2} {track}_E_000000{i} alaw ita_tx {attack} {key} notrim {phase} {more}"
        rows.append(row.strip())
    return lines_of(*rows)


def asvspoof2021(tmp_path, track, more=()):
    """Archives of one track of ASVspoof 2021."""
    names = [f"{track}_E_000000{i}" for i in range(4)]
    name = f"ASVspoof2021_{track}_eval"
    audio = audio_of(f"{name}/flac", *names) | {f"{name}/trl.txt": lines_of(*names)}
    # The keys of verification have the same name.
    asv = lines_of(f"LA_0000 alaw ita_tx {names[0]} bonafide target notrim eval")
    folder = f"{track}-keys-full/keys/{track}"
    metadata = {
        f"{folder}/ASV/trial_metadata.txt": asv,
        f"{folder}/CM/trial_metadata.txt": keys(track, *more),
    }
    return (
        tarred(tmp_path / f"{name}.tar.gz", audio, ""),
        tarred(tmp_path / f"{track}-keys-full.tar.gz", metadata),
    )


def test_asvspoof2021(tmp_path, capsys):
    la = asvspoof2021(tmp_path, "LA")
    df = asvspoof2021(tmp_path, "DF", ("traditional_vocoder", "-", "-", "-", "-"))
    data = tmp_path / "data"
    words = ["asvspoof2021", *la, *df, "--save_path", data]
    assert run(*words) == 2
    assert (
        "keys/LA/CM/trial_metadata.txt: the counts differ from the published ones. files: expected "
        "181,566, found 4; bona fide files: expected 14,816, found 1; spoofed files: expected "
        "133,360, found 1. Download the corpus again, or add --force if it is meant to differ."
    ) in capsys.readouterr().err
    assert run(*words, "--force") == 0
    out = capsys.readouterr().out
    # The archives are extracted, and nothing needs to be named again.
    assert run("asvspoof2021", "--save_path", data, "--force") == 0
    for track in ("LA", "DF"):
        protocol = data / "protocols" / f"ASVspoof2021.{track}.trial_metadata.txt"
        folder = data / "ASVspoof2021" / f"ASVspoof2021_{track}_eval"
        assert f"--test_list {protocol} --test_path {folder}\n" in out
        assert is_protocol(protocol)
        trials = read_protocol(protocol)
        assert trials.lines == [
            f"{track}_E_0000000 LA_0000 alaw - bonafide",
            f"{track}_E_0000001 LA_0001 alaw A07 spoof",
        ]
        assert check_files(folder, [], protocol) == {}


def test_asvspoof2021_without_a_file(tmp_path, capsys):
    """A file of another phase may not be missing either."""
    asvspoof2021(tmp_path, "LA")
    assert (
        run("asvspoof2021", *asvspoof2021(tmp_path, "LA"), "--save_path", tmp_path, "--force") == 0
    )
    (tmp_path / "ASVspoof2021/ASVspoof2021_LA_eval/flac/LA_E_0000002.flac").unlink()
    capsys.readouterr()
    folder = tmp_path / "ASVspoof2021"
    assert run("asvspoof2021", folder, "--save_path", tmp_path / "new", "--force") == 2
    assert "trial_metadata.txt: 1 of 4 files are missing in" in capsys.readouterr().err


# ---------------------------------------------------------------------- ASVspoof 5
def asvspoof5():
    """{path: contents} of ASVspoof 5 with few files. Two speakers are in the train list."""
    train = []
    for i in range(8):
        end = "AC3 A05 spoof -" if i % 4 > 1 else "- bonafide bonafide -"
        train.append(f"T_000{i // 4} T_000000000{i} F - - - {end}")
    # The release has blanks or tabs.
    train[1] = train[1].replace(" ", "\t")
    return {
        "ASVspoof5.train.tsv": lines_of(*train),
        "ASVspoof5.dev.track_1.tsv": lines_of(
            "D_0001 D_0000000000 F - - - - bonafide bonafide -",
            "D_0002 D_0000000001 M C01 2 7 AC1 A11 spoof -",
        ),
        "ASVspoof5.dev.track_2.enroll.tsv": lines_of("D_0001 D_A0000000000,D_A0000000001"),
        "ASVspoof5.dev.track_2.trial.tsv": lines_of(
            "D_0001 D_0000000000 F - bonafide target -",
            "D_0001 D_0000000002 F - bonafide nontarget -",
            "D_0001 D_0000000001 F C01 A11 spoof -",
        ),
        **audio_of("flac_T", *(f"T_000000000{i}" for i in range(8))),
        **audio_of("flac_D", *(f"D_000000000{i}" for i in range(3))),
        **audio_of("flac_D", "D_A0000000000", "D_A0000000001"),
    }


def pack_asvspoof5(files, folder):
    """Writes the archives of ASVspoof 5. Returns their paths."""
    return [
        tarred(folder / "ASVspoof5_protocols.tar.gz", part_of(files, "ASV")),
        tarred(folder / "flac_T_aa.tar", part_of(files, "flac_T"), "", mode="w"),
        tarred(folder / "flac_D_aa.tar", part_of(files, "flac_D"), "", mode="w"),
    ]


def part_of(files, start):
    return {name: data for name, data in files.items() if name.startswith(start)}


def check_asvspoof5(data, root):
    """The trainer reads the lists and finds their files."""
    protocols = data / "protocols"
    train = read_train_list(protocols / "ASVspoof5.train.tsv")
    pairs = [(u.speaker, u.attack) for u in train]
    expected = [(speaker, attack) for speaker in ("T_0000", "T_0001") for attack in ("-", "A05")]
    assert pairs[::2] == pairs[1::2] == expected
    trials = read_trials(protocols / "ASVspoof5.dev.track_2.trial.tsv")
    assert trials.kinds.tolist() == ["target", "nontarget", "spoof"]
    assert trials.models == [("D_A0000000000", "D_A0000000001")]
    protocol = read_protocol(protocols / "ASVspoof5.dev.track_1.tsv")
    assert protocol.lines == [
        "D_0000000000 D_0001 - - bonafide",
        "D_0000000001 D_0002 C01 A11 spoof",
    ]
    assert {*os.listdir(root)} >= {"flac_T", "flac_D"}


@pytest.mark.parametrize("given", ["archives", "folder", "parts"])
def test_asvspoof5(given, tmp_path, capsys):
    """Archives, the folder of extracted ones, or folders of audio and single lists."""
    files = asvspoof5()
    data = tmp_path / "data"
    root = write(tmp_path / "corpus", files)
    sources = [root]
    if given == "parts":
        sources = [root / "flac_T", root / "flac_D", *sorted(root.glob("*.tsv"))]
    if given == "archives":
        root = data / "ASVspoof5"
        sources = pack_asvspoof5(files, tmp_path)
    for _ in range(2):
        assert run("asvspoof5", *sources, "--save_path", data, "--force") == 0
        out = capsys.readouterr().out
        for option, name in (
            ("--train_list", "train"),
            ("--test_list", "dev.track_1"),
            ("--test_list", "dev.track_2.trial"),
        ):
            path = option.replace("list", "path")
            assert f"{option} {data}/protocols/ASVspoof5.{name}.tsv {path} {root}\n" in out
        assert "speakers: expected 400, found 2; " in out
        assert "target trials 1" in out
        assert "ASVspoof5.eval.track_1.tsv was not found and is left out." in out
    check_asvspoof5(data, root)


def test_asvspoof5_without_audio(tmp_path, capsys):
    root = write(tmp_path / "corpus", part_of(asvspoof5(), "ASV"))
    words = ["asvspoof5", root, "--save_path", tmp_path / "data", "--force"]
    assert run(*words) == 2
    assert "expected lists (ASVspoof5.train.tsv, " in (error := capsys.readouterr().err)
    assert "and their audio, found lists without audio. Download ASVspoof5_protocols" in error
    # Without the audio of some lists, the other ones are prepared.
    write(root, part_of(asvspoof5(), "flac_T"))
    assert run(*words) == 0
    out = capsys.readouterr().out
    assert "dev.track_1.tsv: found no audio of this list, such as D_0000000000." in out
    # An enrolment file is missing.
    write(root, part_of(asvspoof5(), "flac_D"))
    (root / "flac_D" / "D_A0000000001.flac").unlink()
    assert run(*words) == 2
    assert "1 of 5 files are missing" in capsys.readouterr().err


def test_corpus_in_another_place(tmp_path):
    """The links lead to the lists of the last command."""
    data = tmp_path / "data"
    for name in ("old", "new"):
        root = write(tmp_path / name, asvspoof5())
        assert run("asvspoof5", root, "--save_path", data, "--force") == 0
        assert (data / "protocols" / "ASVspoof5.train.tsv").resolve().parent == root


def test_folders_that_are_wrong(tmp_path, capsys):
    assert run("asvspoof5", tmp_path / "nothing", "--save_path", tmp_path / "data") == 2
    assert "nothing: this folder does not exist. Download" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert run("asvspoof5", tmp_path / "empty", "--save_path", tmp_path / "data") == 2
    assert "empty: expected lists (" in (error := capsys.readouterr().err)
    assert "and their audio, found no list. Download" in error


# ---------------------------------------------------------------------- SpoofCeleb, WildSpoof
def spoofceleb():
    """{path: contents} of SpoofCeleb with a few files."""
    files = {}
    for split, first in (("train", "a00"), ("development", "a06"), ("evaluation", "a15")):
        names = [f"a00/{split}1/x", f"{first}/{split}1/y", f"a00/{split}2/z"]
        rows = [f"{name}.flac,{name.split('/')[1]},{name[:3]}" for name in names]
        files[f"metadata/{split}.csv"] = lines_of("file,speaker,attack", *rows)
        files |= audio_of(f"flac/{split}", *names)
        trials = [
            f"{names[0]}.flac,{names[0]}.flac,target",
            f"{names[0]}.flac,{names[2]}.flac,nontarget",
            f"{names[0]}.flac,{names[1]}.flac,spoof",
        ]
        if split != "train":
            name = f"protocol/sasv_{split}_evaluation_protocol.csv"
            files[name] = lines_of("enrollment,test,label", *trials)
    return files


def test_spoofceleb(tmp_path, capsys):
    root = write(tmp_path / "corpus", spoofceleb())
    data = tmp_path / "data"
    words = ["spoofceleb", root, "--save_path", data]
    assert run(*words) == 2
    assert (
        "SpoofCeleb: the counts differ from the published ones. speakers: expected 1,251, found 6; "
        "attacks: expected 23, found 2. Download"
    ) in capsys.readouterr().err
    assert run(*words, "--force") == 0
    protocols = data / "protocols"
    train = protocols / "SpoofCeleb.train.csv"
    assert f"--train_list {train} --train_path {root}\n" in capsys.readouterr().out
    assert [u.speaker for u in read_train_list(train)] == ["train1", "train1", "train2"]
    protocol = protocols / "SpoofCeleb.cm.evaluation.trl.txt"
    trials = read_protocol(protocol)
    assert trials.attacks.tolist() == ["-", "a15", "-"]
    check_files(root, [], protocol)
    trials = read_trials(protocols / "sasv_development_evaluation_protocol.csv")
    assert trials.kinds.tolist() == ["target", "nontarget", "spoof"]


def test_wildspoof(tmp_path, capsys):
    root = write(tmp_path / "corpus", spoofceleb())
    challenge = write(
        tmp_path / "challenge",
        {
            "trials.csv": lines_of(
                "enrollment,test,label",
                "a00/evaluation1/x.flac,a00/evaluation2/z.flac,nontarget",
                "a00/evaluation1/x.flac,new.flac,target",
                "a00/evaluation1/x.flac,a15/evaluation1/y.flac,spoof",
            ),
        },
    )
    words = ["wildspoof", root, challenge / "trials.csv", "--save_path", tmp_path / "data"]
    assert run(*words) == 2
    assert "trials.csv: 1 of 4 files are missing" in capsys.readouterr().err
    write(root, {"flac/evaluation/new.flac": FLAC})
    assert run(*words) == 0
    out = capsys.readouterr().out
    assert "trials.csv: trials 3, speakers 1, " in out
    assert f"--test_list {tmp_path}/data/protocols/trials.csv --test_path {root}\n" in out


def test_wildspoof_with_audio_elsewhere(tmp_path, capsys):
    """The audio of the trials is in a folder of its own, whose name says nothing."""
    root = write(tmp_path / "corpus", spoofceleb())
    lines = lines_of("a/1.wav,b/2.wav,target", "a/1.wav,b/3.wav,nontarget", "a/1.wav,c/4.wav,spoof")
    challenge = write(
        tmp_path / "challenge",
        {"list.csv": lines, **dict.fromkeys(("a/1.wav", "b/2.wav", "b/3.wav", "c/4.wav"), FLAC)},
    )
    words = ["wildspoof", root, challenge, challenge / "list.csv", "--save_path", tmp_path / "data"]
    assert run(*words) == 0
    protocols = tmp_path / "data" / "protocols"
    assert f"--test_list {protocols}/list.csv --test_path {challenge}\n" in capsys.readouterr().out


# ---------------------------------------------------------------------- the page
SIZES = shlex.split(
    "--batch_size 4 --num_spk 2 --nPerSpeaker 1 --max_frames 30 --eval_frames 30 --num_eval 1 "
    "--nDataLoaderThread 0 --device cpu --max_steps 1 --max_epoch 1 --no-mixedprec"
)
SMALL_NETWORK = ["--frt_c", "8", "--eca_c", "64", "--batch_size", "8", "--nPerSpeaker", "2"]


@pytest.fixture
def downloads(tmp_path, monkeypatch):
    """A working directory with the downloads and checkpoints that docs/corpora.md names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    asvspoof2021(tmp_path, "LA")
    df, _ = asvspoof2021(tmp_path, "DF", ("traditional_vocoder", "-", "-", "-", "-"))
    for i in range(4):
        (tmp_path / f"ASVspoof2021_DF_eval_part0{i}.tar.gz").write_bytes(df.read_bytes())
    files = asvspoof5()
    pack_asvspoof5(files, tmp_path)
    write(tmp_path / "spoofceleb", spoofceleb())
    trials = tmp_path / "spoofceleb/protocol/sasv_evaluation_evaluation_protocol.csv"
    (tmp_path / "trials.csv").write_bytes(trials.read_bytes())
    corpus = write(tmp_path / "corpus", files)
    lists = ["--train_list", corpus / "ASVspoof5.train.tsv", "--train_path", corpus]
    for name, test_list in (("asvspoof2019_aasist", "1"), ("sasv_stage2", "2.trial")):
        tests = ["--test_list", corpus / f"ASVspoof5.dev.track_{test_list}.tsv"]
        words = ["--config", f"configs/{name}.yaml", *lists, *tests, "--test_path", corpus, *SIZES]
        if name == "sasv_stage2":
            words += [*SMALL_NETWORK, "--initial_model", "", "--no-partial"]
        assert trainSpeakerNet.main([*map(str, words)]) in (0, None)
    return tmp_path


@pytest.mark.slow
def test_commands_of_the_page(downloads, capsys):
    """All commands of docs/corpora.md about spoofed speech run one after the other."""
    commands = commands_of(ROOT / "docs" / "corpora.md", ["Corpora with spoofed speech"])
    assert len(commands) == 10
    for command in commands:
        _, program, *rest = shlex.split(command)
        words = []
        for word in rest:
            words += sorted(glob.glob(word)) if "*" in word else [word]
        if program == "dataprep.py":
            force = [] if words[0] == "wildspoof" else ["--force"]
            assert run(*words, *force) == 0, capsys.readouterr().err
            continue
        words += ["--num_eval", "1", "--eval_frames", "30", "--device", "cpu"]
        if "--config" in words:
            words += [*SIZES, *SMALL_NETWORK]
        assert trainSpeakerNet.main(words) in (0, None), command
    scores = (downloads / "scores_asvspoof5_sasv.txt").read_text().splitlines()
    assert [line.split()[:4] for line in scores] == [
        ["D_0001", "D_0000000000", "bonafide", "target"],
        ["D_0001", "D_0000000002", "bonafide", "nontarget"],
        ["D_0001", "D_0000000001", "A11", "spoof"],
    ]
