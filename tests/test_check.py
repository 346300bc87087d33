"""Check of dataprep.py: a corpus with a file for every kind of finding, cleaned lists, overlap of lists, and what the start of the trainer warns of."""

import json
import logging
import os
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
from prep.check import Examined
from training.task import warn_of_shared_speakers

SPEECH = os.environ.get("SPEECH_DATA")
TRAIN = [(f"id{speaker}", f"id{speaker}/{i}.wav") for speaker in range(4) for i in range(3)]
TESTED = [f"id9{speaker}/{i}.wav" for speaker in range(2) for i in range(2)]


def drawn_speech(count):
    return [0.1 * np.random.default_rng(i).standard_normal(16000) for i in range(count)]


def real_speech(count):
    if not SPEECH:
        pytest.skip("SPEECH_DATA is not set")
    paths = sorted(Path(SPEECH, "speechocean_mini", "train").rglob("*.flac"))[:count]
    return [soundfile.read(path, dtype="int16")[0] for path in paths]


@pytest.fixture(params=[drawn_speech, real_speech])
def speech(request, tmp_path):
    """train.txt of four speakers with three utterances, trials.txt of two others, files in wav/."""
    names = [name for _, name in TRAIN] + TESTED
    for name, x in zip(names, request.param(len(names)), strict=True):
        (tmp_path / "wav" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "wav" / name, x, 16000)
    (tmp_path / "train.txt").write_text("".join(f"{who} {name}\n" for who, name in TRAIN))
    (tmp_path / "trials.txt").write_text(
        "".join(f"{int(a[:4] == b[:4])} {a} {b}\n" for a in TESTED for b in TESTED if a < b)
    )
    return tmp_path


def checked(folder, *words, lists=("train.txt", "trials.txt"), output="out"):
    """-> exit code, {name of a list: {(kind, file or None, speaker): figure}}."""
    code = dataprep.main(
        [
            "--check",
            *(str(folder / name) for name in lists),
            "--path",
            str(folder / "wav"),
            "--max_frames",
            "90",
            "--output",
            str(folder / output),
            "--processes",
            "1",
            *words,
        ]
    )
    report = json.loads((folder / output / "check.json").read_text()) if code < 2 else {"lists": []}
    return code, {
        Path(each["list"]).name: {
            (f["kind"], f["file"], f["speaker"]): f["figure"] for f in each["findings"]
        }
        for each in report["lists"]
    }


def recheck(folder):
    """Exit code for the cleaned lists."""
    return checked(
        folder / "out",
        "--path",
        str(folder / "wav"),
        lists=("train.clean.txt", "trials.clean.txt"),
        output="again",
    )[0]


def test_sound_corpus(speech, capsys):
    assert checked(speech) == (0, {"train.txt": {}, "trials.txt": {}})
    out = capsys.readouterr().out
    assert "train.txt: 12 lines, 12 sound" in out and "16 files" in out and "all sound" in out
    for name in ("train", "trials"):
        assert (speech / "out" / f"{name}.clean.txt").read_text() == (
            speech / f"{name}.txt"
        ).read_text()


# ---------------------------------------------------------------------- every kind of finding
BAD = "id1/1.wav"


def rewrite(change):
    """Damage that changes samples, and what libsndfile writes."""

    def damage(folder, path):
        x, _ = soundfile.read(path, dtype="float64")
        x, options = change(x)
        path.unlink()
        soundfile.write(path, x, **({"samplerate": 16000} | options))

    return damage


def cut(keep, format):
    def damage(folder, path):
        x = soundfile.read(path, dtype="int16")[0]
        soundfile.write(path, x, 16000, format=format)
        data = path.read_bytes()
        path.write_bytes(data[: int(keep * len(data))])

    return damage


def flipped(folder, path):
    """A FLAC file with one wrong byte."""
    soundfile.write(path, soundfile.read(path, dtype="int16")[0], 16000, format="FLAC")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def with_value(value):
    def change(x):
        x[500] = value
        return x, {"subtype": "FLOAT"}

    return rewrite(change)


def duplicate(folder, path):
    """The samples of another speaker's file, in another format."""
    soundfile.write(
        path,
        soundfile.read(folder / "wav" / "id0" / "2.wav", dtype="int16")[0],
        16000,
        format="FLAC",
    )


