"""Back ends on the command line: every command equals the numbers of the embeddings in files.

pytest tests/test_backend_commands.py
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import trainSpeakerNet
import tuneThreshold
from corpus.file_lists import speakers_of_real_speech
from metrics.backend_scores import trial_scores
from metrics.backends import estimate, load_backend
from metrics.rates import error_rates, min_dcf
from metrics.scores import read_scores

SPEECH = Path(os.environ.get("SPEECH_DATA", "none"), "speechocean_mini")
WEIGHTS = Path(os.environ.get("SPEAKER_WEIGHTS", "none"), "campplus_cn_en_common.pt")
CROPS = ["--eval_frames", "40", "--num_eval", "2", "--device", "cpu", "--nDataLoaderThread", "0"]


@pytest.fixture(scope="module")
def world(corpus, checkpoint, tmp_path_factory):
    """A folder with embeddings of all files in npy/, and a back end of the training list."""
    folder = tmp_path_factory.mktemp("backends")
    shared = ["--initial_model", checkpoint, *CROPS]
    words = ["--extract", corpus / "wav", "--output", folder / "npy", *shared]
    assert not trainSpeakerNet.main([str(word) for word in words])
    words = ["--estimate_backend", folder / "backend.npz", *shared]
    words += ["--backend_list", corpus / "train_list.txt", "--backend_path", corpus / "wav"]
    words += ["--backend_stages", "mean", "wccn", "--wccn_shrinkage", "0.25"]
    assert not trainSpeakerNet.main([str(word) for word in words])
    return folder


def every_file(world):
    """The names of all embeddings."""
    return sorted(str(path.relative_to(world / "npy")) for path in (world / "npy").rglob("*.npy"))


def mean_embedding(world, name):
    """The mean over crops of a file's embeddings."""
    return np.load((world / "npy" / name).with_suffix(".npy")).astype(float).mean(0)


def expected_scores(world, corpus, backend):
    """The scores of the trials, computed from the embeddings in files."""
    units = {}
    for line in (corpus / "trials.txt").read_text().splitlines():
        for name in line.split()[1:]:
            crops = backend.transform(np.load((world / "npy" / name).with_suffix(".npy")))
            units[name] = (crops / np.linalg.norm(crops, axis=1, keepdims=True)).mean(0)
    scores = []
    for line in (corpus / "trials.txt").read_text().splitlines():
        _, enrol, test = line.split()
        scores.append(units[enrol] @ units[test])
    return np.array(scores)


def evaluated(world, corpus, checkpoint, program, *words):
    """Runs --eval, and returns the scores and what was printed."""
    path = world / "scores.txt"
    trials = ["--test_list", corpus / "trials.txt", "--test_path", corpus / "wav"]
    shared = ["--initial_model", checkpoint, *CROPS, "--output", path]
    code, out, err = program("--eval", *trials, *shared, *words)
    assert code == 0, err
    return read_scores(path).scores, out + err


def test_estimate_equals_the_embeddings_in_files(world, corpus):
    found = load_backend(world / "backend.npz")
    speakers = speakers_of_real_speech(corpus / "train_list.txt")
    x = np.stack([mean_embedding(world, name) for name in speakers])
    expected = estimate(x, list(speakers.values()), ["mean", "wccn"], wccn_shrinkage=0.25)
    assert found.stages == ["mean", "wccn"]
    assert (found.files, found.speakers) == (len(speakers), 8)
    assert found.source == str(corpus / "train_list.txt") and len(found.network) == 64
    metric = found.steps[1].matrix @ found.steps[1].matrix.T
    known = expected.steps[1].matrix @ expected.steps[1].matrix.T
    assert np.abs(metric - known).max() < 1e-4 * np.abs(known).max()
    assert found.steps[0].offset == pytest.approx(expected.steps[0].offset, abs=1e-6)


