"""CN-Celeb in a small imitation: download, lists, trials, and joined utterances."""

import io
import itertools

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from loopback import catalogue, kill_until_done, run, tree
from test_archives import tarred

from corpus.files import check_files
from corpus.lists import read_train_list, read_trials
from prep.cnceleb import EXPECTED
from prep.constants import CATALOGUES
from prep.joining import utterance_groups
from prep.sources import read_catalogue

# Lengths of the utterances in tenths of a second: speaker/file -> length.
FIRST = {
    "id00000/singing-01-001": 4,
    "id00000/singing-01-002": 7,
    "id00000/singing-02-001": 12,
    "id00000/singing-02-002": 3,
    "id00000/speech-01-001": 2,
    "id00001/drama-01-001": 10,
    "id00001/drama-01-002": 9,
    "id00800/movie-01-001": 8,
    "id00800/movie-01-002": 8,
    "id00801/vlog-01-001": 8,
}
SECOND = {"id10000/recitation-01-001": 5, "id10000/recitation-01-002": 6}
# Utterances below 1 s of one speaker and one genre are joined.
JOINED = {
    "CN-Celeb_flac/id00000/singing-01-001+2.flac": (
        "CN-Celeb_flac/data/id00000/singing-01-001.flac",
        "CN-Celeb_flac/data/id00000/singing-01-002.flac",
        "CN-Celeb_flac/data/id00000/singing-02-002.flac",
    ),
    "CN-Celeb2_flac/id10000/recitation-01-001+1.flac": (
        "CN-Celeb2_flac/data/id10000/recitation-01-001.flac",
        "CN-Celeb2_flac/data/id10000/recitation-01-002.flac",
    ),
}
TRIALS = """id00800-enroll test/id00800-movie-01-003.wav 1
id00800-enroll test/id00801-vlog-02-001.wav 0
id00801-enroll test/id00801-vlog-02-001.wav 1
"""
LISTS = {
    "dev/dev.lst": "id00000\nid00001\n",
    "eval/lists/enroll.lst": (
        "id00800-enroll enroll/id00800-enroll.wav\nid00801-enroll enroll/id00801-enroll.wav\n"
    ),
    "eval/lists/enroll.map": (
        "id00800-enroll id00800-movie-01-001.wav id00800-movie-01-002.wav\n"
        "id00801-enroll id00801-vlog-01-001.wav\n"
    ),
    "eval/lists/test.lst": "test/id00800-movie-01-003.wav\ntest/id00801-vlog-02-001.wav\n",
    "eval/lists/trials.lst": TRIALS,
}
EVALUATION = (
    "enroll/id00800-enroll",
    "enroll/id00801-enroll",
    "test/id00800-movie-01-003",
    "test/id00801-vlog-02-001",
)


def flac(seed, tenths):
    """Bytes of a FLAC file of noise."""
    x = np.random.default_rng(seed).integers(-9999, 9999, 1600 * tenths).astype(np.int16)
    data = io.BytesIO()
    soundfile.write(data, x, 16000, subtype="PCM_16", format="FLAC")
    return data.getvalue()


@pytest.fixture(scope="module")
def corpora():
    """{path: contents} of both corpora."""
    files = {f"CN-Celeb_flac/{name}": text.encode() for name, text in LISTS.items()}
    lengths = {f"CN-Celeb_flac/data/{name}": length for name, length in FIRST.items()}
    lengths |= {f"CN-Celeb2_flac/data/{name}": length for name, length in SECOND.items()}
    lengths |= dict.fromkeys((f"CN-Celeb_flac/eval/{name}" for name in EVALUATION), 8)
    for seed, (name, length) in enumerate(lengths.items()):
        files[f"{name}.flac"] = flac(seed, length)
    return files


@pytest.fixture
def extracted(corpora, tmp_path):
    """The folder of both corpora."""
    for name, data in corpora.items():
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "data"


def part_of(files, folder):
    return {name: data for name, data in files.items() if name.startswith(f"{folder}/")}


