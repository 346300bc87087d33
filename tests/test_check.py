"""The mode --check of dataprep.py, and the warnings at the start of the trainer.

A corpus gets a file for every kind of finding. The tests compare the findings and the cleaned
lists, and check lists that share files or speakers.
"""

import itertools
import json
import logging
import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import small_run
from hypothesis import given, settings
from hypothesis import strategies as st

import dataprep
from common.errors import InputError
from corpus.audio import AudioError
from corpus.lists import Trials, Utterance, speed_copies
from corpus.raw_lists import RawList, read_raw_list, speakers_by_folder
from prep import check
from prep.examination import Examined
from training.task import warn_of_shared_speakers

SPEECH = os.environ.get("SPEECH_DATA")
# Speakers and files of the train list, and files of the trials.
TRAIN = [(f"id{speaker}", f"id{speaker}/{i}.wav") for speaker in range(4) for i in range(3)]
TESTED = [f"id9{speaker}/{i}.wav" for speaker in range(2) for i in range(2)]


def noise(seed):
    """One second of noise."""
    return 0.1 * np.random.default_rng(seed).standard_normal(16000)


def noises(count):
    return [noise(seed) for seed in range(count)]


def real_speech(count):
    """Samples of different recordings of real speech."""
    if not SPEECH:
        pytest.skip("SPEECH_DATA is not set")
    paths = sorted(Path(SPEECH, "speechocean_mini", "train").rglob("*.flac"))[:count]
    return [soundfile.read(path, dtype="int16")[0] for path in paths]