def test_eval_and_score_norm(world, corpus, checkpoint, program):
    backend = load_backend(world / "backend.npz")
    expected = expected_scores(world, corpus, backend)
    cohort = ["--cohort_list", corpus / "train_list.txt", "--cohort_path", corpus / "wav"]
    words = ["--backend", world / "backend.npz", "--score_norm", "snorm", "--qualities", *cohort]
    scores, text = evaluated(world, corpus, checkpoint, program, *words)
    assert scores == pytest.approx(expected, abs=1e-4)
    assert f"Back end    {backend}" in text
    # The cohort went through the back end, so the mean score of both sides is subtracted.
    normalised = read_scores(world / "scores_snorm.txt").scores
    table = (world / "scores_qualities.txt").read_text().splitlines()
    columns = table[0].split("\t")
    first = dict(zip(columns, table[1].split("\t"), strict=True))
    assert abs(float(first["cohort_enrol"])) < 0.5
    assert np.corrcoef(normalised, expected)[0, 1] > 0.8
    name = (corpus / "trials.txt").read_text().split()[1]
    lengths = backend.lengths(np.load((world / "npy" / name).with_suffix(".npy")))
    assert float(first["norm_enrol"]) == pytest.approx(lengths.mean(), rel=1e-4)


def test_mean_subtraction(world, corpus, checkpoint, program):
    speakers = speakers_of_real_speech(corpus / "train_list.txt")
    of_train = np.stack([mean_embedding(world, name) for name in speakers])
    words = ["--mean_subtraction", corpus / "train_list.txt", "--mean_path", corpus / "wav"]
    scores, _ = evaluated(world, corpus, checkpoint, program, *words)
    backend = estimate(of_train, [], ["mean"])
    assert scores == pytest.approx(expected_scores(world, corpus, backend), abs=1e-5)
    names = set()
    for line in (corpus / "trials.txt").read_text().splitlines():
        names.update(line.split()[1:])
    own = estimate(np.stack([mean_embedding(world, name) for name in names]), [], ["mean"])
    words = ["--mean_subtraction", "own"]
    scores, text = evaluated(world, corpus, checkpoint, program, *words)
    assert scores == pytest.approx(expected_scores(world, corpus, own), abs=1e-5)
    assert "mean of the evaluated files" in text