@pytest.fixture
def host(server, corpora, tmp_path):
    """Puts the archives on the server. Returns the words of the command."""
    first = tarred(tmp_path / "t", part_of(corpora, "CN-Celeb_flac"), "").read_bytes()
    second = tarred(tmp_path / "t", part_of(corpora, "CN-Celeb2_flac")).read_bytes()
    server.files = {
        "cn-celeb_v2.tar.gz": first,
        "cn-celeb2_v2.tar.gzaa": second[:900],
        "cn-celeb2_v2.tar.gzab": second[900:1000],
        "cn-celeb2_v2.tar.gzac": second[1000:],
    }
    sources = read_catalogue(CATALOGUES / "cnceleb.yaml").sources
    assert {source.name for source in sources if not source.parts} == {*server.files}
    fields = {}
    for source in sources:
        entry = {"into": source.into, "after": source.after} if source.into else {}
        if source.parts:
            assert source.parts == tuple(sorted(server.files))[:3]
            entry["parts"] = f"{source.name}a?"
        fields[source.name] = entry
    listed = catalogue(tmp_path / "list.yaml", server, fields)
    return ["cnceleb", tmp_path / "data", "--file_list", listed, "--processes", 1]


def test_lists(host, corpora, server, tmp_path, capsys):
    data = tmp_path / "data"
    assert run(*host) == 0
    out = capsys.readouterr().out
    found = tree(data)
    assert {name: found[name] for name in corpora} == corpora
    train = [
        f"{utterance.speaker} {utterance.path}"
        for utterance in read_train_list(f"{data}/train_list.txt")
    ]
    expected = [f"{name[:7]} CN-Celeb_flac/data/{name}.flac" for name in FIRST if name < "id008"]
    expected += [f"{name[:7]} CN-Celeb2_flac/data/{name}.flac" for name in SECOND]
    assert train == expected
    assert found["trials.txt"].decode() == (
        "1 eval/enroll/id00800-enroll.flac eval/test/id00800-movie-01-003.flac\n"
        "0 eval/enroll/id00800-enroll.flac eval/test/id00801-vlog-02-001.flac\n"
        "1 eval/enroll/id00801-enroll.flac eval/test/id00801-vlog-02-001.flac\n"
    )
    for name in ("trials.txt", "trials_separate.txt"):
        trials = read_trials(data / name)
        check_files(data / "CN-Celeb_flac", trials.paths(), "")
        assert trials.label.tolist() == [True, False, True]
    assert trials.models == [
        ("data/id00800/movie-01-001.flac", "data/id00800/movie-01-002.flac"),
        ("data/id00801/vlog-01-001.flac",),
    ]
    assert f"Wrote {data}/train_list.txt with 3 speakers and 9 files." in out
    assert "with 2 target trials and 1 non-target trials of 2 enrolments." in out
    assert f"--train_path {data} --test_list {data}/trials.txt --test_path {data}/CN-C" in out
    assert "training speakers in dev.lst: expected 800, found 2. Check" in out
    assert "trials in trials.lst: expected 3,484,292, found 3." in out
    assert out.count("warning: ") == len(EXPECTED)
    server.requests.clear()
    assert run(*host) == 0
    assert not server.requests
    assert tree(data) == found


def samples(path):
    return soundfile.read(path, dtype="int16")[0]


def test_joined_utterances(extracted, corpora, capsys):
    words = ["cnceleb", extracted, "--lists_only", "--join_seconds", 1, "--processes", 1]
    assert run(*words) == 0
    made = tree(extracted / "joined_1s")
    assert {*made} == {*JOINED}
    for name, parts in JOINED.items():
        expected = np.concatenate([samples(extracted / part) for part in parts])
        np.testing.assert_array_equal(samples(extracted / "joined_1s" / name), expected)
    lines = (extracted / "train_list_1s.txt").read_text().splitlines()
    assert lines == [
        "id00000 CN-Celeb_flac/data/id00000/singing-02-001.flac",
        "id00000 CN-Celeb_flac/data/id00000/speech-01-001.flac",
        "id00000 joined_1s/CN-Celeb_flac/id00000/singing-01-001+2.flac",
        "id00001 CN-Celeb_flac/data/id00001/drama-01-001.flac",
        "id00001 CN-Celeb_flac/data/id00001/drama-01-002.flac",
        "id10000 joined_1s/CN-Celeb2_flac/id10000/recitation-01-001+1.flac",
    ]
    assert "Joined 5 utterances below 1 s to 2 files in" in capsys.readouterr().out
    found = tree(extracted)
    assert {name: found[name] for name in corpora} == corpora
    # A complete file is kept, and a file that lost its end is written again.
    kept, broken = (extracted / "joined_1s" / name for name in JOINED)
    time = kept.stat().st_mtime_ns
    broken.write_bytes(broken.read_bytes()[:-100])
    assert run(*words) == 0
    assert kept.stat().st_mtime_ns == time
    assert tree(extracted) == found


