"""Lists of any tree of audio files, trials, merged lists, and Kaldi's data folders.

The last tests use real speech. They are skipped without SPEECH_DATA.
"""

import itertools
import math
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import dataprep
from common.errors import InputError
from corpus.embeddings import embedding_tree
from corpus.files import audio_below
from corpus.lists import read_train_list, read_trials
from corpus.roots import Folder
from prep import kaldi, merging, trees, trial_drawing
from prep.asvspoof import ASV, enrolment_files
from prep.output import write_lists
from prep.spoofing import look_for_lists

SPEECH = Path(os.environ.get("SPEECH_DATA", "/nonexistent"))
needs_speech = pytest.mark.skipif(not SPEECH.is_dir(), reason="no SPEECH_DATA")
NAME = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Z"), exclude_characters="/\ufeff"),
    min_size=1,
    max_size=8,
).filter(lambda x: set(x) != {"."})


def make_files(folder, paths):
    """Makes empty files below the folder, and returns the folder."""
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return folder


def lines_of(path):
    """Returns the lines of a text file."""
    return path.read_text(encoding="utf-8").splitlines()


def run(*words):
    """Runs dataprep.py, and returns the exit code."""
    return dataprep.main([str(word) for word in words])


def words_of(path):
    """Returns the words of every line of a text file."""
    return [line.split() for line in lines_of(path)]


def speakers_of_list(path):
    """Returns the speakers of a train list."""
    return {utterance.speaker for utterance in read_train_list(path)}


def texts(folder, names=None):
    """Returns {file name: text} of the files of a folder, or of the given files only."""
    return {name: (folder / name).read_text() for name in names or os.listdir(folder)}


# Six speakers with two sessions of three files.
PATHS = []
for speaker, video, number in itertools.product(range(6), range(2), range(3)):
    PATHS.append(f"id{speaker}/video{video}/{number}.wav")


@pytest.fixture
def tree(tmp_path):
    """A folder with the files PATHS."""
    return make_files(tmp_path / "tree", PATHS)


# ---------------------------------------------------------------------- speakers
def test_train_list(tree, tmp_path):
    make_files(tree, ["id0/readme.txt", "id0/video0/x.FLAC"])
    (tree / "id9").symlink_to(tree / "id0")
    assert run("--make_list", tree, "--output", tmp_path / "out") == 0
    linked = [path.replace("id0", "id9") for path in PATHS if "id0" in path]
    expected = sorted([*PATHS, "id0/video0/x.FLAC", *linked, "id9/video0/x.FLAC"])
    lines = lines_of(tmp_path / "out" / "train_list.txt")
    assert lines == [f"{path[:3]} {path}" for path in expected]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["train_list.txt"]


@pytest.mark.parametrize(
    "words, speakers",
    [
        (["--speaker_level", 2], {"video0": 18, "video1": 18}),
        (["--speaker_regex", r"^id(\d)/video1"], {str(s): 3 for s in range(6)}),
        (["--speaker_regex", r"([02])\.wav$"], {"0": 12, "2": 12}),
    ],
)
def test_where_the_speaker_is(tree, tmp_path, capsys, words, speakers):
    assert run("--make_list", tree, "--output", tmp_path / "out", *words) == 0
    utterances = read_train_list(tmp_path / "out" / "train_list.txt")
    assert Counter(u.speaker for u in utterances) == speakers
    left_out = 36 - sum(speakers.values())
    warning = f"Files left out of the lists: {left_out}."
    assert (warning in capsys.readouterr().out) == (left_out > 0)


def test_speakers_with_few_files(tree, tmp_path, capsys):
    make_files(tree, ["few/1.wav", "some/1.wav", "some/2.wav", "loose.wav"])
    assert run("--make_list", tree, "--output", tmp_path / "out", "--min_files", 2) == 0
    speakers = speakers_of_list(tmp_path / "out" / "train_list.txt")
    assert speakers == {"id0", "id1", "id2", "id3", "id4", "id5", "some"}
    out = capsys.readouterr().out
    assert "fewer than 2 files (--min_files). Speakers left out of the lists: 1 of 8." in out
    assert "for example loose.wav. Files left out of the lists: 1." in out


