"""Evaluation at scale: whole files in buckets, lists and scores of many blocks, all pairs of a list, what they say in memory that is too small.

pytest tests/test_scale.py
"""

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
from common.text import Lines, Numbers
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
    for module in (text, metrics.scores):
        monkeypatch.setattr(module, "LINES_AT_ONCE", 3)


def scores_in(path):
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
        got, want = Lines("\n".join(lines).encode()), [line.strip() for line in lines]
        assert (
            list(got) == want
            and len(got) == len(want)
            and got == want
            and want == got
            and got == Lines("\n".join(want).encode())
        )
        assert (
            got[a:b] == want[a:b]
            and got[::2] == want[::2]
            and got[-1] == want[-1]
            and got != [*want, "x"]
            and got != ["x", *want[1:]]
        )
        assert Lines(got.text, str.upper)[0] == lines[0].upper()
        plain = (
            all(line.isascii() and line == " ".join(line.split()) for line in lines)
            and len({line.count(" ") for line in lines}) == 1
        )
        table = got.table(0, len(got))
        assert table == (
            [*map(list, zip(*map(str.split, lines), strict=True))] if plain and all(lines) else None
        )
        whole = [
            word
            for block in text.columns(
                got, lambda table: True, lambda first, last: ([line] for line in want[first:last])
            )
            for word in block[0]
        ]
        assert len(whole) == len(want)


def test_tables_are_of_plain_lines_of_the_stretch():
    lines = Lines(b"1 a b\n0 cc d\n1 e\tf\n0 g  h\n1 i j k\n0 l m\n1 n o\n1 p\x1cq r")
    assert lines.table(0, 2) == [["1", "0"], ["a", "cc"], ["b", "d"]] and lines.table(5, 7) == [
        ["0", "1"],
        ["l", "n"],
        ["m", "o"],
    ]
    assert (
        [lines.table(i, i + 1) for i in (2, 3, 7)] == [None] * 3
        and lines.table(4, 6) is None
        and len(lines.table(4, 5)) == 4
    )
    # nine words in three lines
    assert Lines(b"1 a b\n0 c\n1 d e f").table(0, 3) is None
    names = Numbers()
    assert (
        names.of(["b", "a", "b"]).tolist() == [0, 1, 0]
        and names.of(["c", "a"]).tolist() == [2, 1]
        and [*names] == ["b", "a", "c"]
    )


@pytest.mark.parametrize("labelled", [True, False])
def test_trials_of_many_blocks(tmp_path, three_at_once, labelled):
    """Plain blocks and odd ones, against a loop over the lines."""
    draw = np.random.default_rng(0)
    pairs = [
        (f"{'1 ' if draw.random() < 0.5 else '0 '}" * labelled + f"f{a}", f"f{b}")
        for a, b in draw.integers(0, 6, (20, 2))
    ]
    lines = [f"{left}{'  ' if i == 10 else ' '}{right}" for i, (left, right) in enumerate(pairs)]
    (tmp_path / "t.txt").write_bytes(
        "\n".join(line + "\r" * (i == 17) for i, line in enumerate(lines)).encode() + b"\n\n"
    )
    trials = read_trials(tmp_path / "t.txt")
    assert trials.lines == lines and (trials.label is None) == (not labelled)
    for i, line in enumerate(lines):
        *key, left, right = line.split()
        assert trials.models[trials.enrol[i]] == (left,) and trials.files[trials.test[i]] == right
        assert not key or trials.label[i] == (key == ["1"])
    assert (
        trials.files == [*dict.fromkeys(b for _, b in pairs)]
        and trials.enrol.dtype == trials.test.dtype == np.int64
    )
    write_scores(tmp_path / "s.txt", trials.lines, np.arange(20, dtype=np.float32) / 3)
    assert (tmp_path / "s.txt").read_text() == "".join(
        f"{line} {np.float32(i / 3):.7g}\n" for i, line in enumerate(lines)
    )