def test_killed_joining(extracted):
    words = ["cnceleb", extracted, "--lists_only", "--join_seconds", 1, "--processes", 1]
    assert kill_until_done(words, 1, 11) > 0
    found = tree(extracted)
    assert {name for name in found if name.startswith("joined")} == {
        f"joined_1s/{name}" for name in JOINED
    }
    assert run(*words, "--processes", 2) == 0
    assert tree(extracted) == found


def test_file_that_cannot_be_joined(extracted, capsys):
    path = extracted / "CN-Celeb_flac/data/id00000/singing-01-002.flac"
    path.write_bytes(b"fLaC")
    assert run("cnceleb", extracted, "--lists_only", "--join_seconds", 1, "--processes", 1) == 2
    assert "skipped 1 of 9 files, which cannot be used" in capsys.readouterr().err
    assert "singing-01-002.flac" in (extracted / "join_failed.txt").read_text()
    lines = (extracted / "train_list_1s.txt").read_text().splitlines()
    assert "id00000 joined_1s/CN-Celeb_flac/id00000/singing-01-001+1.flac" in lines


@given(st.lists(st.integers(1, 30)), st.integers(1, 20))
def test_groups(lengths, least):
    """Every short utterance is in one group. Only a single group may be short."""
    frames = {str(i): length for i, length in enumerate(lengths)}
    groups = utterance_groups(frames, least)
    short = [name for name, length in frames.items() if length < least]
    assert list(itertools.chain(*groups)) == short
    totals = []
    for group in groups:
        totals.append(sum(frames[name] for name in group))
    assert len(totals) == 1 or all(total >= least for total in totals)
    # Without its last file a group is too short, except the last group, which has the rest.
    for group in groups[:-1]:
        assert sum(frames[name] for name in group[:-1]) < least


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("dev/dev.lst", "id00000\nid00002\n", "for each speaker, found none for id00002. Extract"),
        ("dev/dev.lst", "\n", "dev.lst: expected lines, found none."),
        (
            "eval/lists/test.lst",
            "test/id00801-vlog-02-001.wav\ntest/x.wav\n",
            "test.lst: cannot find 1 of 2 files in",
        ),
        (
            "eval/lists/trials.lst",
            TRIALS + "id00800-enroll test/x.wav 0\n",
            "trials.lst:4: expected '<enrolment> <file> 1|0' with an enrolment of enroll.lst",
        ),
        ("eval/lists/trials.lst", "id00800-enroll 1\n", "trials.lst:1: expected '<enrolment>"),
    ],
)
def test_wrong_lists(name, text, message, extracted, capsys):
    (extracted / "CN-Celeb_flac" / name).write_text(text)
    assert run("cnceleb", extracted, "--lists_only") == 2
    assert message in capsys.readouterr().err
    assert not (extracted / "trials.txt").exists()


@pytest.mark.parametrize(
    "text, message",
    [
        (None, "enroll.map: this file does not exist."),
        ("id00800-enroll id00800-movie-01-001.wav\n", "2 enrolments, found none for id00801-enr"),
        ("id00800-enroll id00800-movie-09-001.wav\n", "cannot find 1 of 1 files in"),
    ],
)
def test_unusable_map(text, message, extracted, capsys):
    """The trials with joined files do not need the map."""
    path = extracted / "CN-Celeb_flac/eval/lists/enroll.map"
    path.unlink()
    if text:
        path.write_text(text)
    assert run("cnceleb", extracted, "--lists_only") == 0
    out = capsys.readouterr().out
    assert message in out
    assert "trials_separate.txt is not written." in out
    assert (extracted / "trials.txt").exists()
    assert not (extracted / "trials_separate.txt").exists()


def test_missing_and_repeated_speakers(extracted, tmp_path, capsys):
    second = extracted / "CN-Celeb2_flac/data"
    (second / "id10000").rename(second / "id00001")
    assert run("cnceleb", extracted, "--lists_only") == 2
    assert "expected different speakers in CN-Celeb 1 and 2, found id00001 in" in (
        capsys.readouterr().err
    )
    (extracted / "CN-Celeb2_flac").rename(tmp_path / "away")
    assert run("cnceleb", extracted, "--lists_only") == 0
    assert "this folder does not exist. CN-Celeb2 is left out." in capsys.readouterr().out
    assert run("cnceleb", tmp_path / "nothing", "--lists_only") == 2
    assert "CN-Celeb_flac: this folder does not exist. Extract" in capsys.readouterr().err