@pytest.mark.parametrize(
    "words, message",
    [
        (
            ["--speaker_level", "4"],
            "--speaker_level 4 finds no speaker in the paths of the 36 files, for example "
            "id0/video0/0.wav.",
        ),
        (["--speaker_regex", "(x)"], "--speaker_regex (x) finds no speaker"),
        (["--speaker_regex", "id."], "expected one pair of brackets"),
        (["--speaker_regex", "(id"], "expected a regular expression, found '(id'"),
        (
            ["--min_files", "7"],
            "--min_files: expected speakers with at least 7 files, but the 6 speakers of",
        ),
        (
            ["--test_speakers", "7"],
            "--test_speakers: expected 1 to 6 speakers (the corpus has 6), found 7",
        ),
        (
            ["--test_speakers", "1%"],
            "--test_speakers: expected 1 to 6 speakers (the corpus has 6), found 0",
        ),
        (
            ["--test_speakers", "0.1"],
            "expected a number such as 40 or a share such as 10%, found '0.1'",
        ),
        (["--test_speakers", "1"], "there are no two test speakers for a non-target trial"),
        (
            ["--test_speakers", "2", "--speaker_table", "{tree}/table"],
            "--speaker_table: expected the sex of all 2 test speakers, found no sex of id",
        ),
    ],
)
def test_unusable_options(tree, tmp_path, capsys, words, message):
    (tree / "table").write_text("id0 m\nid1 m\nid2 f\n")
    words = [word.format(tree=tree) for word in words]
    try:
        code = run("--make_list", tree, "--output", tmp_path / "out", *words, "--seed", 1)
    except SystemExit as exit:
        code = exit.code
    assert code == 2
    assert message.format(tree=tree) in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("mode", ["--make_list", "--from_kaldi"])
def test_a_folder_that_does_not_exist(mode, tmp_path, capsys):
    assert run(mode, tmp_path / "nowhere", "--output", tmp_path / "out") == 2
    assert f"{tmp_path}/nowhere: this folder does not exist. Give a " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def locked(monkeypatch):
    """A set of folders that cannot be read. Permissions do not stop the user root."""
    folders = set()

    def refusing(function):
        def call(path="."):
            if os.fspath(path) in folders:
                raise PermissionError(13, "Permission denied", os.fspath(path))
            return function(path)

        return call

    monkeypatch.setattr(os, "scandir", refusing(os.scandir))
    monkeypatch.setattr(os, "listdir", refusing(os.listdir))
    return folders


def test_folders_that_cannot_be_read(tree, locked, tmp_path, capsys):
    """No folder is left out silently, wherever files are searched."""
    folder = make_files(tmp_path / "data", ["id0/a/1.wav", "id1/b/1.wav", "id1/b/2.npy"])
    locked.add(str(folder / "id1/b"))
    output = ("--output", tmp_path / "out")
    message = f"error: {folder}/id1/b: this folder cannot be read (Permission denied). Change its"
    for words in (["make-list", folder, *output], ["pack", "--path", folder, *output]):
        assert run(*words) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
    for search in (embedding_tree, lambda path: Folder(path).glob("*/*/*.wav")):
        with pytest.raises(InputError, match="id1/b: this folder cannot be read"):
            search(folder)


def test_lists_in_folders_that_cannot_be_read(locked, tmp_path):
    """The lists of a corpus are searched, and an enrolment list that is not found is no error."""
    place = tmp_path / ASV
    make_files(tmp_path, [f"{ASV}/inner/a.txt"])
    enrolment = "LA_0001 LA_E_1,LA_E_2\n"
    (place / "ASVspoof2019.LA.asv.dev.female.trn.txt").write_text(enrolment)
    assert enrolment_files(tmp_path, "dev") == {"LA_E_1", "LA_E_2"}
    assert len(look_for_lists([tmp_path], tmp_path / "none").lists) == 2
    for folder, search in (
        (place, lambda: enrolment_files(tmp_path, "dev")),
        (place / "inner", lambda: look_for_lists([tmp_path], tmp_path / "none")),
    ):
        # A search may add a slash.
        locked.update({str(folder), f"{folder}/"})
        with pytest.raises(InputError, match="this folder cannot be read"):
            search()
        locked.clear()


