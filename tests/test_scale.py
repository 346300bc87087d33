"""Evaluation at scale.

Whole files in buckets, lists and scores of many blocks, all pairs of a list, and the errors when
memory is too small.
"""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from conftest import Tiny, small_run
from hypothesis import given, settings
from hypothesis import strategies as st
from test_trainer import Distance, Squares

import DatasetLoader
import inference.scorer as scorer_module
import metrics.scores
from common import text
from common.errors import InputError
from common.text import NumberedNames, TextLines, word_columns
from common.writing import write_atomically
from corpus.lists import Trials, read_trials
from DatasetLoader import EvalDataset, LoadingError, batches, eval_loader
from inference.all_pairs import evaluate_pairs
from inference.evaluation import represent_files
from inference.scorer import Scorer
from metrics.scores import read_scores, write_scores
from network.components import build_model
from SpeakerNet import SpeakerNet


@pytest.fixture
def three_at_once(monkeypatch):
    """Blocks of three lines."""
    for module in (text, metrics.scores):
        monkeypatch.setattr(module, "LINES_AT_ONCE", 3)


def scores_in(path):
    """The scores of a scores file."""
    return [float(line.split()[-1]) for line in path.read_text().splitlines()]


# ---------------------------------------------------------------------- lines
LINE = st.text(" \t\rabc1é", max_size=8)


@given(
    st.lists(LINE, min_size=1, max_size=12),
    st.integers(1, 5),
    st.integers(-14, 14),
    st.integers(-14, 14),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_lines_are_like_a_list(lines, at_once, a, b):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "LINES_AT_ONCE", at_once)
        got = TextLines("\n".join(lines).encode())
        want = [line.strip() for line in lines]
        assert list(got) == want
        assert len(got) == len(want)
        assert got == want
        assert want == got
        assert got == TextLines("\n".join(want).encode())
        assert got[a:b] == want[a:b]
        assert got[::2] == want[::2]
        assert got[-1] == want[-1]
        assert got != [*want, "x"]
        assert got != ["x", *want[1:]]
        assert TextLines(got.text, str.upper)[0] == lines[0].upper()
        plain = all(line.isascii() and line == " ".join(line.split()) for line in lines)
        same_length = len({line.count(" ") for line in lines}) == 1
        columns = None
        if plain and same_length and all(lines):
            words = [line.split() for line in lines]
            columns = [list(column) for column in zip(*words, strict=True)]
        assert got.columns(0, len(got)) == columns

        def words_of(first, last):
            return ([line] for line in want[first:last])

        number = 0
        for block in word_columns(got, lambda columns: True, words_of):
            number += len(block[0])
        assert number == len(want)


def test_only_plain_lines_of_one_length_have_columns():
    lines = TextLines(b"1 a b\n0 cc d\n1 e\tf\n0 g  h\n1 i j k\n0 l m\n1 n o\n1 p\x1cq r")
    assert lines.columns(0, 2) == [["1", "0"], ["a", "cc"], ["b", "d"]]
    assert lines.columns(5, 7) == [["0", "1"], ["l", "n"], ["m", "o"]]
    for i in (2, 3, 7):
        assert lines.columns(i, i + 1) is None
    assert lines.columns(4, 6) is None
    assert len(lines.columns(4, 5)) == 4
    # Nine words in three lines, but not three in each.
    assert TextLines(b"1 a b\n0 c\n1 d e f").columns(0, 3) is None


def test_names_are_numbered_in_their_order():
    names = NumberedNames()
    assert names.numbers_of(["b", "a", "b"]).tolist() == [0, 1, 0]
    assert names.numbers_of(["c", "a"]).tolist() == [2, 1]
    assert [*names] == ["b", "a", "c"]


@pytest.mark.parametrize("labelled", [True, False])
def test_trials_of_many_blocks(tmp_path, three_at_once, labelled):
    """Plain blocks, and blocks with two blanks or a carriage return, against a loop over lines."""
    rng = np.random.default_rng(0)
    tested_files = []
    lines = []
    for i, (a, b) in enumerate(rng.integers(0, 6, (20, 2))):
        key = "1 " if rng.random() < 0.5 else "0 "
        blanks = "  " if i == 10 else " "
        lines.append(f"{key if labelled else ''}f{a}{blanks}f{b}")
        tested_files.append(f"f{b}")
    written = lines.copy()
    written[17] += "\r"
    (tmp_path / "t.txt").write_bytes("\n".join(written).encode() + b"\n\n")
    trials = read_trials(tmp_path / "t.txt")
    assert trials.lines == lines
    assert (trials.label is None) == (not labelled)
    for i, line in enumerate(lines):
        *key, left, right = line.split()
        assert trials.models[trials.enrol[i]] == (left,)
        assert trials.files[trials.test[i]] == right
        assert not key or trials.label[i] == (key == ["1"])
    assert trials.files == [*dict.fromkeys(tested_files)]
    assert trials.enrol.dtype == trials.test.dtype == np.int64
    write_scores(tmp_path / "s.txt", trials.lines, np.arange(20, dtype=np.float32) / 3)
    assert (tmp_path / "s.txt").read_text() == "".join(
        f"{line} {np.float32(i / 3):.7g}\n" for i, line in enumerate(lines)
    )