def like_a_tested_one(folder, path):
    shutil.copyfile(folder / "wav" / TESTED[0], path)


DAMAGE = {
    "missing": (lambda folder, path: path.unlink(), "missing", None),
    "text": (
        lambda folder, path: path.write_text("<html>404 Not Found</html>"),
        "unreadable",
        None,
    ),
    "no bytes": (lambda folder, path: path.write_bytes(b""), "unreadable", None),
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
        rewrite(lambda x: (x / x.std() * 10 ** (-71 / 20), {"subtype": "FLOAT"})),
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
    "shared file": (like_a_tested_one, "shared file", None),
}
OF_LISTS = {"listed twice", "shared speaker", "few"}


def test_every_kind_is_tested():
    assert {kind for _, kind, _ in DAMAGE.values()} | OF_LISTS == set(check.PROBLEM_KINDS)


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_file(name, speech, capsys):
    damage, kind, figure = DAMAGE[name]
    damage(speech, speech / "wav" / BAD)
    assert checked(speech) == (1, {"train.txt": {(kind, BAD, "id1"): figure}, "trials.txt": {}})
    out = capsys.readouterr().out
    assert (
        "12 lines, 11 sound" in out
        and f"  {kind} " in out
        and BAD in out
        and "most findings: id1 1\n" in out
    )
    lines = (speech / "train.txt").read_text().splitlines(keepends=True)
    assert (speech / "out" / "train.clean.txt").read_text() == "".join(
        line for line in lines if BAD not in line
    ) and recheck(speech) == 0


def test_just_long_and_loud_enough(speech):
    rewrite(lambda x: (np.resize(x, 14400), {}))(speech, speech / "wav" / BAD)
    rewrite(lambda x: (x / x.std() * 10 ** (-69 / 20), {"subtype": "FLOAT"}))(
        speech, speech / "wav" / "id1/2.wav"
    )
    assert checked(speech)[0] == 0
    (speech / "wav" / BAD).write_bytes((speech / "wav" / BAD).read_bytes()[:44] + bytes(1000))
    assert checked(speech, "--max_frames", "0") == (
        1,
        {"train.txt": {("truncated", BAD, "id1"): None}, "trials.txt": {}},
    )
    soundfile.write(speech / "wav" / BAD, np.sin(np.arange(99)), 16000)
    assert checked(speech, "--max_frames", "0")[0] == 0


def test_a_bad_file_of_trials_takes_its_trials_along(speech):
    (speech / "wav" / TESTED[1]).unlink()
    assert checked(speech) == (
        1,
        {"train.txt": {}, "trials.txt": {("missing", TESTED[1], "id90"): None}},
    )
    kept = (speech / "out" / "trials.clean.txt").read_text().splitlines()
    assert len(kept) == 3 and kept == [
        line for line in (speech / "trials.txt").read_text().splitlines() if TESTED[1] not in line
    ]


def test_findings_of_lists(speech):
    lines = (speech / "train.txt").read_text().splitlines()
    more = [
        "id2 id2/0.wav",
        "id5 id3/2.wav",
        "id90 id90/9.wav",
        "id90 id90/8.wav",
        "id6 id6/0.wav",
        "id6 id6/1.wav",
        "id6 id6/2.wav",
    ]
    for i, name in enumerate(("id90/9.wav", "id90/8.wav", "id6/0.wav")):
        (speech / "wav" / name).parent.mkdir(exist_ok=True)
        soundfile.write(
            speech / "wav" / name,
            0.1 * np.random.default_rng(100 + i).standard_normal(16000),
            16000,
        )
    (speech / "train.txt").write_text(
        "".join(f"{line}\n" for line in [*lines[:9], *lines[9:11], *more[:1], *more[2:], lines[11]])
    )
    code, found = checked(speech)
    assert (
        code == 1
        and found["trials.txt"] == {}
        and found["train.txt"]
        == {
            ("listed twice", "id2/0.wav", "id2"): 2,
            ("shared speaker", None, "id90"): None,
            ("missing", "id6/1.wav", "id6"): None,
            ("missing", "id6/2.wav", "id6"): None,
            ("few", None, "id6"): 1,
        }
    )
    assert (speech / "out" / "train.clean.txt").read_text().splitlines() == lines and recheck(
        speech
    ) == 0
    report = json.loads((speech / "out" / "check.json").read_text())["lists"][0]
    assert report["speakers"]["id6"] == {"missing": 2, "few": 1} and (
        report["lines"],
        report["sound"],
    ) == (18, 12)
    assert checked(speech, "--nPerSpeaker", "1")[1]["train.txt"].keys() == found[
        "train.txt"
    ].keys() - {("few", None, "id6")}