def write_lines(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture(params=[noises, real_speech])
def speech(request, tmp_path):
    """A corpus without problems: train.txt of four speakers, trials.txt of two other speakers.

    The files are in wav/.
    """
    names = [name for _, name in TRAIN] + TESTED
    for name, x in zip(names, request.param(len(names)), strict=True):
        (tmp_path / "wav" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "wav" / name, x, 16000)
    write_lines(tmp_path / "train.txt", [f"{speaker} {name}" for speaker, name in TRAIN])
    trials = []
    for a, b in itertools.combinations(TESTED, 2):
        trials.append(f"{int(a[:4] == b[:4])} {a} {b}")
    write_lines(tmp_path / "trials.txt", trials)
    return tmp_path


def checked(folder, *words, lists=("train.txt", "trials.txt"), output="out"):
    """Runs --check. Returns the exit code and the findings of each list.

    The findings are {name of a list: {(kind, file or None, speaker): figure}}.
    """
    paths = [str(folder / name) for name in lists]
    options = ["--path", str(folder / "wav"), "--output", str(folder / output)]
    options += ["--max_frames", "90", "--processes", "1"]
    code = dataprep.main(["--check", *paths, *options, *words])
    findings = {}
    if code < 2:
        report = json.loads((folder / output / "check.json").read_text())
        for each in report["lists"]:
            found = {(f["kind"], f["file"], f["speaker"]): f["figure"] for f in each["findings"]}
            findings[Path(each["list"]).name] = found
    return code, findings


def recheck(folder):
    """Checks the cleaned lists. Returns the exit code."""
    lists = ("train.clean.txt", "trials.clean.txt")
    path = str(folder / "wav")
    code, _ = checked(folder / "out", "--path", path, lists=lists, output="again")
    return code


def test_sound_corpus(speech, capsys):
    assert checked(speech) == (0, {"train.txt": {}, "trials.txt": {}})
    out = capsys.readouterr().out
    assert "train.txt has 12 lines. The 12 valid lines are in " in out
    assert "Read 16 files with " in out
    assert f"Findings: 0. The report is {speech}/out/check.json." in out
    for name in ("train", "trials"):
        cleaned = (speech / "out" / f"{name}.clean.txt").read_text()
        assert cleaned == (speech / f"{name}.txt").read_text()


# ---------------------------------------------------------------------- every kind of finding
# The file of the train list that gets the damage.
BAD = "id1/1.wav"


def rewrite(change):
    """Returns a damage that changes samples and options of libsndfile.

    change: x -> (new samples, options).
    """

    def damage(folder, path):
        x, _ = soundfile.read(path, dtype="float64")
        x, options = change(x)
        path.unlink()
        options = {"samplerate": 16000} | options
        soundfile.write(path, x, **options)

    return damage


def cut(share, format):
    """Returns a damage that keeps only the first part of a file's bytes."""

    def damage(folder, path):
        x, _ = soundfile.read(path, dtype="int16")
        soundfile.write(path, x, 16000, format=format)
        data = path.read_bytes()
        path.write_bytes(data[: int(share * len(data))])

    return damage


def flipped(folder, path):
    """A FLAC file with one wrong byte."""
    x, _ = soundfile.read(path, dtype="int16")
    soundfile.write(path, x, 16000, format="FLAC")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def with_value(value):
    """Returns a damage that sets one sample to `value`."""

    def change(x):
        x[500] = value
        return x, {"subtype": "FLOAT"}

    return rewrite(change)


def duplicate(folder, path):
    """The samples of another speaker's file, in another format."""
    x, _ = soundfile.read(folder / "wav" / "id0" / "2.wav", dtype="int16")
    soundfile.write(path, x, 16000, format="FLAC")


def like_a_tested_file(folder, path):
    shutil.copyfile(folder / "wav" / TESTED[0], path)


def missing(folder, path):
    path.unlink()


def text(folder, path):
    path.write_text("<html>404 Not Found</html>")


def no_bytes(folder, path):
    path.write_bytes(b"")


def at_level(decibels):
    """Returns a change to this level, with samples that are not rounded to 16 bits."""
    return lambda x: (x / x.std() * 10 ** (decibels / 20), {"subtype": "FLOAT"})


# Name -> the damage, the kind of the finding, and its figure.
DAMAGE = {
    "missing": (missing, "missing", None),
    "text": (text, "unreadable", None),
    "no bytes": (no_bytes, "unreadable", None),
    "rate": (rewrite(lambda x: (x, {"samplerate": 8000})), "format", None),
    "channels": (rewrite(lambda x: (np.stack([x, x], 1), {})), "format", None),
    "half a WAV": (cut(0.5, "WAV"), "truncated", None),
    "half a FLAC": (cut(0.5, "FLAC"), "truncated", None),
    "wrong byte": (flipped, "truncated", None),
    "no samples": (rewrite(lambda x: (x[:0], {})), "empty", None),
    "NaN": (with_value(np.nan), "not finite", None),
    "infinity": (with_value(np.inf), "not finite", None),
    "zeros": (rewrite(lambda x: (0 * x, {})), "silent", -200),
    "dither": (
        rewrite(lambda x: (np.sign(x) / 32768, {})),
        "silent",
        pytest.approx(-90.3, abs=0.5),
    ),
    "faint": (
        rewrite(at_level(-71)),
        "silent",
        pytest.approx(-71, abs=0.1),
    ),
    "clipped": (
        rewrite(lambda x: (np.clip(20 * x / x.std(), -1, 1), {})),
        "clipped",
        pytest.approx(0.85, abs=0.15),
    ),
    "clipped, then lowered": (
        rewrite(lambda x: (np.clip(x / x.std() / 2, -0.4, 0.4), {})),
        "clipped",
        pytest.approx(0.3, abs=0.2),
    ),
    "short": (rewrite(lambda x: (x[:14399], {})), "short", 0.9),
    "duplicate": (duplicate, "duplicate", None),
    "shared file": (like_a_tested_file, "shared file", None),
}
# Kinds of findings that no damage of a file causes.
LIST_KINDS = {"listed twice", "shared speaker", "few"}


def test_every_kind_is_tested():
    assert {kind for _, kind, _ in DAMAGE.values()} | LIST_KINDS == set(check.PROBLEM_KINDS)


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_file(name, speech, capsys):
    damage, kind, figure = DAMAGE[name]
    damage(speech, speech / "wav" / BAD)
    assert checked(speech) == (1, {"train.txt": {(kind, BAD, "id1"): figure}, "trials.txt": {}})
    out = capsys.readouterr().out
    assert "12 lines. The 11 valid lines are in " in out
    assert re.search(rf"\n  {kind} +1 +1  .*\. Example: {BAD}: ", out)
    assert BAD in out
    assert "Speakers with most findings: id1: 1\n" in out
    lines = (speech / "train.txt").read_text().splitlines()
    cleaned = (speech / "out" / "train.clean.txt").read_text().splitlines()
    assert cleaned == [line for line in lines if BAD not in line]
    assert recheck(speech) == 0


def test_just_long_and_loud_enough(speech):
    path = speech / "wav" / BAD
    # 90 frames have 14,400 samples.
    make_short = rewrite(lambda x: (np.resize(x, 14400), {}))
    make_short(speech, path)
    make_faint = rewrite(at_level(-69))
    make_faint(speech, speech / "wav" / "id1/2.wav")
    assert checked(speech)[0] == 0
    path.write_bytes(path.read_bytes()[:44] + bytes(1000))
    findings = {"train.txt": {("truncated", BAD, "id1"): None}, "trials.txt": {}}
    assert checked(speech, "--max_frames", "0") == (1, findings)
    soundfile.write(path, np.sin(np.arange(99)), 16000)
    assert checked(speech, "--max_frames", "0")[0] == 0


def test_trials_of_a_bad_file_are_removed(speech):
    (speech / "wav" / TESTED[1]).unlink()
    findings = {"train.txt": {}, "trials.txt": {("missing", TESTED[1], "id90"): None}}
    assert checked(speech) == (1, findings)
    lines = (speech / "trials.txt").read_text().splitlines()
    cleaned = (speech / "out" / "trials.clean.txt").read_text().splitlines()
    assert len(cleaned) == 3
    assert cleaned == [line for line in lines if TESTED[1] not in line]


def test_findings_of_lists(speech):
    lines = (speech / "train.txt").read_text().splitlines()
    # A repeated line, a speaker of the trials, and a speaker with one file out of three.
    shared_speaker = ["id90 id90/9.wav", "id90 id90/8.wav"]
    few = ["id6 id6/0.wav", "id6 id6/1.wav", "id6 id6/2.wav"]
    added = ["id2 id2/0.wav", *shared_speaker, *few]
    for i, name in enumerate(("id90/9.wav", "id90/8.wav", "id6/0.wav")):
        (speech / "wav" / name).parent.mkdir(exist_ok=True)
        soundfile.write(speech / "wav" / name, noise(100 + i), 16000)
    write_lines(speech / "train.txt", [*lines[:11], *added, lines[11]])
    code, found = checked(speech)
    assert code == 1
    assert found["trials.txt"] == {}
    few_finding = ("few", None, "id6")
    assert found["train.txt"] == {
        ("listed twice", "id2/0.wav", "id2"): 2,
        ("shared speaker", None, "id90"): None,
        ("missing", "id6/1.wav", "id6"): None,
        ("missing", "id6/2.wav", "id6"): None,
        few_finding: 1,
    }
    assert (speech / "out" / "train.clean.txt").read_text().splitlines() == lines
    assert recheck(speech) == 0
    report = json.loads((speech / "out" / "check.json").read_text())["lists"][0]
    assert report["speakers"]["id6"] == {"missing": 2, "few": 1}
    assert report["lines"] == 18
    assert report["sound"] == 12
    _, found_with_one = checked(speech, "--nPerSpeaker", "1")
    assert found_with_one["train.txt"].keys() == found["train.txt"].keys() - {few_finding}


def test_all_at_once(speech, capsys):
    """Each of many speakers has another damage. One and two processes give the same findings."""
    lines = (speech / "train.txt").read_text().splitlines()
    expected = {}
    for i, (damage, kind, figure) in enumerate(DAMAGE.values()):
        speaker = f"x{i}"
        for k in range(3):
            path = speech / "wav" / speaker / f"{k}.wav"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, noise(100 + 3 * i + k), 16000)
            lines.append(f"{speaker} {speaker}/{k}.wav")
        damage(speech, speech / "wav" / speaker / "1.wav")
        expected[kind, f"{speaker}/1.wav", speaker] = figure
    write_lines(speech / "train.txt", lines)
    for processes in ("1", "2"):
        findings = {"train.txt": expected, "trials.txt": {}}
        assert checked(speech, "--processes", processes) == (1, findings)
    out = capsys.readouterr().out
    assert f"{12 + 3 * len(DAMAGE)} lines. The {12 + 2 * len(DAMAGE)} valid lines are in " in out
    assert recheck(speech) == 0


