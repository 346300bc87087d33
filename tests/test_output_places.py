"""Results that would replace a file of somebody else, one another, or a file outside their place.

tests/test_outputs.py has the commands of the metrics, and the writing itself.
"""

import os
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import yaml
from conftest import small_run
from test_outputs import NOISE, SCORES, files, tree_of, tune  # noqa: F401

import dataprep
from metrics.own_files import is_calibration, is_scores
from report.pictures import is_picture

OTHER_SCORES = SCORES.replace(" 2\n", " 2.5\n")


def prepare(capsys, *words):
    """Runs dataprep.py. Returns the exit code and its error."""
    code = dataprep.main([str(word) for word in words])
    return code, capsys.readouterr().err


@pytest.fixture
def lists(corpus, tmp_path, monkeypatch):
    """A working directory with a train list, trials and a folder of audio files."""
    monkeypatch.chdir(tmp_path)
    Path("wav").symlink_to(corpus / "wav")
    Path("train.txt").write_bytes((corpus / "train_list.txt").read_bytes())
    Path("trials.txt").write_bytes((corpus / "trials.txt").read_bytes())
    return tmp_path


# ---------------------------------------------------------------------- what was written here
@pytest.mark.parametrize(
    "text, expected",
    [
        ("1 a b 0.5\n", True),
        ("a b 0.5\n", True),
        ("a b 1\na c 0.25\n", True),
        ("spk a bonafide target 0.5\n", True),
        # Lists of trials and of embeddings, and orders of words that are only read.
        ("a b 1\na c 0\n", False),
        ("a b 1", False),
        ("spk a.npy b.npy 1\n", False),
        ("a b 1 0.5\n", False),
        ("1 a b\n", False),
        ("", False),
    ],
)
def test_scores_files_are_recognised(text, expected):
    assert is_scores(text.encode()) is expected


def test_a_workflow_in_json_is_no_calibration():
    assert not is_calibration(b'{"inputs": [1, 2], "nodes": []}')


@pytest.mark.parametrize("text", ["a/1 a/2 1\na/1 b/2 0\n", "id1 a/1.npy a/2.npy 1\n"])
def test_scores_replace_no_list(capsys, files, text):  # noqa: F811
    Path("list.txt").write_text(text)
    Path("o.txt").write_text(OTHER_SCORES)
    code, err = tune(capsys, "average", "s.txt", "o.txt", "--output", "list.txt")
    assert code == 2 and "a file of another kind" in err
    assert Path("list.txt").read_text() == text


# ---------------------------------------------------------------------- pictures
def test_a_picture_without_an_extension_replaces_no_picture(capsys, files):  # noqa: F811
    code, err = tune(capsys, "s.txt", "--det", "photo")
    assert code == 2 and err.startswith("error: --det photo.png: expected a new file")
    assert b"no picture" in Path("photo.png").read_bytes()
    assert tune(capsys, "s.txt", "--det", "new") == (0, "")
    assert is_picture("new.png")


def test_other_pictures_of_matplotlib_are_kept(capsys, files):  # noqa: F811
    from matplotlib.figure import Figure

    Figure().savefig("figure.png")
    before = tree_of(files)
    code, err = tune(capsys, "s.txt", "--det", "figure.png")
    assert code == 2 and "a file of another kind" in err
    assert tree_of(files) == before


@pytest.mark.parametrize(
    "name", ["det.png", "det.svg", "det.eps", "det.pdf", "det.jpg", "det.tif", "new/det.png"]
)
def test_pictures_are_replaced_through_links(capsys, files, name):  # noqa: F811
    Path("disk").mkdir()
    Path("link" + Path(name).suffix).symlink_to(f"disk/{name}")
    for _ in range(2):
        assert tune(capsys, "s.txt", "--det", f"link{Path(name).suffix}") == (0, "")
    assert Path("link" + Path(name).suffix).is_symlink() and Path("disk", name).is_file()