def test_all_at_once(speech, capsys):
    """Each speaker has a damage; the table, the report and what is left agree, on both cores too."""
    lines = []
    for i, (damage, _, _) in enumerate(DAMAGE.values()):
        for k in range(3):
            path = speech / "wav" / f"x{i}" / f"{k}.wav"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(
                path, 0.1 * np.random.default_rng(100 + 3 * i + k).standard_normal(16000), 16000
            )
            lines.append(f"x{i} x{i}/{k}.wav")
        damage(speech, speech / "wav" / f"x{i}" / "1.wav")
    with (speech / "train.txt").open("a") as file:
        file.write("\n".join(lines))
    expected = {
        (kind, f"x{i}/1.wav", f"x{i}"): figure
        for i, (_, kind, figure) in enumerate(DAMAGE.values())
    }
    for processes in ("1", "2"):
        assert checked(speech, "--processes", processes) == (
            1,
            {"train.txt": expected, "trials.txt": {}},
        )
    assert (
        f"{12 + 3 * len(DAMAGE)} lines, {12 + 2 * len(DAMAGE)} sound" in capsys.readouterr().out
        and recheck(speech) == 0
    )


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
    assert (listing.owners, listing.named, [*listing.header, *listing.lines]) == (
        owners,
        named,
        lines,
    )


def test_names_as_other_lists_have_them(tmp_path):
    """Found without an extension; the header of a table stays."""
    (tmp_path / "wav" / "flac" / "s").mkdir(parents=True)
    for i in range(3):
        soundfile.write(
            tmp_path / "wav" / "flac" / "s" / f"{i}.flac",
            0.1 * np.random.default_rng(i).standard_normal(16000),
            16000,
        )
    lines = ["file,speaker,attack", "s/0,s,a00", "s/1,s,a00", "s/2,s,a03", "s/7,s,a03"]
    (tmp_path / "train.csv").write_text("".join(f"{line}\n" for line in lines))
    code, found = checked(tmp_path, lists=["train.csv"])
    assert code == 1 and found == {
        "train.csv": {("missing", "s/7", "s"): None, ("few", None, "s"): 1}
    }
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
    assert speakers_by_folder([speaker for speaker, _ in pairs], [path for _, path in pairs]) == (
        level,
        folders,
    )


names = st.integers(0, 3).flatmap(
    lambda speaker: st.tuples(
        st.just(f"s{speaker}"), st.integers(0, 4).map(lambda i: f"s{speaker}/{i}")
    )
)
tested = st.integers(2, 5).flatmap(
    lambda speaker: st.integers(0, 2).map(lambda i: f"s{speaker}/t{i}")
)


@given(
    train=st.lists(names, max_size=20),
    trials=st.lists(st.tuples(tested, tested), max_size=6),
    least=st.integers(0, 3),
    alike=st.dictionaries(st.integers(0, 30), st.integers(0, 30), max_size=6),
    broken=st.sets(st.integers(0, 30), max_size=4),
    spoofed=st.sets(st.integers(0, 19), max_size=4),
)
@settings(max_examples=60, deadline=None)
def test_cleaned_lists_are_sound_and_every_line_that_they_lack_is_explained(
    train, trials, alike, broken, least, spoofed
):
    listing = RawList(
        "train",
        "",
        [],
        [str(i) for i in range(len(train))],
        [(path,) for _, path in train],
        [(speaker, i in spoofed) for i, (speaker, _) in enumerate(train)],
    )
    test = RawList("trials", "", [], [str(i) for i in range(len(trials))], trials, None)
    examined = {}
    for i, name in enumerate(dict.fromkeys([*listing.files(), *test.files()])):
        examined["", name] = (
            Examined([("unreadable", None, "")])
            if i in broken
            else Examined([], 16000, bytes([alike.get(i, i)]))
        )
    findings, lines = check.judge(listing, 0, [test], examined, least)
    of_test, kept = check.judge(test, 0, [test], examined, least)

    files, speakers = {f.file for f in findings}, {f.speaker for f in findings if f.file is None}
    assert all(
        i in lines or train[i][1] in files or train[i][0] in speakers for i in range(len(train))
    )
    assert [i for i in range(len(trials)) if i not in kept] == [
        i for i, sides in enumerate(trials) if {f.file for f in of_test} & {*sides}
    ]
    duplicates = {f.file for f in findings if f.kind == "duplicate"}
    order = listing.files()
    assert duplicates == {
        b
        for k, b in enumerate(order)
        if examined["", b].digest
        and examined["", b].digest in [examined["", a].digest for a in order[:k]]
    }
    tested_digests = {examined["", name].digest for name in test.files()} - {None}
    assert {f.file for f in findings if f.kind == "shared file"} == {
        name for name in order if examined["", name].digest in tested_digests
    }

    clean = listing._replace(
        lines=lines,
        named=[listing.named[i] for i in lines],
        owners=[listing.owners[i] for i in lines],
    )
    clean_test = test._replace(lines=kept, named=[test.named[i] for i in kept])
    assert check.judge(clean, 0, [clean_test], examined, least) == ([], [*range(len(lines))])
    assert check.judge(clean_test, 0, [clean_test], examined, least) == ([], [*range(len(kept))])