# ---------------------------------------------------------------------- lists
@pytest.mark.parametrize(
    "lines, owners, named",
    [
        (["id1 a/b.wav", "id2 c"], [("id1", False), ("id2", False)], [("a/b.wav",), ("c",)]),
        (["x/a.wav x/b.wav", "a b"], None, [("x/a.wav", "x/b.wav"), ("a", "b")]),
        (["a.wav b.wav"], None, [("a.wav", "b.wav")]),
        (["1 a b", "0 c d"], None, [("a", "b"), ("c", "d")]),
        (["a 12 None", "b 3 -1"], [("12", False), ("3", False)], [("a",), ("b",)]),
        (
            ["s LA_1 - A01 spoof", "s LA_2 - - bonafide"],
            [("s", True), ("s", False)],
            [("LA_1",), ("LA_2",)],
        ),
        (
            ["file,speaker,attack", "a.flac,s,a00", "b.flac,s,a07"],
            [("s", False), ("s", True)],
            [("a.flac",), ("b.flac",)],
        ),
        (
            ["s LA_1 bonafide target", "s LA_2 A07 spoof", "s LA_3 bonafide nontarget"],
            None,
            [("e1", "e2", "LA_1"), ("e1", "e2", "LA_2"), ("e1", "e2", "LA_3")],
        ),
    ],
)
def test_kinds_of_lists(lines, owners, named, tmp_path):
    (tmp_path / "asv.trn.txt").write_text("s e1,e2\n")
    (tmp_path / "asv.trl.txt").write_text("".join(f"{line}\r\n" for line in lines))
    listing = read_raw_list(tmp_path / "asv.trl.txt", "root")
    assert listing.owners == owners
    assert listing.named == named
    assert [*listing.header, *listing.lines] == lines