def test_links_without_end(tmp_path, capsys):
    folder = make_files(tmp_path / "data", ["id0/a/1.wav", "id1/b/1.wav"])
    (folder / "id0" / "again").symlink_to("..")
    assert run("make-list", folder, "--output", tmp_path / "out") == 2
    err = capsys.readouterr().err
    assert f"error: {folder}/id0/again: this folder is a link to {folder}/, a folder above" in err
    (folder / "id0" / "again").unlink()
    (folder / "id2").symlink_to("id1")
    assert run("make-list", folder, "--output", tmp_path / "out") == 0
    assert len(lines_of(tmp_path / "out" / "train_list.txt")) == 3


@pytest.mark.parametrize("name", ["a b", "a\u00a0b", "a\u2028b", "\ufeffa"])
def test_names_that_no_list_can_hold(tmp_path, capsys, name):
    make_files(tmp_path / "tree", [f"{name}/1.wav"])
    assert run("--make_list", tmp_path / "tree", "--output", tmp_path) == 2
    assert repr(name) in capsys.readouterr().err


def test_names_that_are_not_utf8(tmp_path, capsys):
    make_files(tmp_path / "tree", [os.fsdecode(b"a/\xff.wav")])
    assert run("--make_list", tmp_path / "tree", "--output", tmp_path) == 2
    assert "expected a name in UTF-8, found" in capsys.readouterr().err


def test_lists_are_not_overwritten(tree, tmp_path, capsys):
    words = ["--make_list", tree, "--test_speakers", 2, "--output"]
    # The same lists again are no error.
    assert run(*words, tmp_path / "out") == 0
    assert run(*words, tmp_path / "out") == 0
    before = texts(tmp_path / "out")
    assert run(*words, tmp_path / "out", "--seed", 1) == 2
    assert "this file exists already and has other lines." in capsys.readouterr().err
    assert texts(tmp_path / "out") == before
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "trials.txt").write_text("other lines\n")
    assert run(*words, tmp_path / "new") == 2
    assert os.listdir(tmp_path / "new") == ["trials.txt"]