def test_scores_for_a_pipe_are_not_read_again(capsys, files):  # noqa: F811
    os.mkfifo("pipe")
    Path("o.txt").write_text(OTHER_SCORES)
    received = []
    reader = threading.Thread(target=lambda: received.append(Path("pipe").read_text()))
    reader.start()
    assert tune(capsys, "average", "s.txt", "o.txt", "--output", "pipe") == (0, "")
    reader.join(10)
    assert received[0].startswith("1 a/1 a/2 ") and received[0].count("\n") == 6
    assert not Path("pipe_det.png").exists()


# ---------------------------------------------------------------------- dataprep.py check
@pytest.mark.parametrize("name", ["train.clean.txt", "check.json"])
def test_check_replaces_only_its_own_results(capsys, lists, name):
    words = ["check", "train.txt", "--path", "wav", "--max_frames", 0]
    Path(name).write_text("my own notes\n")
    before = tree_of(lists)
    code, err = prepare(capsys, *words)
    assert code == 2 and f"error: {name}: expected a new file or an earlier result" in err
    assert tree_of(lists) == before
    Path(name).unlink()
    assert prepare(capsys, *words)[0] in (0, 1)
    # The list has lost lines since, and the cleaned list has them still.
    text = Path("train.txt").read_text()
    Path("train.txt").write_text("".join(text.splitlines(keepends=True)[6:]))
    assert prepare(capsys, *words)[0] in (0, 1)
    Path("check.json").unlink()
    assert prepare(capsys, *words)[0] in (0, 1)


def test_the_report_of_check_replaces_no_list(capsys, lists):
    Path("train.txt").rename("check.json")
    before = tree_of(lists)
    code, err = prepare(capsys, "check", "check.json", "--path", "wav")
    assert code == 2 and "check.json: expected a new file, found an input of this command" in err
    assert tree_of(lists) == before


# ---------------------------------------------------------------------- lists
def test_a_list_for_a_pipe_is_not_compared(capsys, lists):
    os.mkfifo("pipe")
    received = []
    reader = threading.Thread(target=lambda: received.append(Path("pipe").read_text()))
    reader.start()
    assert prepare(capsys, "merge", "a=train.txt:wav", "--output", "pipe") == (0, "")
    reader.join(10)
    assert received[0].count("\n") == Path("train.txt").read_text().count("\n")


@pytest.mark.parametrize("trials", ["list.txt", "./list.txt", "link.txt"])
def test_two_lists_in_one_file(capsys, lists, trials):
    Path("link.txt").symlink_to("list.txt")
    Path("kaldi").mkdir()
    Path("kaldi/wav.scp").write_text("a-1 /wav/a/1.wav\na-2 /wav/a/2.wav\n")
    Path("kaldi/utt2spk").write_text("a-1 a\na-2 a\n")
    Path("kaldi/trials").write_text("a-1 a-2 target\n")
    words = ["from-kaldi", "kaldi", "--output", "list.txt", "--trials", trials]
    code, err = prepare(capsys, *words)
    assert code == 2 and "expected another file than --output list.txt" in err
    assert not Path("list.txt").exists()


def test_features_of_two_files_with_one_name(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "a.flac"):
        sf.write(name, NOISE, 16000)
    Path("list.txt").write_text("a.wav\na.flac\n")
    for more in ([], ["--output", "out"]):
        code, err = prepare(capsys, "features", "-i", "list.txt", "--processes", 1, *more)
        assert code == 2 and "list.txt: several files have names that differ only in the" in err
    assert not Path("a.npy").exists() and not Path("out").exists()


