"""VoxBlink2: its train list, and the commands that train on it and then on VoxCeleb2."""

import itertools
import shlex
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
from loopback import run
from pages import ROOT, commands_of

import dataprep
import trainSpeakerNet
from common.errors import InputError
from corpus.lists import read_train_list
from prep.voxblink2 import voxblink2_lines

SECTION = "VoxBlink2, then VoxCeleb2"
# Options with which a training takes about a second and keeps the rows of its classifier.
SMALL = shlex.split(
    "--depth 18 --width 4 --n_mels 24 --nOut 8 --no-augment --no-speed_perturb --batch_size 3 "
    "--max_frames 30 --eval_frames 30 --nDataLoaderThread 0 --device cpu --max_steps 1 "
    "--no-mixedprec --num_eval 1 --lr 1e-12 --lr_final 1e-12"
)


def place_files(folder, names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_list(tmp_path, capsys):
    tree = tmp_path / "tree"
    files = ["id2/vid/00001.wav", "id10/b/00001.wav", "id10/a/00002.wav", "id10/a/00001.wav"]
    place_files(tree, [*files, "id10/a/00001.txt", "id3/v/1.m4a", "readme.wav"])
    output = tmp_path / "list.txt"
    words = ["voxblink2", tree, "--output", output]
    assert run(*words) == 0
    lines = [f"voxblink2-{name.split('/')[0]} {name}" for name in sorted(files)]
    assert output.read_text().splitlines() == lines
    out = capsys.readouterr().out
    assert f"Wrote {output} with 2 speakers and 4 files. The release has 111,284 speakers." in out
    assert "Speakers left out, because they have fewer than 1 audio files (--min_files): 1." in out
    # The same command does nothing. Other lines are not overwritten.
    time = output.stat().st_mtime_ns
    assert run(*words) == 0
    assert run(*words, "--min_files", 2) == 2
    assert "list.txt: this file exists already and has other lines." in capsys.readouterr().err
    assert output.stat().st_mtime_ns == time
    assert run("voxblink2", tree, "--output", tmp_path / "two.txt", "--min_files", 2) == 0
    assert (tmp_path / "two.txt").read_text().splitlines() == lines[:3]


def test_one_speaker_at_a_time(tmp_path):
    """The second speaker is not read before the lines of the first one are used."""
    place_files(tmp_path, ["id1/v/1.wav", "id1/v/2.wav", "id2/v/my file.wav"])
    lines = voxblink2_lines(tmp_path, 1, Counter())
    first = list(itertools.islice(lines, 2))
    assert first == [b"voxblink2-id1 id1/v/1.wav\n", b"voxblink2-id1 id1/v/2.wav\n"]
    with pytest.raises(InputError, match="expected a name without blanks, found 'v/my file.wav'"):
        next(lines)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["id1/v/1.m4a"], "expected audio files ID/VIDEO/UTTERANCE.wav"),
        (["id1/v/1.wav", "id2/v/my file.wav"], "expected a name without blanks"),
        ([], "tree: this folder does not exist. Give a folder with one folder for each speaker."),
    ],
)
def test_wrong_trees(names, message, tmp_path, capsys):
    place_files(tmp_path / "tree", names)
    assert run("voxblink2", tmp_path / "tree", "--output", tmp_path / "list.txt") == 2
    assert message in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} <= {"tree"}


# ---------------------------------------------------------------------- pre-training
@pytest.fixture
def place(corpus, tmp_path, monkeypatch):
    """The working directory of the commands of the page, with two corpora of three speakers."""
    monkeypatch.chdir(tmp_path)
    Path("configs").symlink_to(ROOT / "configs")
    speakers = sorted({u.speaker for u in read_train_list(corpus / "train_list.txt")})
    for folder, chosen in (("voxblink2", speakers[:3]), ("voxceleb2", speakers[3:6])):
        for i, speaker in enumerate(chosen):
            # Both corpora have speakers with the same names.
            shutil.copytree(corpus / "wav" / speaker, Path("data", folder, f"id{i}"))
    assert run("voxblink2", "data/voxblink2", "--output", "data/voxblink2_list.txt") == 0
    assert run("make-list", "data/voxceleb2", "--output", "data") == 0
    Path("data/voxceleb1").symlink_to(corpus / "wav")
    trials = (corpus / "trials.txt").read_text().splitlines()
    target = next(line for line in trials if line.startswith("1"))
    nontarget = next(line for line in trials if line.startswith("0"))
    Path("data/veri_test.txt").write_text(f"{target}\n{nontarget}\n")


def rows_of(run_folder):
    """{speaker: row of the classifier} of a run."""
    path = Path("exps", run_folder, "model", "last.model")
    state = torch.load(path, weights_only=True)
    (weight,) = [value for name, value in state["loss"].items() if name.endswith("weight")]
    return {speaker: weight[row] for speaker, row in state["classes"].items()}


def test_commands_of_the_page(place, capsys):
    """Rows of the classifier are kept for the same speakers, and new for others."""
    printed = {}
    for command in commands_of(ROOT / "docs" / "corpora.md", [SECTION]):
        _, script, *words = shlex.split(command)
        if script == "dataprep.py":
            assert dataprep.main(words) in (0, None)
            continue
        capsys.readouterr()
        code = trainSpeakerNet.main([*words, *SMALL])
        out, err = capsys.readouterr()
        assert code in (0, None), err
        printed[Path(words[words.index("--save_path") + 1]).name] = out
    first, fine_tuned, both = printed
    assert "in the checkpoint" not in printed[first]
    assert "0 of 3 speakers are in the checkpoint, and 3 start with random w" in printed[fine_tuned]
    assert "3 of 6 speakers are in the checkpoint, and 3 start with random w" in printed[both]
    before = rows_of(first)
    assert {*before} == {"voxblink2-id0", "voxblink2-id1", "voxblink2-id2"}
    assert {*rows_of(fine_tuned)} == {"id0", "id1", "id2"}
    after = rows_of(both)
    assert len(after) == 6
    for speaker, row in before.items():
        torch.testing.assert_close(after[speaker], row, rtol=0, atol=1e-6)
    new = [after[f"voxceleb2-id{i}"] for i in range(3)]
    assert not any(torch.equal(a, b) for a in new for b in before.values())