# ---------------------------------------------------------------------- what is refused
def test_words_that_are_refused(tmp_path, capsys):
    (tmp_path / "wav").mkdir()
    (tmp_path / "b").mkdir()
    for name in ("train.txt", "b/train.txt"):
        (tmp_path / name).write_text("id1 a.wav\n")
    (tmp_path / "bad.txt").write_text("id1 a.wav\nid2\n")
    for words, message in (
        (["--path", tmp_path / "nowhere"], "got no folder"),
        (["--path", *[tmp_path] * 3], "one for each of 2 lists, got 3"),
        ([], "none of its files is in"),
        (["--output", tmp_path / "out"], "would be one file"),
        (["--check", tmp_path / "bad.txt"], "bad.txt:2: want '<speaker> <file>', got 'id2'"),
        (["--check", tmp_path / "nothing.txt"], "No such file"),
    ):
        words = [
            "--check",
            tmp_path / "train.txt",
            tmp_path / "b" / "train.txt",
            "--path",
            tmp_path / "wav",
            *words,
        ]
        assert dataprep.main([*map(str, words)]) == 2 and message in capsys.readouterr().err
    assert not [*tmp_path.rglob("*.clean.txt")] and not (tmp_path / "out").exists()


def test_errors_of_audio_tell_their_kind_after_a_worker_sent_them():
    import pickle

    error = pickle.loads(pickle.dumps(AudioError("a.wav: is empty", "empty")))
    assert isinstance(error, InputError) and (str(error), error.kind) == (
        "a.wav: is empty",
        "empty",
    )


# ---------------------------------------------------------------------- the start of the trainer
def test_trainer_warns_of_speakers_who_are_like_a_tested_one(caplog):
    train = speed_copies(
        [Utterance(f"s{i}", f"id{i}/x/{k}.wav") for i in range(9) for k in range(3)], [0.9, 1.1]
    )
    with caplog.at_level(logging.WARNING):
        for shared in (range(20, 24), range(7, 12), range(8)):
            warn_of_shared_speakers(
                train,
                [(Trials.of_pairs([(f"id{i}/y/1.wav", f"id{i}/z/1.wav") for i in shared]), None)],
            )
    assert [message.partition(":")[2].partition(":")[0] for message in caplog.messages] == [
        " 2 speakers of the trials are in the train list too (s7, s8)",
        " 8 speakers of the trials are in the train list too (s0, s1, s2, s3, s4, ...)",
    ]


@pytest.mark.parametrize("shared", [False, True])
def test_start_of_a_run(shared, corpus, tmp_path, program):
    lines = (corpus / "train_list.txt").read_text().split()[1:6:2]
    (tmp_path / "trials.txt").write_text(f"1 {lines[0]} {lines[1]}\n0 {lines[0]} {lines[2]}\n")
    code, out, err = program(
        *small_run(
            corpus,
            tmp_path / "run",
            "--max_steps",
            1,
            *(["--test_list", tmp_path / "trials.txt"] if shared else []),
        )
    )
    assert (
        code == 0
        and ("1 speakers of the trials are in the train list too (id10001)" in out + err) == shared
    )