def test_table_with_a_header_and_names_without_extensions(tmp_path):
    """Files are found without their extension, and the cleaned list keeps the header."""
    folder = tmp_path / "wav" / "flac" / "s"
    folder.mkdir(parents=True)
    for i in range(3):
        soundfile.write(folder / f"{i}.flac", noise(i), 16000)
    lines = ["file,speaker,attack", "s/0,s,a00", "s/1,s,a00", "s/2,s,a03", "s/7,s,a03"]
    write_lines(tmp_path / "train.csv", lines)
    code, found = checked(tmp_path, lists=["train.csv"])
    assert code == 1
    assert found == {"train.csv": {("missing", "s/7", "s"): None, ("few", None, "s"): 1}}
    assert (tmp_path / "out" / "train.clean.csv").read_text().splitlines() == lines[:3]


@pytest.mark.parametrize(
    "pairs, level, folders",
    [
        ([("a", "a/x/1"), ("a", "a/y/1"), ("b", "b/x/1")], 0, {"a": "a", "b": "b"}),
        ([("7", "dev/a/1"), ("8", "dev/b/1")], 1, {"a": "7", "b": "8"}),
        ([("a", "x/1"), ("b", "x/2")], 0, {}),
        ([("a", "a/1")], 0, {}),
        ([("a", "1"), ("b", "2")], 0, {}),
        ([], 0, {}),
        ([("a", "x/1"), ("a", "y/1"), ("b", "z/1")], 0, {}),
        ([("a", "/data/a/1"), ("b", "/data/b/1")], 2, {"a": "a", "b": "b"}),
    ],
)
def test_which_folder_is_the_speaker(pairs, level, folders):
    speakers = [speaker for speaker, _ in pairs]
    paths = [path for _, path in pairs]
    assert speakers_by_folder(speakers, paths) == (level, folders)


# Lines of a train list, and files of trials. Speakers s2 and s3 can be in both.
train_lines = st.builds(
    lambda speaker, i: (f"s{speaker}", f"s{speaker}/{i}"), st.integers(0, 3), st.integers(0, 4)
)
tested_files = st.builds(
    lambda speaker, i: f"s{speaker}/t{i}", st.integers(2, 5), st.integers(0, 2)
)


def read_train(train, spoofed):
    """A train list of (speaker, file) pairs. `spoofed`: numbers of the lines of spoofed speech."""
    lines = [str(i) for i in range(len(train))]
    named = [(path,) for _, path in train]
    owners = [(speaker, i in spoofed) for i, (speaker, _) in enumerate(train)]
    return RawList("train", "", [], lines, named, owners)


def select_lines(listing, lines):
    """The listing with only the given lines."""
    owners = listing.owners and [listing.owners[i] for i in lines]
    return listing._replace(lines=lines, named=[listing.named[i] for i in lines], owners=owners)


def expected_duplicates(names, digests):
    """The files with the samples of an earlier file."""
    earlier = set()
    duplicates = set()
    for name in names:
        digest = digests[name]
        if digest is not None and digest in earlier:
            duplicates.add(name)
        earlier.add(digest)
    return duplicates