@pytest.mark.parametrize("number", [1, 3, 4, 9])
@pytest.mark.parametrize("bad", ["2 a b", "1 a", "1 a b c", "", "x"])
def test_bad_line_in_any_block(tmp_path, three_at_once, number, bad):
    lines = ["1 a b", "0 a c"] * 5 + ["1 b c"]
    lines[number] = bad
    (tmp_path / "t.txt").write_text("\n".join(lines))
    with pytest.raises(
        InputError, match=rf"t\.txt:{number + 1}: want '1\|0 <file> <file>', got '{bad}'"
    ):
        read_trials(tmp_path / "t.txt")
    lines = [f"{line} {i}".strip() for i, line in enumerate(lines)]
    for line in (lines[number], "1 a b nan", "1 a b x"):
        (tmp_path / "s.txt").write_text(
            "\n".join([*lines[:number], line, *lines[number + 1 :]]) + "\n"
        )
        with pytest.raises(
            ValueError, match=rf"s\.txt:{number + 1}: want .*, got '({line}|nan|x)'"
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
        assert read.lines == [" ".join(w[:-1]) for w in words] and read.scores.tolist() == [
            float(w[-1]) for w in words
        ]
        assert read.labels.dtype == bool and read.labels.tolist() == [
            {"0": False, "1": True}.get(w[0], "target" in w) for w in words
        ]
        if name != "plain":
            assert read.kinds.tolist() == [w[-2] for w in words]
            assert read.attacks.tolist() == (
                [w[2] for w in words]
                if name == "spoof"
                else ["spoof" if "spoof" in w else "bonafide" for w in words]
            )
    (tmp_path / "s").write_text("\n".join([*families["spoof"], "s e A03 target 1"]))
    with pytest.raises(ValueError, match=r"s:9: want 'bonafide', .* got 'A03 target'"):
        read_scores(tmp_path / "s")
    (tmp_path / "u").write_text("a b 1\na c 2\nb c 3\na  d 4\n")
    read = read_scores(tmp_path / "u", labelled=False)
    assert (
        read.lines == ["a b", "a c", "b c", "a d"]
        and read.scores.tolist() == [1, 2, 3, 4]
        and read.labels is None
    )
    with pytest.raises(ValueError, match="u:1: want .* nothing to evaluate"):
        read_scores(tmp_path / "u")


def test_a_file_in_parts_is_written_whole_or_not_at_all(tmp_path):
    write_atomically(tmp_path / "f", iter([b"a", b"bc"]))

    def torn():
        yield b"x" * 10000
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "f", torn())
    with pytest.raises(ValueError):
        write_scores(tmp_path / "f", ["1 a b"], np.zeros(2))
    assert (tmp_path / "f").read_bytes() == b"abc" and [
        path.name for path in tmp_path.iterdir()
    ] == ["f"]