@pytest.mark.parametrize(
    "words, name",
    [
        (["combine-embeddings", "npy", "--processes", 1], "npy/id0.npy"),
        (["embedding-lists", "npy", "--name", "x"], "npy/x_test_list.txt"),
    ],
)
def test_files_of_others_between_embeddings(capsys, tmp_path, monkeypatch, words, name):
    monkeypatch.chdir(tmp_path)
    for number in range(8):
        path = Path(f"npy/id{number // 4}/{number % 2}/{number}.npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.random.default_rng(number).standard_normal((2, 4), np.float32))
    assert prepare(capsys, *words)[0] == 0
    assert prepare(capsys, *words)[0] == 0
    Path(name).unlink()
    Path("notes.txt").write_text("notes\n")
    Path(name).symlink_to(tmp_path / "notes.txt")
    code, err = prepare(capsys, *words)
    assert code == 2 and f"error: {name}: expected a new file or an earlier result" in err
    assert Path("notes.txt").read_text() == "notes\n"


# ---------------------------------------------------------------------- archives
def archive_of(into):
    """Writes an archive and a file list that extracts it into a folder."""
    with zipfile.ZipFile("a.zip", "w") as file:
        file.writestr("wav/id0/0.wav", b"speech")
    table = {"base_url": "http://127.0.0.1:9/{name}", "files": {"a.zip": {"into": into}}}
    Path("list.yaml").write_text(yaml.safe_dump(table))
    return ["extract", "--save_path", ".", "--file_list", "list.yaml"]


@pytest.mark.parametrize("into", ["..", "a/../../b", "{}/b", "../b"])
def test_archives_stay_below_their_folder(capsys, tmp_path, monkeypatch, into):
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path / "data")
    code, err = prepare(capsys, *archive_of(into.format(tmp_path)))
    assert code == 2 and "expected a folder below --save_path" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


@pytest.mark.parametrize("into", [".", "a", "a..b/c"])
def test_a_link_in_the_place_of_a_part_is_not_followed(capsys, tmp_path, monkeypatch, into):
    monkeypatch.chdir(tmp_path)
    words = archive_of(into)
    Path(into, "wav/id0").mkdir(parents=True)
    Path("victim.txt").write_text("victim\n")
    Path(into, "wav/id0/0.wav.part").symlink_to(tmp_path / "victim.txt")
    assert prepare(capsys, *words) == (0, "")
    assert Path("victim.txt").read_text() == "victim\n"
    assert Path(into, "wav/id0/0.wav").read_bytes() == b"speech"


# ---------------------------------------------------------------------- trainSpeakerNet.py
def test_a_publication_does_not_replace_its_input(program, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--publish", "net", "--initial_model", checkpoint, "--publish_classifier"]
    assert program(*words)[0] == 0
    Path("link").symlink_to("net")
    before = tree_of(tmp_path)
    for folder, model in (("net", "net"), ("link", "net"), ("net", "net/model.safetensors")):
        code, _, err = program("--publish", folder, "--initial_model", model)
        assert code == 2 and f"expected another folder than --initial_model {model}" in err
    assert tree_of(tmp_path) == before
    assert program(*words)[0] == 0


@pytest.mark.parametrize("name", ["result/scores.txt", "result/scores_2.txt"])
def test_a_run_does_not_replace_its_trials(program, corpus, tmp_path, name):
    run = tmp_path / "run"
    assert program(*small_run(corpus, run, "--max_epoch", 1))[0] == 0
    (run / name).write_bytes((corpus / "trials.txt").read_bytes())
    before = tree_of(run)
    lists = ["--test_list", corpus / "trials.txt", run / name]
    code, _, err = program(*small_run(corpus, run, *lists))
    assert code == 2 and f"{run / name}: expected a new file, found an input" in err
    (run / name).write_text("my notes\n")
    lists[2] = corpus / "trials.txt"
    code, _, err = program(*small_run(corpus, run, *lists))
    assert code == 2 and f"{run / name}: expected a new file or an earlier result" in err
    (run / name).write_bytes((corpus / "trials.txt").read_bytes())
    assert tree_of(run) == before


def test_a_tensorboard_folder_of_others_is_kept(program, corpus, tmp_path):
    pytest.importorskip("tensorboard")
    (tmp_path / "run/tensorboard").mkdir(parents=True)
    (tmp_path / "run/tensorboard/projector_config.pbtxt").write_text("mine\n")
    code, _, err = program(*small_run(corpus, tmp_path / "run", "--tensorboard"))
    assert code == 2 and "A run in this folder would replace them: tensorboard." in err