@given(
    train=st.lists(train_lines, max_size=20),
    trials=st.lists(st.tuples(tested_files, tested_files), max_size=6),
    least=st.integers(0, 3),
    same=st.dictionaries(st.integers(0, 30), st.integers(0, 30), max_size=6),
    broken=st.sets(st.integers(0, 30), max_size=4),
    spoofed=st.sets(st.integers(0, 19), max_size=4),
)
@settings(max_examples=60, deadline=None)
def test_cleaned_lists_are_sound_and_all_removed_lines_have_a_finding(
    train, trials, same, broken, least, spoofed
):
    listing = read_train(train, spoofed)
    test = RawList("trials", "", [], [str(i) for i in range(len(trials))], trials, None)
    results = {}
    digests = {}
    for i, name in enumerate(dict.fromkeys([*listing.files(), *test.files()])):
        if i in broken:
            results["", name] = Examined([("unreadable", None, "")])
            digests[name] = None
        else:
            digests[name] = bytes([same.get(i, i)])
            results["", name] = Examined([], 16000, digests[name])
    findings, kept = check.judge(listing, 0, [test], results, least)
    test_findings, kept_trials = check.judge(test, 0, [test], results, least)

    # Every removed line has a finding.
    files = {finding.file for finding in findings}
    speakers = {finding.speaker for finding in findings if finding.file is None}
    for i, (speaker, path) in enumerate(train):
        assert i in kept or path in files or speaker in speakers
    test_files = {finding.file for finding in test_findings}
    removed = [i for i, pair in enumerate(trials) if test_files & set(pair)]
    assert [i for i in range(len(trials)) if i not in kept_trials] == removed

    # The findings name the right files.
    duplicates = {finding.file for finding in findings if finding.kind == "duplicate"}
    assert duplicates == expected_duplicates(listing.files(), digests)
    tested = {digests[name] for name in test.files()} - {None}
    shared = {finding.file for finding in findings if finding.kind == "shared file"}
    assert shared == {name for name in listing.files() if digests[name] in tested}

    # The cleaned lists have no findings.
    clean = select_lines(listing, kept)
    clean_test = select_lines(test, kept_trials)
    assert check.judge(clean, 0, [clean_test], results, least) == ([], list(range(len(kept))))
    numbers = list(range(len(kept_trials)))
    assert check.judge(clean_test, 0, [clean_test], results, least) == ([], numbers)


# ---------------------------------------------------------------------- refused commands
def test_words_that_are_refused(tmp_path, capsys):
    (tmp_path / "wav").mkdir()
    (tmp_path / "b").mkdir()
    for name in ("train.txt", "b/train.txt"):
        (tmp_path / name).write_text("id1 a.wav\n")
    (tmp_path / "bad.txt").write_text("id1 a.wav\nid2\n")
    for words, message in (
        (
            ["--path", tmp_path / "nowhere"],
            f"--path {tmp_path}/nowhere: this folder does not exist.",
        ),
        (["--path", *[tmp_path] * 3], "one folder for each of the 2 lists, found 3 folders."),
        ([], "is missing in"),
        (["--output", tmp_path / "out"], "would have the same path"),
        (["--check", tmp_path / "bad.txt"], "bad.txt:2: expected '<speaker> <file>', found 'id2'"),
        (["--check", tmp_path / "nothing.txt"], "there is no such file"),
    ):
        lists = [tmp_path / "train.txt", tmp_path / "b" / "train.txt"]
        words = ["--check", *lists, "--path", tmp_path / "wav", *words]
        assert dataprep.main([str(word) for word in words]) == 2
        assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.clean.txt"))
    assert not (tmp_path / "out").exists()


def test_errors_of_audio_keep_their_kind_between_processes():
    error = pickle.loads(pickle.dumps(AudioError("a.wav: is empty", "empty")))
    assert isinstance(error, InputError)
    assert str(error) == "a.wav: is empty"
    assert error.kind == "empty"


# ---------------------------------------------------------------------- the start of the trainer
def test_trainer_warns_of_speakers_in_both_lists(caplog):
    utterances = []
    for speaker in range(9):
        for k in range(3):
            utterances.append(Utterance(f"s{speaker}", f"id{speaker}/x/{k}.wav"))
    train = speed_copies(utterances, [0.9, 1.1])
    with caplog.at_level(logging.WARNING):
        for tested in (range(20, 24), range(7, 12), range(8)):
            pairs = [(f"id{speaker}/y/1.wav", f"id{speaker}/z/1.wav") for speaker in tested]
            warn_of_shared_speakers(train, [(Trials.of_pairs(pairs), None)])
    end = ". The EER will be lower than the EER of new speakers. Use trials of other speakers."
    names = "s0, s1, s2, s3, s4, s5, s6, s7"
    assert caplog.messages == [
        f"warning: 2 speakers are in the train list and in the trials: s7, s8{end}",
        f"warning: 8 speakers are in the train list and in the trials: {names}{end}",
    ]


@pytest.mark.parametrize("shared", [False, True])
def test_start_of_a_run(shared, corpus, tmp_path, program):
    words = (corpus / "train_list.txt").read_text().split()
    first, second, third = words[1:6:2]
    write_lines(tmp_path / "trials.txt", [f"1 {first} {second}", f"0 {first} {third}"])
    words = ["--max_steps", 1]
    if shared:
        words += ["--test_list", tmp_path / "trials.txt"]
    code, out, err = program(*small_run(corpus, tmp_path / "run", *words))
    assert code == 0
    message = "1 speaker is in the train list and in the trials: id10001"
    assert (message in out + err) == shared
