"""Lists that were given to the wrong option or belong to another program are recognised."""

import time

import pytest
from conftest import small_run

from common.errors import InputError
from corpus.line_formats import TRAIN_FORMATS, TRIAL_FORMATS
from corpus.recognition import TRAIN, TRIALS, Expected, kind_of, require_kind

# {name: (contents, what it is, which option)}
LISTS = {
    "train.txt": ("id1 id1/a.wav\nid2 id2/b.wav\n", "a train list", "--train_list"),
    "trials.txt": ("1 a.wav b.wav\n0 a.wav c.wav\n", "a list of trials", "--test_list"),
    "pairs.txt": ("a/b.flac c/d.flac\na/b.flac c/e.flac\n", "a list of trials", "--test_list"),
    "kaldi_trials": ("a.wav b.wav target\na.wav c.wav nontarget\n", "a list of", "--test_list"),
    "scores.txt": ("1 a.wav b.wav 0.71\n0 a.wav c.wav -1.5e-3\n", "a scores", "tuneThreshold.py"),
    "sasv_scores.txt": (
        "LA_1 LA_E_1 bonafide target 0.5\nLA_1 LA_E_2 A07 spoof 0.1\n",
        "a scores file",
        "tuneThreshold.py",
    ),
    "protocol.txt": (
        "LA_79 LA_T_11 - - bonafide\nLA_79 LA_T_12 - A01 spoof\n",
        "a train list",
        "--train_list",
    ),
    "asv.txt": (
        "LA_79 LA_E_1 bonafide target\nLA_79 LA_E_2 A07 spoof\n",
        "a list of trials",
        "--test_list",
    ),
    "enrol.txt": ("LA_1 LA_D_1,LA_D_2\nLA_2 LA_D_3,LA_D_4\n", "a list of enrolm", "--enroll_list"),
    "utt2spk": ("a-1 a\na-2 a\n", "a file of a Kaldi data folder", "dataprep.py from-kaldi"),
    "wav.scp": ("a-1 /data/1.wav\na-2 /data/2.wav\n", "a file of a Kaldi", "from-kaldi"),
    "any.scp": ("a-1 sph2pipe -f wav 1.sph |\n", "a file of a Kaldi", "dataprep.py from-kaldi"),
    "spk2utt": ("a a-1 a-2\nb b-1\n", "a file of a Kaldi", "dataprep.py from-kaldi"),
}


@pytest.mark.parametrize("expected", [TRAIN, TRIALS])
@pytest.mark.parametrize("name", LISTS)
def test_other_lists_are_named(name, expected, tmp_path):
    text, kind, remedy = LISTS[name]
    path = tmp_path / name
    path.write_text(text)
    place = Expected("--the_list", expected)
    if expected.startswith(kind):
        require_kind(str(path), place)
        return
    with pytest.raises(InputError) as error:
        require_kind(str(path), place)
    first = text.splitlines()[0]
    start = f"{path}: expected {expected} for --the_list, found {kind}"
    assert str(error.value).startswith(start) and remedy in str(error.value)
    assert f"first line {first!r}" in str(error.value)


# Lists whose names fit several kinds, and lists of other projects that this program reads.
@pytest.mark.parametrize(
    "text",
    [
        "id1 00001\nid1 00002\n",
        "LA_1 LA_E_1\nLA_1 LA_E_2\n",
        "J.Smith a.wav\nJ.Doe b.wav\n",
        "1 a.npy 0\n0 b.npy 1\n",
        "id1 a.npy b.npy 1\n",
        "a/b.wav 12 None\n",
        "a.wav\nb.wav\n",
        "1 a b\n0 a c\n",
        "a.flac,spk,a01\n",
        "",
    ],
)
def test_uncertain_lists_pass(text, tmp_path):
    path = tmp_path / "list.txt"
    path.write_text(text)
    for kind in (TRAIN, TRIALS):
        require_kind(str(path), Expected("--x", kind))


def test_no_documented_format_is_another_kind():
    """The examples are the descriptions of the formats."""
    words = {
        "<speaker>": "LA_1",
        "<file>": "LA_E_1",
        "...": "x",
        "<gender>": "F",
        "F|M": "F",
        "<attack>|-": "-",
        "<attack>|bonafide": "bonafide",
        "bonafide|<attack>": "bonafide",
        "bonafide|spoof": "bonafide",
        "target|nontarget|spoof": "target",
    }
    for formats, kind in ((TRAIN_FORMATS, TRAIN), (TRIAL_FORMATS, TRIALS)):
        for line in formats:
            row = [words.get(word, word.split("|")[0]) for word in line.split()]
            assert kind_of("list.txt", [row]) in (None, kind), line


def test_only_the_first_lines_are_read(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("1 a.wav b.wav\n" * 1_000_000)
    start = time.perf_counter()
    require_kind(str(path), Expected("--test_list", TRIALS))
    assert time.perf_counter() - start < 0.5


def test_the_trainer_says_it(corpus, tmp_path, program):
    words = small_run(corpus, tmp_path / "run")
    code, _, err = program(*words, "--train_list", corpus / "trials.txt")
    assert code == 2 and "expected a train list for --train_list, found a list of trials" in err
    code, _, err = program(*words, "--test_list", corpus / "train_list.txt")
    assert code == 2 and "expected a list of trials for --test_list, found a train list" in err
    code, _, err = program(*words, "--valid_list", corpus / "trials.txt")
    assert code == 2 and "expected a train list for --valid_list, found a list of trials" in err