@pytest.mark.parametrize("number", [1, 3, 4, 9])
@pytest.mark.parametrize("bad", ["2 a b", "1 a", "1 a b c", "a b 1", "x"])
def test_bad_line_in_any_block(tmp_path, three_at_once, number, bad):
    lines = ["1 a b", "0 a c"] * 5 + ["1 b c"]
    lines[number] = bad
    (tmp_path / "t.txt").write_text("\n".join(lines))
    with pytest.raises(
        InputError, match=rf"t\.txt:{number + 1}: expected '1\|0 <file> <file>', found '{bad}'"
    ):
        read_trials(tmp_path / "t.txt")
    lines = [f"{line} {i}".strip() for i, line in enumerate(lines)]
    for line in (lines[number], "1 a b nan", "1 a b x"):
        (tmp_path / "s.txt").write_text(
            "\n".join([*lines[:number], line, *lines[number + 1 :]]) + "\n"
        )
        with pytest.raises(
            ValueError, match=rf"s\.txt:{number + 1}: expected .*, found '({line}|nan|x)'"
        ):
            read_scores(tmp_path / "s.txt")


def test_scores_of_many_blocks(tmp_path, three_at_once):
    families = {
        "plain": ["1 a b 0.5", "0 a  c -1e-3", "1 b c 2"] * 3,
        "spoof": [
            "s a bonafide target 1",
            "s b A01 spoof -2",
            "s c - nontarget 0.25",
            "t d A02 spoof 3",
        ]
        * 2,
        "short": ["s a target 1", "s b spoof -2", "s c nontarget 0.25", "s d target 9"],
    }
    for name, lines in families.items():
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        read = read_scores(tmp_path / name)
        words = [line.split() for line in lines]
        assert read.lines == [" ".join(w[:-1]) for w in words]
        assert read.scores.tolist() == [float(w[-1]) for w in words]
        assert read.labels.dtype == bool
        if name == "plain":
            assert read.labels.tolist() == [w[0] == "1" for w in words]
            continue
        assert read.labels.tolist() == ["target" in w for w in words]
        assert read.kinds.tolist() == [w[-2] for w in words]
        attacks = [w[2] for w in words]
        if name == "short":
            attacks = ["spoof" if "spoof" in w else "bonafide" for w in words]
        assert read.attacks.tolist() == attacks
    (tmp_path / "s").write_text("\n".join([*families["spoof"], "s e A03 target 1"]))
    with pytest.raises(ValueError, match=r"s:9: expected 'bonafide', .* found 'A03 target'"):
        read_scores(tmp_path / "s")
    (tmp_path / "u").write_text("a b 1\na c 2\nb c 3\na  d 4\n")
    read = read_scores(tmp_path / "u", labelled=False)
    assert read.lines == ["a b", "a c", "b c", "a d"]
    assert read.scores.tolist() == [1, 2, 3, 4]
    assert read.labels is None
    with pytest.raises(ValueError, match="u:1: expected .* Metrics need a label"):
        read_scores(tmp_path / "u")


def test_a_file_in_parts_is_written_whole_or_not_at_all(tmp_path):
    write_atomically(tmp_path / "f", iter([b"a", b"bc"]))

    def interrupted():
        yield b"x" * 10000
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "f", interrupted())
    with pytest.raises(ValueError):
        write_scores(tmp_path / "f", ["1 a b"], np.zeros(2))
    assert (tmp_path / "f").read_bytes() == b"abc"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