@given(st.integers(1, 40), st.integers(1, 400), st.integers(1, 200), st.integers(0, 99))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_scores_in_blocks_of_the_matrix(files, trials, at_once, seed):
    draw = np.random.default_rng(seed)
    names = [f"f{i}" for i in range(files)]
    listed = Trials(
        [],
        [(name,) for name in names],
        names,
        draw.integers(0, files, trials),
        draw.integers(0, files, trials),
    )
    reps = torch.randn(files, 3, 4, generator=torch.Generator().manual_seed(seed))
    made = Scorer(SpeakerNet(Tiny(), Squares()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scorer_module, "SCORES_AT_ONCE", at_once)
        got = made.score(listed, dict(zip(names, reps, strict=True)))
    unit = made.net.loss.project(reps).mean(1).numpy().astype(float)
    np.testing.assert_allclose(got, (unit[listed.enrol] * unit[listed.test]).sum(1), atol=1e-5)


# ---------------------------------------------------------------------- buckets
@pytest.fixture(scope="module")
def lengths(tmp_path_factory):
    """Files of many lengths, and their samples."""
    folder, draw = tmp_path_factory.mktemp("lengths"), np.random.default_rng(0)
    waves = {
        f"{i}.wav": 0.1 * draw.standard_normal(int(n))
        for i, n in enumerate([*draw.integers(3000, 12000, 12), 8000, 8001, 7999, 300])
    }
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
    made = Scorer(SpeakerNet(model(), Squares()))
    data = EvalDataset([*waves], str(folder), eval_frames=0, num_eval=1, bucket_frames=25)
    assert len(data) < 6 and sorted(i for item in data.items for i in item) == [*range(16)]
    for index, reps in made.represent(batches(eval_loader(data, workers=0))):
        for i, rep in zip(index, reps, strict=True):
            wave = waves[f"{i}.wav"]
            whole = np.resize(wave, -(-len(wave) // 4000) * 4000)
            with torch.inference_mode():
                torch.testing.assert_close(
                    rep, made.net.model(torch.from_numpy(whole)[None]), atol=1e-5, rtol=1e-5
                )


def test_items_are_limited_and_the_largest_come_first(lengths, monkeypatch):
    folder, waves = lengths
    monkeypatch.setattr(DatasetLoader, "EVAL_SAMPLES", 16000)
    for bucket, longest in ((0, 12000), (25, 12000), (50, 16000), (500, 80000)):
        data = EvalDataset([*waves], str(folder), eval_frames=0, num_eval=1, bucket_frames=bucket)
        sizes = [x.numel() for _, x in (data[i] for i in range(len(data)))]
        assert (
            sizes == sorted(sizes, reverse=True)
            and max(sizes) <= max(16000, longest)
            and all(x.shape[-1] % max(160 * bucket, 1) == 0 for _, x in data)
        )
        assert all(
            np.array_equal(row[0], np.resize(waves[f"{i}.wav"], row.shape[1]))
            for index, x in data
            for i, row in zip(index, x, strict=True)
        )
        for world in (2, 3):
            shares = [sum(sizes[rank::world]) for rank in range(world)]
            assert max(shares) - min(shares) <= sizes[0]


def test_memory_too_small_for_a_batch(lengths):
    class Small(Tiny):
        def forward(self, x):
            if len(x) > most:
                raise torch.OutOfMemoryError("CUDA out of memory")
            tried.append(len(x))
            return super().forward(x)

    made, x = Scorer(SpeakerNet(Small(), Squares())), torch.randn(7, 2, 4000)
    most, tried = 100, []
    ((_, whole),) = made.represent([([*range(7)], x)])
    most, tried = 3, []
    ((index, parts),) = made.represent([([*range(7)], x)])
    assert sum(tried) == 14 and max(tried) <= 3 and index == [*range(7)]
    torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-5)
    most = 0
    folder, waves = lengths
    data = EvalDataset([*waves], str(folder), eval_frames=0, num_eval=1)
    with pytest.raises(
        LoadingError,
        match=rf"^{data.paths[data.items[0][0]]}: too long for the memory of cpu, even alone; .*--eval_frames",
    ):
        list(
            represent_files(
                made, data, SimpleNamespace(nDataLoaderThread=0, cache_precision="float32")
            )
        )


def test_buckets_and_mixed_precision_are_choices(corpus, checkpoint, tmp_path, program):
    """Neither changes scores unasked, both only slightly."""
    lines = (corpus / "trials.txt").read_text().splitlines()
    (tmp_path / "t.txt").write_text(
        "\n".join(
            [
                *[line for line in lines if line[0] == "1"][:2],
                *[line for line in lines if line[0] == "0"][:2],
            ]
        )
    )

    def score(*words):
        code, out, err = program(
            "--eval",
            "--initial_model",
            checkpoint,
            "--test_list",
            tmp_path / "t.txt",
            "--test_path",
            corpus / "wav",
            "--output",
            tmp_path / "s.txt",
            "--nDataLoaderThread",
            0,
            *words,
        )
        assert code == 0 and (
            "--bucket_frames has no effect without --eval_frames 0" in out + err
        ) == (words[0] != "--eval_frames")
        return np.array(scores_in(tmp_path / "s.txt"))

    whole = ["--eval_frames", 0]
    plain = score(*whole)
    for words in (["--mixedprec"], ["--bucket_frames", 10]):
        assert 0 < np.abs(score(*whole, *words) - plain).max() < 0.05
    score("--bucket_frames", 10)


def test_a_training_in_mixed_precision_evaluates_in_it(corpus, tmp_path, program):
    """Its scores are those of --eval --mixedprec, to the bit, and those of --eval but for rounding."""
    assert program(*small_run(corpus, tmp_path / "run", "--mixedprec", "--max_epoch", 1))[0] == 0
    found = [scores_in(tmp_path / "run" / "result" / "scores.txt")]
    for words in (["--mixedprec"], []):
        assert (
            program(
                "--eval",
                "--save_path",
                tmp_path / "run",
                "--test_list",
                corpus / "trials.txt",
                "--test_path",
                corpus / "wav",
                "--output",
                tmp_path / "s.txt",
                "--nDataLoaderThread",
                0,
                *words,
            )[0]
            == 0
        )
        found.append(scores_in(tmp_path / "s.txt"))
    assert found[0] == found[1] and 0 < np.abs(np.subtract(found[0], found[2])).max() < 0.05


# ---------------------------------------------------------------------- all pairs
def all_pairs(program, corpus, checkpoint, list_file, output, *words):
    return program(
        "--all_pairs",
        list_file,
        "--initial_model",
        checkpoint,
        "--test_path",
        corpus / "wav",
        "--output",
        output,
        "--nDataLoaderThread",
        0,
        *words,
    )


def test_all_pairs_equal_trials_of_these(corpus, checkpoint, tmp_path, program, monkeypatch):
    # two rows at a time
    monkeypatch.setattr(scorer_module, "SCORES_AT_ONCE", 30)
    lines = (corpus / "train_list.txt").read_text().splitlines()[::4][:8]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    files = [line.split() for line in lines]
    pairs = [(int(a == b), x, y) for i, (a, x) in enumerate(files) for b, y in files[i + 1 :]]
    (tmp_path / "trials.txt").write_text("".join(f"{same} {x} {y}\n" for same, x, y in pairs))
    code, told, err = all_pairs(
        program, corpus, checkpoint, tmp_path / "list.txt", tmp_path / "all.txt"
    )
    assert code == 0, err
    code, evaluated, _ = program(
        "--eval",
        "--initial_model",
        checkpoint,
        "--test_list",
        tmp_path / "trials.txt",
        "--test_path",
        corpus / "wav",
        "--output",
        tmp_path / "s.txt",
    )
    want, got = read_scores(tmp_path / "s.txt"), read_scores(tmp_path / "all.txt")
    assert code == 0 and got.lines == want.lines and np.abs(got.scores - want.scores).max() < 1e-5
    told, evaluated = (
        [
            line
            for line in out.splitlines()
            if "EER" in line or "minDCF" in line or "non-target" in line
        ]
        for out in (told, evaluated)
    )
    assert [line.split("at threshold")[0] for line in told] == [
        line.split("at threshold")[0] for line in evaluated
    ] and len(told) == 3

    code, out, _ = all_pairs(
        program, corpus, checkpoint, tmp_path / "list.txt", tmp_path / "all.npy"
    )
    matrix = np.load(tmp_path / "all.npy")
    assert (
        code == 0
        and "EER" in out
        and matrix.shape == (8, 8)
        and matrix.dtype == np.float32
        and np.allclose(matrix, matrix.T, atol=1e-5)
    )
    assert np.allclose(matrix[np.triu_indices(8, 1)], want.scores, atol=1e-5)

    (tmp_path / "files.txt").write_text("\n".join(x for _, x in files))
    code, out, _ = all_pairs(
        program, corpus, checkpoint, tmp_path / "files.txt", tmp_path / "plain.txt"
    )
    assert code == 0 and "EER" not in out and "no metric" in out
    assert (tmp_path / "plain.txt").read_text() == "".join(
        line[2:] for line in (tmp_path / "all.txt").read_text().splitlines(keepends=True)
    )


@pytest.mark.parametrize("loss", [Squares, Distance])
@pytest.mark.parametrize("scoring", ["similarity", "euclidean"])
def test_a_matrix_in_blocks(loss, scoring, monkeypatch):
    for name, size in (("SCORES_AT_ONCE", 20), ("NUMBERS_AT_ONCE", 300), ("FILES_AT_ONCE", 4)):
        monkeypatch.setattr(scorer_module, name, size)
    made, reps = (
        Scorer(SpeakerNet(Tiny(), loss())),
        list(torch.randn(11, 2, 16, generator=torch.Generator().manual_seed(0))),
    )
    blocks = list(made.matrix(reps, reps[:7], scoring))
    want = [
        [
            np.mean(
                [
                    getattr(made.net.loss, scoring)(x[None, None], y[None, None]).item()
                    for x in a
                    for y in b
                ]
            )
            for b in reps[:7]
        ]
        for a in reps
    ]
    assert len(blocks) > 3 and np.allclose(torch.cat(blocks), want, atol=1e-5)


@pytest.mark.parametrize(
    "lines, words, message",
    [
        ("{0} {1}", [], "want two files or more, whose pairs are scored, got 1"),
        (
            "{0} {1}\n{0} {3}",
            [],
            "want several speakers, and several files of one, got 2 files of 1 speakers",
        ),
        (
            "a {1}\nb {3}",
            [],
            "got 2 files of 2 speakers; add others, or list files without speakers",
        ),
        ("1 {1} {3}", [], "want '<file>' or '<speaker> <file>', got '1 "),
        ("{1}\n{3}\nno.wav", [], "1 of 3 files are missing"),
        (
            "{1}\n{3}",
            ["--score_norm", "snorm", "--cohort_list", "x"],
            "--score_norm: is of trials that a list names",
        ),
        ("{1}\n{3}", ["--qualities"], "--qualities: is of trials that a list names"),
    ],
)
def test_lists_that_have_no_pairs(corpus, checkpoint, tmp_path, program, lines, words, message):
    files = (corpus / "train_list.txt").read_text().split()
    (tmp_path / "list.txt").write_text(lines.format(*files))
    code, _, err = all_pairs(
        program, corpus, checkpoint, tmp_path / "list.txt", tmp_path / "all.txt", *words
    )
    assert (
        code == 2
        and message in err
        and "Traceback" not in err
        and not (tmp_path / "all.txt").exists()
    )


def test_all_pairs_want_similarities_that_are_symmetric(tmp_path):
    made = Scorer(SpeakerNet(Tiny(), Squares()))
    made.net.loss.fusion = 0.5
    with pytest.raises(
        InputError, match="--trainfunc x depends on which file of a pair is the tested one"
    ):
        evaluate_pairs(made, None, None, SimpleNamespace(trainfunc="x"), tmp_path / "all.txt")


def test_all_pairs_want_embeddings(corpus, tmp_path, program):
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
    assert (
        code == 2
        and "--all_pairs: works on embeddings of single utterances, but --encoder_type CAP pools every pair"
        in err
    )