@settings(max_examples=30, deadline=None)
@given(
    tree=st.dictionaries(
        NAME, st.lists(NAME, min_size=1, max_size=5, unique=True), min_size=1, max_size=6
    )
)
def test_any_names(tree, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")
    paths = {f"{speaker}/{name}.wav": speaker for speaker, names in tree.items() for name in names}
    make_files(folder / "tree", paths)
    trees.make_list(trees.TreeOptions(folder / "tree", folder / "out"))
    utterances = read_train_list(folder / "out" / "train_list.txt")
    assert {u.path: u.speaker for u in utterances} == paths
    pairs = [(u.speaker, u.path) for u in utterances]
    assert pairs == sorted(pairs)


# ---------------------------------------------------------------------- test speakers and trials
@pytest.mark.parametrize("text, count", [("2", 2), ("50%", 3), ("100%", 6)])
def test_test_speakers_are_not_in_the_train_list(tree, tmp_path, text, count):
    words = ["--test_speakers", text, "--trials", 40]
    assert run("--make_list", tree, "--output", tmp_path / "out", *words) == 0
    train_list = tmp_path / "out" / "train_list.txt"
    assert train_list.exists() == (count < 6)
    train = read_train_list(train_list) if count < 6 else []
    test = read_train_list(tmp_path / "out" / "test_list.txt")
    test_speakers = {u.speaker for u in test}
    assert len(test_speakers) == count
    assert not test_speakers & {u.speaker for u in train}
    assert len(train) + len(test) == 36
    assert set(read_trials(tmp_path / "out" / "trials.txt").paths()) <= {u.path for u in test}


def test_other_seed_other_lists(tree, tmp_path):
    made = set()
    for seed in range(4):
        folder = tmp_path / str(seed)
        words = ["--test_speakers", 3, "--trials", 20, "--seed", seed]
        assert run("--make_list", tree, "--output", folder, *words) == 0
        made.add(tuple(texts(folder, [trees.TEST_LIST, trees.TRIALS]).values()))
    assert len(made) == 4


def test_order_of_the_disk_does_not_matter(tree, tmp_path, monkeypatch):
    trees.make_list(trees.TreeOptions(tree, tmp_path / "a", test_speakers=3, trials=20))
    walk = os.walk

    def reversed_walk(*args, **more):
        found = [(inner, folders, files[::-1]) for inner, folders, files in walk(*args, **more)]
        return found[::-1]

    monkeypatch.setattr(os, "walk", reversed_walk)
    trees.make_list(trees.TreeOptions(tree, tmp_path / "b", test_speakers=3, trials=20))
    names = [trees.TRAIN_LIST, trees.TEST_LIST, trees.TRIALS]
    assert texts(tmp_path / "a", names) == texts(tmp_path / "b", names)


def check_trials(lines, files, sex=None):
    """Checks that every line is right, and that no line is there twice."""
    owner = {path: speaker for speaker, paths in files.items() for path in paths}
    assert len({frozenset(line.split()[1:]) for line in lines}) == len(lines)
    for line in lines:
        label, a, b = line.split()
        assert a != b and (owner[a] == owner[b]) == (label == "1")
        folders = {os.path.dirname(path) for path in files[owner[a]]}
        if label == "1":
            assert len(folders) == 1 or os.path.dirname(a) != os.path.dirname(b)
        elif sex:
            assert sex[owner[a]] == sex[owner[b]]


def number_of_target_pairs(sessions):
    """Returns the number of target trials of a speaker from the numbers of files per session."""
    total = sum(sessions)
    within = sum(math.comb(number, 2) for number in sessions)
    across = math.comb(total, 2) - within
    return across if len(sessions) > 1 else within


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=3), min_size=1, max_size=6),
    count=st.integers(0, 80),
    seed=st.integers(0, 9),
    sexes=st.none() | st.lists(st.sampled_from("mf"), min_size=6, max_size=6),
)
def test_trials(sizes, count, seed, sexes):
    files = {}
    targets = 0
    for s, sessions in enumerate(sizes):
        files[f"s{s}"] = []
        for v, number in enumerate(sessions):
            files[f"s{s}"] += [f"s{s}/{v}/{i}.wav" for i in range(number)]
        targets += number_of_target_pairs(sessions)
    sex = sexes and {f"s{s}": sexes[s] for s in range(6)}
    nontargets = 0
    for a, b in itertools.combinations(files, 2):
        if not sex or sex[a] == sex[b]:
            nontargets += len(files[a]) * len(files[b])
    lines = trial_drawing.draw_trials(np.random.default_rng(seed), files, count, sex)
    check_trials(lines, files, sex)
    assert lines == trial_drawing.draw_trials(np.random.default_rng(seed), files, count, sex)
    labels = Counter(line[0] for line in lines)
    assert labels["1"] == min(count // 2, targets)
    assert labels["0"] == min(count - count // 2, nontargets)


def test_speakers_have_similar_numbers_of_trials():
    """A speaker with 500 files has 1,300 times more pairs than a speaker with 14 files."""
    files = {"s0": [f"0/{i}" for i in range(500)]}
    for s in range(1, 10):
        files[f"s{s}"] = [f"{s}/{i}" for i in range(14)]
    targets = Counter()
    for first, _ in trial_drawing.draw_targets(np.random.default_rng(0), files, 500):
        targets[first.split("/")[0]] += 1
    nontargets = Counter()
    for pair in trial_drawing.draw_nontargets(np.random.default_rng(0), files, 2000, None):
        nontargets.update(path.split("/")[0] for path in pair)
    assert len(targets) == len(nontargets) == 10
    assert max(targets.values()) < 2 * min(targets.values())
    assert max(nontargets.values()) < 1.5 * min(nontargets.values())
    two_speakers = {"s0": files["s0"], "s1": files["s1"]}
    drawn = set()
    for pair in trial_drawing.draw_targets(np.random.default_rng(0), two_speakers, 160):
        drawn.update(path for path in pair if path.startswith("0/"))
    # Any of the 500 files, not only the first ones.
    assert len(drawn) > 80


@pytest.mark.parametrize(
    "table, speakers",
    [
        ("id0 m\nid1 f\n", {"id0": "m", "id1": "f"}),
        (
            "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\n"
            "id10001\tA.J._Buckley\tm\tIreland\tdev\n",
            {"id10001": "m"},
        ),
        ("VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set \nid00012 ,n000012 ,f ,dev \n", {"id00012": "f"}),
        (
            "; a comment\n;ID  |SEX| SUBSET\n"
            "14   | F | train-clean-360  | 25.03 | Kristin LeMoine\n16 | M | train | 3 | F M\n",
            {"14": "f", "16": "m"},
        ),
        ("speaker sex\r\na Female\r\nb male\r\na female\r\n", {"a": "f", "b": "m"}),
    ],
)
def test_tables_of_speakers(tmp_path, table, speakers):
    (tmp_path / "table").write_bytes(table.encode())
    assert trees.read_speaker_table(tmp_path / "table") == speakers


@pytest.mark.parametrize(
    "table, message",
    [
        ("a m\nb x\n", ":2: expected '<speaker> ... m|f ...', found 'b x'"),
        ("a m\na f\n", ":2: speaker a is 'f' here, but 'm' in an earlier line"),
    ],
)
def test_bad_tables_of_speakers(tmp_path, table, message):
    (tmp_path / "table").write_text(table)
    with pytest.raises(InputError) as error:
        trees.read_speaker_table(tmp_path / "table")
    assert message in str(error.value)


# ---------------------------------------------------------------------- several lists as one
def two_corpora(folder):
    """Makes two corpora with lists, and returns the words of --merge."""
    make_files(folder / "data" / "vox", ["id1/1.wav", "id2/1.wav"])
    make_files(folder / "data" / "own" / "wav", ["id1/1.wav", "id3/2.flac"])
    write_lists(
        {
            folder / "vox.txt": ["id1 id1/1.wav", "id2 id2/1.wav"],
            folder / "own.txt": ["id1 id1/1.wav", f"id3 {folder}/data/own/wav/id3/2.flac"],
        }
    )
    return f"vox={folder}/vox.txt:{folder}/data/vox", f"own={folder}/own.txt:{folder}/data/own/wav"


def test_merge(tmp_path, monkeypatch):
    parts = two_corpora(tmp_path)
    assert run("--merge", *parts, "--output", tmp_path / "all.txt") == 0
    assert lines_of(tmp_path / "all.txt") == [
        "vox-id1 vox/id1/1.wav",
        "vox-id2 vox/id2/1.wav",
        "own-id1 own/wav/id1/1.wav",
        "own-id3 own/wav/id3/2.flac",
    ]
    monkeypatch.chdir(tmp_path)
    # Relative folders give the same bytes, so the list is not overwritten.
    relative = ["vox=vox.txt:data/vox", "own=own.txt:data/own/wav"]
    assert run("--merge", *relative, "--output", tmp_path / "all.txt") == 0
    assert run("--merge", parts[1], "--output", tmp_path / "one.txt") == 0
    assert lines_of(tmp_path / "one.txt") == ["own-id1 id1/1.wav", "own-id3 id3/2.flac"]
    # Speakers that have the name of their list already keep their names.
    again = f"own={tmp_path / 'one.txt'}:{tmp_path / 'data/own/wav'}"
    assert run("--merge", again, "--output", tmp_path / "two.txt") == 0
    assert lines_of(tmp_path / "two.txt") == lines_of(tmp_path / "one.txt")


def test_merge_with_spoofed_speech(tmp_path):
    """The attacks stay. A name without folder and extension becomes the path of the file."""
    vox, _ = two_corpora(tmp_path)
    make_files(
        tmp_path / "data" / "LA",
        ["ASVspoof2019_LA_train/flac/LA_T_1.flac", "ASVspoof2019_LA_train/flac/LA_T_2.flac"],
    )
    write_lists(
        {tmp_path / "cm.txt": ["LA_0079 LA_T_1 - - bonafide", "LA_0079 LA_T_2 - A01 spoof"]}
    )
    la = f"la={tmp_path}/cm.txt:{tmp_path}/data/LA"
    assert run("--merge", vox, la, "--output", tmp_path / "all.txt") == 0
    assert lines_of(tmp_path / "all.txt")[1:] == [
        "vox-id2 vox/id2/1.wav - - bonafide",
        "la-LA_0079 LA/ASVspoof2019_LA_train/flac/LA_T_1.flac - - bonafide",
        "la-LA_0079 LA/ASVspoof2019_LA_train/flac/LA_T_2.flac - A01 spoof",
    ]
    assert [u.spoofed for u in read_train_list(tmp_path / "all.txt")] == [False] * 3 + [True]


@pytest.mark.parametrize(
    "parts, message",
    [
        (["vox={0}/vox.txt"], "expected NAME=LIST:DIR, found 'vox="),
        (["a-b={0}/vox.txt:{0}/data/vox"], "expected NAME=LIST:DIR, found 'a-b="),
        (
            ["vox={0}/vox.txt:{0}/data/vox", "vox={0}/own.txt:{0}/data/own/wav"],
            "2 lists have the name vox.",
        ),
        (
            ["vox={0}/vox.txt:{0}/data/vox", "again={0}/vox.txt:{0}/data/../data/vox"],
            "the file id1/1.wav (in {0}/data/vox) belongs to two speakers, vox-id1 and again-id1.",
        ),
        (["vox={0}/vox.txt:{0}/data/own/wav"], "1 of 2 files are missing"),
        (["vox={0}/none.txt:{0}/data/vox"], "there is no such file"),
    ],
)
def test_lists_that_cannot_be_merged(tmp_path, capsys, parts, message):
    two_corpora(tmp_path)
    words = [part.format(tmp_path) for part in parts]
    assert run("--merge", *words, "--output", tmp_path / "all.txt") == 2
    assert message.format(tmp_path) in capsys.readouterr().err
    assert not (tmp_path / "all.txt").exists()


@settings(max_examples=25, deadline=None)
@given(
    corpora=st.dictionaries(
        st.sampled_from(["a", "b", "a.b", "b_1"]),
        st.dictionaries(NAME, st.sets(NAME, min_size=1, max_size=3), min_size=1, max_size=3),
        min_size=1,
        max_size=3,
    )
)
def test_merge_keeps_every_line(corpora, tmp_path_factory):
    folder = tmp_path_factory.mktemp("merge")
    expected = {}
    parts = []
    for name, files in corpora.items():
        lines = []
        for speaker, own in files.items():
            for file in own:
                path = f"{speaker}/{file}.wav"
                make_files(folder / name, [path])
                lines.append(f"{speaker} {path}")
                expected[os.path.abspath(folder / name / path)] = f"{name}-{speaker}"
        assume(not all(speaker.startswith(f"{name}-") for speaker in files))
        write_lists({folder / f"{name}.txt": lines})
        parts.append(merging.Part(name, folder / f"{name}.txt", str(folder / name)))
    merging.merge(parts, folder / "all.txt")
    root = os.path.commonpath([folder / name for name in corpora])
    utterances = read_train_list(folder / "all.txt")
    assert {os.path.join(root, u.path): u.speaker for u in utterances} == expected


# ---------------------------------------------------------------------- Kaldi
def test_kaldi_folder(tmp_path):
    wav = tmp_path / "wav"
    make_files(wav, ["id10/v/1.wav", "id1/v/1.wav", "id1/é.wav", "other/2.wav"])
    write_lists(
        {
            tmp_path / "list.txt": [
                "id10 id10/v/1.wav",
                "id1 id1/é.wav",
                "id1 id1/v/1.wav",
                "oth other/2.wav",
            ],
            tmp_path / "trials.txt": ["1 id1/v/1.wav id1/é.wav", "0 other/2.wav id10/v/1.wav"],
        }
    )
    words = ["--path", wav, "--output", tmp_path / "data", "--trials", tmp_path / "trials.txt"]
    assert run("--to_kaldi", tmp_path / "list.txt", *words) == 0
    assert {path.name: lines_of(path) for path in (tmp_path / "data").iterdir()} == {
        "wav.scp": [
            f"id1-v-1 {wav}/id1/v/1.wav",
            f"id1-é {wav}/id1/é.wav",
            f"id10-v-1 {wav}/id10/v/1.wav",
            f"oth-other-2 {wav}/other/2.wav",
        ],
        "utt2spk": ["id1-v-1 id1", "id1-é id1", "id10-v-1 id10", "oth-other-2 oth"],
        "spk2utt": ["id1 id1-v-1 id1-é", "id10 id10-v-1", "oth oth-other-2"],
        "trials": ["id1-v-1 id1-é target", "oth-other-2 id10-v-1 nontarget"],
    }


SIMPLE = st.text("abAB019é日_.", min_size=1, max_size=6).filter(lambda name: set(name) != {"."})


@settings(max_examples=30, deadline=None)
@given(
    tree=st.dictionaries(SIMPLE, st.sets(SIMPLE, min_size=1, max_size=4), min_size=1, max_size=6)
)
def test_round_trip(tree, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kaldi")
    lines = [f"{speaker} {speaker}/{name}.wav" for speaker, names in tree.items() for name in names]
    paths = [line.split()[1] for line in lines]
    make_files(folder / "wav", paths)
    pairs = [*zip(paths, paths[::-1], strict=True)] * 2
    trials = [f"{i % 2} {a} {b}" for i, (a, b) in enumerate(pairs)]
    trials += [f"1 {paths[0]} {paths[0]}", f"0 {paths[0]} {paths[0]}"]
    write_lists({folder / "list.txt": lines, folder / "trials.txt": trials})
    kaldi.to_kaldi(folder / "list.txt", folder / "wav", folder / "data", folder / "trials.txt")
    for name in ("wav.scp", "utt2spk", "spk2utt"):
        rows = [words[0].encode() for words in words_of(folder / "data" / name)]
        assert rows == sorted(set(rows))
    owners = words_of(folder / "data" / "utt2spk")
    assert owners == sorted(owners, key=lambda words: words[1].encode())
    assert all(name.startswith(f"{speaker}-") for name, speaker in owners)
    kaldi.from_kaldi(
        folder / "data", folder / "back.txt", folder / "wav", folder / "back_trials.txt"
    )
    assert sorted(lines_of(folder / "back.txt")) == sorted(lines)
    assert lines_of(folder / "back_trials.txt") == trials


def test_paths_of_kaldi_stay(tmp_path):
    write_lists(
        {
            tmp_path / "k" / "wav.scp": ["u1 /corpora/1.wav", "u2 wav/2.wav"],
            tmp_path / "k" / "utt2spk": ["u1 a", "u2 b"],
        }
    )
    assert run("--from_kaldi", tmp_path / "k", "--output", tmp_path / "list.txt") == 0
    assert lines_of(tmp_path / "list.txt") == ["a /corpora/1.wav", "b wav/2.wav"]


GOOD = {"wav.scp": "u1 /c/1.wav\nu2 /c/2.wav\n", "utt2spk": "u1 a\nu2 b\n"}


@pytest.mark.parametrize(
    "files, message",
    [
        (
            {"wav.scp": "u1 /c/1.wav\nu2 sph2pipe -f wav 2.sph |\n"},
            "wav.scp:2: expected a path, found the command 'sph2pipe -f wav 2.sph |'. Write the "
            "output of the commands to files",
        ),
        (
            {"wav.scp": "u1 /c/1.ark:17\nu2 /c/2.wav\n"},
            "wav.scp:1: expected an audio file, found the place /c/1.ark:17 in an archive",
        ),
        (
            {"wav.scp": "u1 /c/1.wav\nu2 /c/my file.wav\n"},
            "wav.scp:2: expected a name without blanks",
        ),
        ({"wav.scp": "u1 /c/1.wav\nu2\n"}, "wav.scp:2: expected '<utterance> ...', found 'u2'"),
        (
            {"wav.scp": "u1 /c/1.wav\nu1 /c/2.wav\n"},
            "wav.scp:2: the utterance u1 has a second line",
        ),
        (
            {"wav.scp": "u1 /c/1.wav\nu2 /c/1.wav\n"},
            "wav.scp: the utterances u1 and u2 have the same file /c/1.wav.",
        ),
        (
            {"utt2spk": "u1 a\nu3 a\n"},
            "expected the same utterances in wav.scp and utt2spk, found utterances in only one of "
            "the two files: u2, u3.",
        ),
        ({"utt2spk": "u1 a\nu2 a b\n"}, "utt2spk: expected a name without blanks"),
        ({"segments": "u1 r1 0.0 1.0\n"}, "segments: expected one file per utterance"),
        ({"trials": "u1 u2 target\nu1 u9 nontarget\n"}, "/wav.scp, found other names: u9."),
        (
            {"trials": "u1 u2 1\n"},
            "trials:1: expected '<utterance> <utterance> target|nontarget', found 'u1 u2 1'",
        ),
    ],
)
def test_unusable_kaldi_folders(tmp_path, capsys, files, message):
    for name, text in (GOOD | files).items():
        (tmp_path / name).write_text(text)
    words = ["--trials", tmp_path / "new_trials.txt"] if "trials" in files else []
    assert run("--from_kaldi", tmp_path, "--output", tmp_path / "new.txt", *words) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("new*"))


def test_kaldi_paths_outside_of_the_folder(tmp_path, capsys):
    for name, text in GOOD.items():
        (tmp_path / name).write_text(text)
    assert run("--from_kaldi", tmp_path, "--output", tmp_path / "new.txt", "--path", "/d") == 2
    assert "expected files inside --path /d, found" in capsys.readouterr().err


@pytest.mark.parametrize(
    "lines, trial, message",
    [
        (["a 1.wav", "a 1.flac"], None, "1.wav and 1.flac would both get Kaldi's name a-1."),
        (
            ["a b-1.wav", "a-b 2.wav", "a c.wav"],
            None,
            "Kaldi requires utterances and speakers in the same order",
        ),
        (["a 1.wav - - bonafide", "a 2.wav - A01 spoof"], None, "expected only bona fide speech"),
        (["a 1.wav", "b none.wav"], None, "1 of 2 files are missing"),
        (
            ["a 1.wav", "b 2.wav"],
            ["1 1.wav 2.wav", "0 1.wav 3.wav"],
            "/list.txt, found other names: 3.wav.",
        ),
        (
            ["a 1.wav", "b 2.wav"],
            ["1.wav 2.wav"],
            "expected lines '1|0 <file> <file>', found '1.wav 2.wav'",
        ),
    ],
)
def test_lists_that_kaldi_cannot_represent(tmp_path, capsys, lines, trial, message):
    make_files(tmp_path, ["1.wav", "1.flac", "2.wav", "b-1.wav", "c.wav"])
    write_lists({tmp_path / "list.txt": lines, tmp_path / "trials.txt": trial or []})
    words = ["--path", tmp_path, "--output", tmp_path / "data"]
    if trial:
        words += ["--trials", tmp_path / "trials.txt"]
    assert run("--to_kaldi", tmp_path / "list.txt", *words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


# ---------------------------------------------------------------------- real speech
@needs_speech
@pytest.mark.parametrize(
    "name, level, speakers",
    [("speechocean_mini/train", 1, 95), ("librispeech_mini", 2, 6), ("asvspoof_mini", 1, 2)],
)
def test_real_trees(tmp_path, name, level, speakers):
    """The list has all files, and a round trip through Kaldi's format changes nothing."""
    folder = SPEECH / name
    trees.make_list(
        trees.TreeOptions(folder, tmp_path / "out", level=level, test_speakers=1.0, trials=300)
    )
    test_list = tmp_path / "out" / "test_list.txt"
    trials = tmp_path / "out" / "trials.txt"
    files = {}
    for utterance in read_train_list(test_list):
        files.setdefault(utterance.speaker, []).append(utterance.path)
    assert len(files) == speakers
    assert sorted(itertools.chain(*files.values())) == audio_below(folder)
    lines = lines_of(trials)
    check_trials(lines, files)
    assert len(lines) == 300
    back, back_trials = tmp_path / "back.txt", tmp_path / "back_trials.txt"
    kaldi.to_kaldi(test_list, folder, tmp_path / "kaldi", trials)
    kaldi.from_kaldi(tmp_path / "kaldi", back, folder, back_trials)
    assert sorted(lines_of(back)) == sorted(lines_of(test_list))
    assert lines_of(back_trials) == lines


@needs_speech
def test_train_list_of_the_tree_equals_the_real_list(tmp_path):
    corpus = SPEECH / "speechocean_mini"
    trees.make_list(trees.TreeOptions(corpus / "train", tmp_path))
    made = lines_of(tmp_path / "train_list.txt")
    assert sorted(made) == sorted(lines_of(corpus / "train_list.txt"))