def test_extract_all_pairs_and_check(world, corpus, checkpoint, program, tmp_path):
    backend = load_backend(world / "backend.npz")
    names = sorted(path.relative_to(corpus / "wav") for path in (corpus / "wav").rglob("*.wav"))
    names = names[:3]
    (tmp_path / "list.txt").write_text("".join(f"{name}\n" for name in names))
    shared = ["--initial_model", checkpoint, *CROPS, "--test_path", corpus / "wav"]
    shared += ["--backend", world / "backend.npz"]
    listed = tmp_path / "list.txt"
    assert program("--extract", listed, "--output", tmp_path / "npy", *shared)[0] == 0
    for name in names:
        found = np.load((tmp_path / "npy" / name).with_suffix(".npy"))
        raw = np.load((world / "npy" / name).with_suffix(".npy"))
        assert found == pytest.approx(backend.transform(raw), rel=1e-4, abs=1e-4)
        assert found.dtype == np.float32
    code, out, _ = program("--extract", names[0], *shared)
    first = np.load((tmp_path / "npy" / names[0]).with_suffix(".npy"))
    assert np.array([line.split() for line in out.splitlines()], float) == pytest.approx(
        first, rel=1e-4, abs=1e-4
    )
    assert program("--all_pairs", listed, "--output", tmp_path / "m.npy", *shared)[0] == 0
    units = backend.transform(np.load((world / "npy" / names[1]).with_suffix(".npy")))
    other = backend.transform(np.load((world / "npy" / names[2]).with_suffix(".npy")))
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    matrix = np.load(tmp_path / "m.npy")
    assert matrix[1, 2] == pytest.approx((units @ other.T).mean(), abs=1e-4)
    # --check reads embeddings, and scales them to length 1 before everything else.
    (tmp_path / "trials.txt").write_text(f"1 {names[0]} {names[1]}\n0 {names[0]} {names[2]}\n")
    words = ["--check", "--test_list", tmp_path / "trials.txt", "--test_path", world / "npy"]
    words += ["--output", tmp_path / "check.txt", "--device", "cpu"]
    assert program(*words, "--mean_subtraction", "own")[0] == 0
    raw = np.stack([mean_embedding(world, name) for name in names])
    unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    centred = unit - unit.mean(0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    scores = read_scores(tmp_path / "check.txt").scores
    assert scores == pytest.approx(centred[1:] @ centred[0], abs=1e-5)
    code, _, err = program(*words, "--backend", world / "backend.npz")
    assert code == 2 and "`python tuneThreshold.py score`" in err


def test_verify_leaves_the_threshold_of_the_checkpoint_out(world, corpus, checkpoint, program):
    names = sorted((corpus / "wav").rglob("*.wav"))[:2]
    words = ["--verify", *names, "--initial_model", checkpoint, *CROPS]
    plain = program(*words)[1]
    assert "Threshold   none" not in plain
    words += ["--backend", world / "backend.npz"]
    code, out, _ = program(*words)
    assert code == 0
    assert "none: the threshold of the checkpoint does not suit scores of a back end" in out
    assert "none: give --threshold, or --calibration for a probability" in out
    assert "different speakers" in program(*words, "--threshold", "2")[1]


def test_messages(world, corpus, checkpoint, program, tmp_path):
    trials = ["--test_list", corpus / "trials.txt", "--test_path", corpus / "wav"]
    use = ["--eval", *trials, "--initial_model", checkpoint, *CROPS]
    both = ["--backend", world / "backend.npz", "--mean_subtraction", "own"]
    verify = ["--verify", "a.wav", "b.wav", "--initial_model", checkpoint]
    estimating = ["--estimate_backend", tmp_path / "new.npz", "--initial_model", checkpoint]
    listed = ["--backend_list", corpus / "train_list.txt", "--backend_path", corpus / "wav"]
    (tmp_path / "other.txt").write_text("text\n")
    names = sorted((corpus / "wav").rglob("*.wav"))[:2]
    verify[1:3] = names
    existing = ["--estimate_backend", tmp_path / "other.txt", "--initial_model", checkpoint]
    cases = [
        ([*use, *both], "--mean_subtraction: expected no --backend next to it"),
        ([*use, *both[:2], "--scoring", "euclidean"], "--scoring euclidean is not possible"),
        ([*use, "--backend", corpus / "trials.txt"], "expected a back end that --estimate_backend"),
        ([*verify, "--mean_subtraction", "own"], "--mean_subtraction own: expected --eval"),
        (estimating, "--estimate_backend needs --backend_list LIST"),
        ([*estimating, *listed, "--backend_stages", "plda", "mean"], "expected plda as the last"),
        ([*estimating, *listed, "--backend_stages", "whiten"], "--backend_stages: expected one of"),
        ([*estimating, *listed, "--lda_dim", "0"], "--lda_dim: expected at least 1, found 0"),
        ([*existing, *listed], "found a file of another kind, which is not overwritten"),
    ]
    for words, message in cases:
        code, _, err = program(*words)
        assert code == 2 and message in err, (words, err)
        assert "Traceback" not in err
    assert not (tmp_path / "new.npz").exists()
    missing = ["--backend_list", tmp_path / "missing.txt", "--lda_dim", "3"]
    _, out, err = program(*estimating, *missing, "--backend_stages", "mean")
    assert "warning: --lda_dim has no effect without the stage lda." in out + err


def test_a_back_end_has_no_effect_in_training(world, corpus, program, tmp_path):
    """The message of a training says so. The wrong list ends the training at once."""
    words = ["--train_list", tmp_path / "none.txt", "--backend", world / "backend.npz"]
    _, out, err = program(*words)
    assert "warning: --backend has no effect without --eval" in out + err


@pytest.mark.slow
@pytest.mark.parametrize("stages", ["mean wccn", "mean length lda", "mean plda"])
def test_export(world, corpus, checkpoint, program, tmp_path, stages):
    """The ONNX file gives the embeddings of the back end, and the numbers that scores need."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    shared = ["--initial_model", checkpoint, "--eval_frames", "0", "--device", "cpu"]
    path = tmp_path / "backend.npz"
    words = ["--estimate_backend", path, *shared, "--backend_stages", *stages.split()]
    words += ["--backend_list", corpus / "train_list.txt", "--backend_path", corpus / "wav"]
    assert program(*words)[0] == 0
    code, _, err = program("--export", tmp_path / "net.onnx", *shared, "--backend", path)
    assert code == 0, err
    run = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    facts = run.get_modelmeta().custom_metadata_map
    backend = load_backend(path)
    assert facts["backend"] == str(backend)
    assert "threshold" not in facts and "EER" not in facts
    wave = torch.randn(1, 16000).numpy()
    plain = program("--export", tmp_path / "raw.onnx", *shared)
    assert plain[0] == 0
    raw = onnxruntime.InferenceSession(tmp_path / "raw.onnx").run(None, {"waves": wave})[0]
    found = run.run(None, {"waves": wave})[0]
    assert found == pytest.approx(backend.transform(raw), rel=1e-3, abs=1e-3)
    if "plda" in stages:
        assert facts["scoring"] == "plda"
        assert json.loads(facts["plda_psi"]) == backend.psi.tolist()
    else:
        assert facts["scoring"] == "cosine"


def test_read_bonafide_leaves_spoofed_speech_out(tmp_path):
    path = tmp_path / "cm.txt"
    path.write_text("id1 a - - bonafide\nid1 b - A01 spoof\nid2 c - - bonafide\n")
    assert speakers_of_real_speech(path) == {"a": "id1", "c": "id2"}
    path.write_text("a\nb\n")
    assert speakers_of_real_speech(path) == {"a": None, "b": None}


@pytest.mark.slow
@pytest.mark.skipif(not WEIGHTS.is_file(), reason="no SPEAKER_WEIGHTS")
@pytest.mark.skipif(not SPEECH.is_dir(), reason="no SPEECH_DATA")
def test_whitening_halves_the_errors_of_the_released_campplus(program, tmp_path):
    """The known EER and minDCF with half of the training list, by the commands of the page."""
    lines = (SPEECH / "train_list.txt").read_text().splitlines()[::2]
    (tmp_path / "half.txt").write_text("\n".join(lines))
    shared = ["--initial_model", WEIGHTS, "--eval_frames", "0", "--device", "cpu"]
    words = ["--estimate_backend", tmp_path / "wccn.npz", "--backend_stages", "wccn", *shared]
    words += ["--backend_list", tmp_path / "half.txt", "--backend_path", SPEECH / "train"]
    assert program(*words)[0] == 0
    words = ["--eval", "--backend", tmp_path / "wccn.npz", *shared]
    words += ["--test_list", SPEECH / "trials.txt", "--test_path", SPEECH / "test"]
    assert program(*words, "--output", tmp_path / "scores.txt")[0] == 0
    read = read_scores(tmp_path / "scores.txt")
    threshold, p_miss, p_fa = error_rates(read.scores, read.labels)
    nearest = np.abs(p_miss - p_fa).argmin()
    assert 50 * (p_miss[nearest] + p_fa[nearest]) == pytest.approx(0.711, abs=0.008)
    cost = min_dcf(threshold, p_miss, p_fa, 0.05, 1, 1)[0]
    assert cost == pytest.approx(0.0439, abs=0.0005)


# ---------------------------------------------------------------------- embeddings in files
def tuned(*words):
    """Runs tuneThreshold.py. Returns its exit code."""
    try:
        return tuneThreshold.main([str(word) for word in words])
    except SystemExit as exit:
        return exit.code


def test_embeddings_in_files_give_the_scores_of_eval(
    world, corpus, checkpoint, program, tmp_path, capsys
):
    """tuneThreshold.py backend and score equal --estimate_backend and --eval --backend."""
    made = tmp_path / "made.npz"
    words = ["backend", corpus / "train_list.txt", "--embeddings", world / "npy"]
    words += ["--stages", "mean", "plda", "--output", made]
    assert tuned(*words) == 0
    found = load_backend(made)
    assert (found.stages, found.network, found.speakers) == (["mean", "plda"], "", 8)
    path = tmp_path / "scores.txt"
    words = ["score", corpus / "trials.txt", "--embeddings", world / "npy", "--output", path]
    assert tuned(*words, "--backend", made, "--far", "0.1") == 0
    expected, _ = evaluated(world, corpus, checkpoint, program, "--backend", made)
    assert read_scores(path).scores == pytest.approx(expected, abs=1e-3)
    assert (tmp_path / "scores_det.png").exists()
    # An adaptation needs no speakers, but more files than an embedding has numbers.
    (tmp_path / "files.txt").write_text("".join(f"{name}\n" for name in every_file(world)))
    adapting = ["backend", tmp_path / "files.txt", "--embeddings", world / "npy", "--adapt", made]
    assert tuned(*adapting, "--output", tmp_path / "adapted.npz", "--within_scale", "0.1") == 0
    wrong = ["--output", tmp_path / "adapted.npz", "--lda_dim", "3", "--stages", "mean"]
    capsys.readouterr()
    assert tuned(*adapting, *wrong) == 0
    assert tuned(*adapting[:-2], *wrong, "--within_scale", "0.1") == 0
    shown = "".join(capsys.readouterr())
    for warning in (
        "--lda_dim has no effect with --adapt",
        "--stages has no effect with --adapt",
        "--lda_dim has no effect without the stage lda",
        "--within_scale has no effect without --adapt",
    ):
        assert shown.count(f"warning: {warning}.") == 1
    assert load_backend(tmp_path / "adapted.npz").source.endswith("files.txt")
    assert tuned(*adapting, "--output", made) == 2
    # Without a back end, the scores are cosines.
    assert tuned(*words) == 0
    plain = estimate(np.zeros((1, 32)), [], ["length"])
    expected = expected_scores(world, corpus, plain)
    assert read_scores(path).scores == pytest.approx(expected, abs=1e-6)


def test_several_enrolment_files_are_averaged():
    draw = np.random.default_rng(3)
    crops = {name: draw.normal(size=(2, 4)) for name in "abc"}
    x = draw.normal(size=(40, 4))
    backend = estimate(x, [str(n // 4) for n in range(40)], ["mean", "plda"])
    found = trial_scores(backend, crops, [("a", "b"), ("c",)], ["c"], np.array([0, 1]), [0, 0])
    scores = []
    for left in (crops["a"] + crops["b"]) / 2:
        for right in crops["c"]:
            pair = backend.transform(np.stack([left, right]))
            scores.append(backend.scores(pair[:1], pair[1:])[0])
    assert found[0] == pytest.approx(np.mean(scores))


def test_messages_of_tune_threshold(world, corpus, tmp_path, capsys):
    listed = ["backend", corpus / "train_list.txt", "--embeddings", world / "npy"]
    score = ["score", corpus / "trials.txt", "--embeddings", world / "npy"]
    np.save(tmp_path / "a.npy", np.ones((2, 4), np.float32))
    np.save(tmp_path / "b.npy", np.ones((3, 4), np.float32))
    (tmp_path / "t.txt").write_text("a.npy b.npy\n")
    other = ["score", tmp_path / "t.txt", "--embeddings", tmp_path, "--output", tmp_path / "s"]
    (tmp_path / "other").write_text("text\n")
    new = [*listed, "--output", tmp_path / "new"]
    lda = [*new, "--lda_dim", "99", "--stages", "lda"]
    wrong = [*score, "--output", tmp_path / "s", "--backend", corpus / "trials.txt"]
    cases = [
        ([*new, "--wccn_shrinkage", "-1"], "--wccn_shrinkage: expected a number from 0 to 1000"),
        (lda, "--lda_dim: expected at most 7"),
        ([*listed, "--output", tmp_path / "other"], "found a file of another kind"),
        ([*listed, "--output", corpus / "train_list.txt"], "found an input of this command (LIST)"),
        (wrong, "expected a back end that"),
        (other, "b.npy: expected embeddings of 2 crops"),
    ]
    for words, message in cases:
        assert tuned(*words) == 2
        err = capsys.readouterr().err
        assert message in err and "Traceback" not in err, (words, err)
    np.save(tmp_path / "b.npy", np.ones((2, 4), np.float32))
    assert tuned(*other, "--backend", world / "backend.npz") == 2
    assert "expected embeddings of 32 numbers" in capsys.readouterr().err
    assert tuned(*other) == 0
    assert "The trials have no labels" in capsys.readouterr().out