@given(st.integers(1, 40), st.integers(1, 400), st.integers(1, 200), st.integers(0, 99))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_scores_in_blocks_of_the_matrix(files, trials, at_once, seed):
    rng = np.random.default_rng(seed)
    names = [f"f{i}" for i in range(files)]
    enrol = rng.integers(0, files, trials)
    test = rng.integers(0, files, trials)
    listed = Trials([], [(name,) for name in names], names, enrol, test)
    reps = torch.randn(files, 3, 4, generator=torch.Generator().manual_seed(seed))
    scorer = Scorer(SpeakerNet(Tiny(), Squares()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scorer_module, "SCORES_AT_ONCE", at_once)
        got = scorer.score(listed, dict(zip(names, reps, strict=True)))
    means = scorer.net.loss.project(reps).mean(1).numpy().astype(float)
    np.testing.assert_allclose(got, (means[enrol] * means[test]).sum(1), atol=1e-5)


# ---------------------------------------------------------------------- buckets
@pytest.fixture(scope="module")
def lengths(tmp_path_factory):
    """A folder with files of many lengths, and {file: samples}."""
    folder = tmp_path_factory.mktemp("lengths")
    rng = np.random.default_rng(0)
    waves = {}
    for i, length in enumerate([*rng.integers(3000, 12000, 12), 8000, 8001, 7999, 300]):
        waves[f"{i}.wav"] = 0.1 * rng.standard_normal(int(length))
    for name, wave in waves.items():
        soundfile.write(folder / name, wave, 16000, subtype="FLOAT")
    return folder, {name: wave.astype(np.float32) for name, wave in waves.items()}


@pytest.mark.parametrize(
    "model",
    [
        lambda: build_model("ResNetSE34L", nOut=16, norm="mean"),
        lambda: build_model("ECAPA_TDNN", nOut=16, eca_c=32),
    ],
)
def test_embeddings_in_buckets_are_those_of_the_repeated_files(lengths, model):
    folder, waves = lengths
    torch.manual_seed(0)
    scorer = Scorer(SpeakerNet(model(), Squares()))
    data = EvalDataset([*waves], str(folder), eval_frames=0, num_eval=1, bucket_frames=25)
    assert len(data) < 6
    assert sorted(i for item in data.items for i in item) == [*range(16)]
    for index, reps in scorer.represent(batches(eval_loader(data, workers=0))):
        for i, rep in zip(index, reps, strict=True):
            wave = waves[f"{i}.wav"]
            # 25 frames are 4000 samples.
            whole = np.resize(wave, -(-len(wave) // 4000) * 4000)
            with torch.inference_mode():
                want = scorer.net.model(torch.from_numpy(whole)[None])
            torch.testing.assert_close(rep, want, atol=1e-5, rtol=1e-5)


def test_items_are_limited_and_the_largest_come_first(lengths, monkeypatch):
    folder, waves = lengths
    monkeypatch.setattr(DatasetLoader, "EVAL_SAMPLES", 16000)
    for bucket, longest in ((0, 12000), (25, 12000), (50, 16000), (500, 80000)):
        data = EvalDataset([*waves], str(folder), eval_frames=0, num_eval=1, bucket_frames=bucket)
        sizes = [x.numel() for _, x in data]
        assert sizes == sorted(sizes, reverse=True)
        assert max(sizes) <= max(16000, longest)
        for index, x in data:
            assert x.shape[-1] % max(160 * bucket, 1) == 0
            for i, row in zip(index, x, strict=True):
                assert np.array_equal(row[0], np.resize(waves[f"{i}.wav"], row.shape[1]))
        for world in (2, 3):
            shares = [sum(sizes[rank::world]) for rank in range(world)]
            assert max(shares) - min(shares) <= sizes[0]


def test_memory_too_small_for_a_batch(lengths):
    class LimitedNet(Tiny):
        """A net that has memory for `most` rows only."""

        def forward(self, x):
            if len(x) > most:
                raise torch.OutOfMemoryError("CUDA out of memory")
            row_counts.append(len(x))
            return super().forward(x)

    scorer = Scorer(SpeakerNet(LimitedNet(), Squares()))
    x = torch.randn(7, 2, 4000)
    most = 100
    row_counts = []
    ((_, whole),) = scorer.represent([([*range(7)], x)])
    most = 3
    row_counts = []
    ((index, parts),) = scorer.represent([([*range(7)], x)])
    assert sum(row_counts) == 14
    assert max(row_counts) <= 3
    assert index == [*range(7)]
    torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-5)
    most = 0
    folder, waves = lengths
    data = EvalDataset([*waves], str(folder), eval_frames=0, num_eval=1)
    first_path = data.paths[data.items[0][0]]
    message = rf"^{first_path}: this file is too long for the memory of cpu. .*--eval_frames"
    options = SimpleNamespace(nDataLoaderThread=0, cache_precision="float32")
    with pytest.raises(LoadingError, match=message):
        list(represent_files(scorer, data, options))


def evaluate(program, corpus, folder, trials, *words):
    """Runs --eval on a list of trials; the scores are written to s.txt in the folder."""
    words = ["--test_list", folder / trials, "--test_path", corpus / "wav", *words]
    output = ["--output", folder / "s.txt", "--nDataLoaderThread", 0]
    return program("--eval", *words, *output)


def test_buckets_and_mixed_precision_are_choices(corpus, checkpoint, tmp_path, program):
    """Without these options the scores stay the same. With them the scores change only slightly."""
    lines = (corpus / "trials.txt").read_text().splitlines()
    targets = [line for line in lines if line[0] == "1"][:2]
    nontargets = [line for line in lines if line[0] == "0"][:2]
    (tmp_path / "t.txt").write_text("\n".join([*targets, *nontargets]))

    def score(*words):
        code, out, err = evaluate(
            program, corpus, tmp_path, "t.txt", "--initial_model", checkpoint, *words
        )
        assert code == 0
        warned = "--bucket_frames has no effect without --eval_frames 0" in out + err
        assert warned == (words[0] != "--eval_frames")
        return np.array(scores_in(tmp_path / "s.txt"))

    whole = ["--eval_frames", 0]
    plain = score(*whole)
    for words in (["--mixedprec"], ["--bucket_frames", 10]):
        assert 0 < np.abs(score(*whole, *words) - plain).max() < 0.05
    score("--bucket_frames", 10)


def test_a_training_in_mixed_precision_evaluates_in_it(corpus, tmp_path, program):
    """The scores equal --eval --mixedprec bit for bit, and --eval up to rounding."""
    assert program(*small_run(corpus, tmp_path / "run", "--mixedprec", "--max_epoch", 1))[0] == 0
    found = [scores_in(tmp_path / "run" / "result" / "scores.txt")]
    for words in (["--mixedprec"], []):
        run = ["--save_path", tmp_path / "run"]
        code, _, _ = evaluate(program, corpus, tmp_path, corpus / "trials.txt", *run, *words)
        assert code == 0
        found.append(scores_in(tmp_path / "s.txt"))
    assert found[0] == found[1]
    assert 0 < np.abs(np.subtract(found[0], found[2])).max() < 0.05


# ---------------------------------------------------------------------- all pairs
def all_pairs(program, corpus, checkpoint, list_file, output, *words):
    """Runs --all_pairs on a list of files."""
    inputs = ["--all_pairs", list_file, "--test_path", corpus / "wav"]
    outputs = ["--output", output, "--nDataLoaderThread", 0]
    return program(*inputs, "--initial_model", checkpoint, *outputs, *words)


def metric_lines(out):
    """The lines of a program's output with metrics, without the thresholds."""
    lines = []
    for line in out.splitlines():
        if "EER" in line or "minDCF" in line or "non-target" in line:
            lines.append(line.split("at threshold")[0])
    return lines


def test_all_pairs_equal_a_list_of_all_trials(corpus, checkpoint, tmp_path, program, monkeypatch):
    # Two rows of the matrix at a time.
    monkeypatch.setattr(scorer_module, "SCORES_AT_ONCE", 30)
    lines = (corpus / "train_list.txt").read_text().splitlines()[::4][:8]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    files = [line.split() for line in lines]
    trials = []
    for (speaker, file), (other_speaker, other_file) in itertools.combinations(files, 2):
        trials.append(f"{int(speaker == other_speaker)} {file} {other_file}\n")
    (tmp_path / "trials.txt").write_text("".join(trials))
    code, out_of_pairs, err = all_pairs(
        program, corpus, checkpoint, tmp_path / "list.txt", tmp_path / "all.txt"
    )
    assert code == 0, err
    code, out_of_trials, _ = evaluate(
        program, corpus, tmp_path, "trials.txt", "--initial_model", checkpoint
    )
    assert code == 0
    want = read_scores(tmp_path / "s.txt")
    got = read_scores(tmp_path / "all.txt")
    assert got.lines == want.lines
    assert np.abs(got.scores - want.scores).max() < 1e-5
    assert metric_lines(out_of_pairs) == metric_lines(out_of_trials)
    assert len(metric_lines(out_of_pairs)) == 3
    check_matrix(program, corpus, checkpoint, tmp_path, want.scores)
    check_without_speakers(program, corpus, checkpoint, tmp_path, [file for _, file in files])


def check_matrix(program, corpus, checkpoint, tmp_path, scores):
    """Scores all pairs of list.txt again, as a matrix."""
    code, out, _ = all_pairs(
        program, corpus, checkpoint, tmp_path / "list.txt", tmp_path / "all.npy"
    )
    matrix = np.load(tmp_path / "all.npy")
    assert code == 0
    assert "EER" in out
    assert matrix.shape == (8, 8)
    assert matrix.dtype == np.float32
    assert np.allclose(matrix, matrix.T, atol=1e-5)
    assert np.allclose(matrix[np.triu_indices(8, 1)], scores, atol=1e-5)


def check_without_speakers(program, corpus, checkpoint, tmp_path, files):
    """Scores all pairs of all.txt again, from a list of files without speakers."""
    (tmp_path / "files.txt").write_text("\n".join(files))
    code, out, _ = all_pairs(
        program, corpus, checkpoint, tmp_path / "files.txt", tmp_path / "plain.txt"
    )
    assert code == 0
    assert "EER" not in out
    assert "no metric" in out
    assert (tmp_path / "plain.txt").read_text() == "".join(
        line[2:] for line in (tmp_path / "all.txt").read_text().splitlines(keepends=True)
    )


@pytest.mark.parametrize("loss", [Squares, Distance])
@pytest.mark.parametrize("scoring", ["similarity", "euclidean"])
def test_a_matrix_in_blocks(loss, scoring, monkeypatch):
    for name, size in (("SCORES_AT_ONCE", 20), ("NUMBERS_AT_ONCE", 300), ("FILES_AT_ONCE", 4)):
        monkeypatch.setattr(scorer_module, name, size)
    scorer = Scorer(SpeakerNet(Tiny(), loss()))
    reps = list(torch.randn(11, 2, 16, generator=torch.Generator().manual_seed(0)))
    blocks = list(scorer.matrix(reps, reps[:7], scoring))
    similarity = getattr(scorer.net.loss, scoring)
    want = np.empty((11, 7))
    for i, j in np.ndindex(11, 7):
        # The mean over all pairs of crops.
        scores = []
        for x, y in itertools.product(reps[i], reps[j]):
            scores.append(similarity(x[None, None], y[None, None]).item())
        want[i, j] = np.mean(scores)
    assert len(blocks) > 3
    assert np.allclose(torch.cat(blocks), want, atol=1e-5)


@pytest.mark.parametrize(
    "lines, words, message",
    [
        ("{0} {1}", [], "expected at least two files, whose pairs are scored, found 1"),
        (
            "{0} {1}\n{0} {3}",
            [],
            "at least one speaker, found 2 files of 1 speakers",
        ),
        (
            "a {1}\nb {3}",
            [],
            "found 2 files of 2 speakers. Add files, or list them without speakers",
        ),
        ("1 {1} {3}", [], "expected '<file>' or '<speaker> <file>', found '1 "),
        ("{1}\n{3}\nno.wav", [], "1 of 3 files are missing"),
        (
            "{1}\n{3}",
            ["--score_norm", "snorm", "--cohort_list", "x"],
            "--score_norm does not work with --all_pairs",
        ),
        ("{1}\n{3}", ["--qualities"], "--qualities does not work with --all_pairs"),
    ],
)
def test_lists_that_have_no_pairs(corpus, checkpoint, tmp_path, program, lines, words, message):
    files = (corpus / "train_list.txt").read_text().split()
    (tmp_path / "list.txt").write_text(lines.format(*files))
    code, _, err = all_pairs(
        program, corpus, checkpoint, tmp_path / "list.txt", tmp_path / "all.txt", *words
    )
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "all.txt").exists()


def test_all_pairs_need_symmetric_similarities(tmp_path):
    scorer = Scorer(SpeakerNet(Tiny(), Squares()))
    scorer.net.loss.fusion = 0.5
    with pytest.raises(
        InputError, match="--trainfunc x the score depends on which file of a pair is the test file"
    ):
        evaluate_pairs(scorer, None, None, SimpleNamespace(trainfunc="x"), tmp_path / "all.txt")


def test_all_pairs_need_embeddings(corpus, tmp_path, program):
    torch.manual_seed(0)
    net = build_model("ResNetSE34L", nOut=16, encoder_type="CAP")
    torch.save({"model": net.state_dict()}, tmp_path / "cap.model")
    code, _, err = all_pairs(
        program,
        corpus,
        tmp_path / "cap.model",
        corpus / "train_list.txt",
        tmp_path / "all.txt",
        "--encoder_type",
        "CAP",
        "--nOut",
        16,
        "--trainfunc",
        "proto",
        "--eval_frames",
        40,
    )
    assert code == 2
    message = (
        "--all_pairs works on embeddings of single utterances, but --encoder_type CAP pools every "
        "pair"
    )
    assert message in err
