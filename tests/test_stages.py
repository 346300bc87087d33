"""--eval --stages: the table from raw to calibrated scores, its files, and its refusals.

pytest tests/test_stages.py
"""

import contextlib
import io
import re
from types import SimpleNamespace

import numpy as np
import pytest
from test_confidence import copies, simulated

import trainSpeakerNet
import tuneThreshold
from corpus.cohort import Cohort
from corpus.lists import Trials
from inference import shared_files, stages
from inference.evaluation import represent_all
from inference.scorer import Scorer
from inference.stage_lists import ListOfTrials, Lists, warn_of_overlaps
from metrics.backends import load_backend
from metrics.llr import act_dcf, cllr
from metrics.rates import eer, error_rates, min_dcf
from metrics.scores import read_scores
from metrics.stage_plan import STAGES, plan_of
from metrics.stage_table import Costs, measure_stages, table_of_stages
from network.checkpoints import read_checkpoint
from options.parser import parse

STAGES_OF_TABLE = ["mean", "wccn", "asnorm", "qualities", "calibration"]


@pytest.fixture(scope="module")
def lists(corpus, tmp_path_factory):
    """Two halves of the training list by speaker, and trials of the second half."""
    folder = tmp_path_factory.mktemp("lists")
    utterances = [line.split() for line in (corpus / "train_list.txt").read_text().splitlines()]
    speakers = sorted({speaker for speaker, _ in utterances})
    estimation = []
    files = []
    for speaker, file in utterances:
        if speaker in speakers[:5]:
            estimation.append(f"{speaker} {file}\n")
        else:
            files.append((speaker, file))
    trials = []
    for i, (speaker, file) in enumerate(files):
        for other, second in files[:i]:
            trials.append(f"{int(speaker == other)} {file} {second}\n")
    (folder / "backend.txt").write_text("".join(estimation))
    (folder / "development.txt").write_text("".join(trials))
    return folder


@pytest.fixture(scope="module")
def words(corpus, checkpoint, lists):
    """The words of a command with all lists, without the stages and the output."""
    named = {
        "initial_model": checkpoint,
        "test_list": corpus / "trials.txt",
        "backend_list": lists / "backend.txt",
        "cohort_list": lists / "backend.txt",
        "calibration_list": lists / "development.txt",
        "top_n": 5,
        "nDataLoaderThread": 0,
        "bootstrap": 100,
    }
    found = ["--eval"]
    for name, value in named.items():
        found += [f"--{name}", value]
    for name in ("test", "backend", "cohort", "calibration"):
        found += [f"--{name}_path", corpus / "wav"]
    return found


@pytest.fixture(scope="module")
def table(words, tmp_path_factory):
    """The folder of the results of all stages, and what the program printed."""
    folder = tmp_path_factory.mktemp("table")
    # The program logs to the stdout of this moment.
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = trainSpeakerNet.main(
            [*map(str, words), "--stages", *STAGES_OF_TABLE, "--output", f"{folder}/s.txt"]
        )
    assert not code
    return folder, out.getvalue()


def replaced(words, **values):
    """The words of a command with other values of some options. None removes an option."""
    found = [*words]
    for name, value in values.items():
        place = found.index(f"--{name}")
        found[place : place + 2] = [] if value is None else [f"--{name}", value]
    return found


def scores_of(path, labelled=True):
    return read_scores(path, labelled).scores


def test_the_table_has_all_stages_and_their_lists(table, lists):
    """Each row has four numbers, and all but the first have p-values. The lists are below."""
    _, out = table
    rows = re.findall(r"^(\w+) +[\d.]+ %  .*$", out, re.M)
    assert rows == ["raw", *STAGES_OF_TABLE]
    assert len(re.findall(r" p [01]\.\d{3}", out)) == 4 * len(STAGES_OF_TABLE)
    assert len(re.findall(r"\[[\d.]+, [\d.]+\]", out)) == 4 * len(rows)
    assert "from 100 resamples of 4 speakers" in out
    for stage in ("mean", "wccn"):
        assert re.search(rf"^{stage} +from {lists}/backend.txt: 30 files of 5 speakers$", out, re.M)
    assert re.search(
        rf"^asnorm +from {lists}/backend.txt: 30 utterances, .* the 5 closest", out, re.M
    )
    for stage in ("qualities", "calibration"):
        assert re.search(rf"^{stage} +from {lists}/development.txt: 153 trials", out, re.M)


def test_back_end_and_raw_scores(table, checkpoint):
    """The training's evaluation has the same raw scores. The stages are estimated in turn."""
    folder, _ = table
    raw = checkpoint.parent.parent / "result" / "scores.txt"
    assert (folder / "s.txt").read_text() == raw.read_text()
    backend = load_backend(folder / "s_backend.npz")
    assert backend.stages == ["mean", "wccn"]
    assert backend.source.endswith("backend.txt")


class Plain:
    """The stages in plain numpy, from embeddings {file: [K, D]} that --extract wrote."""

    def __init__(self, embeddings, listed):
        self.embeddings = embeddings
        x = np.stack([embeddings[file].mean(0) for _, file in listed])
        speakers = np.array([speaker for speaker, _ in listed])
        self.mean = x.mean(0)
        for speaker in set(speakers):
            x[speakers == speaker] -= x[speakers == speaker].mean(0)
        within = x.T @ x / (len(x) - 1)
        within += 0.5 * np.trace(within) / len(within) * np.eye(len(within))
        self.metric = np.linalg.inv(within)
        self.cohort = [file for _, file in listed]

    def score(self, first, second, metric):
        """The mean over all pairs of crops of the cosine in a metric."""
        a, b = self.embeddings[first] - self.mean, self.embeddings[second] - self.mean
        lengths = [np.sqrt(np.einsum("kd,de,ke->k", each, metric, each)) for each in (a, b)]
        return (a @ metric @ b.T / np.outer(*lengths)).mean()

    def normalised(self, first, second):
        """The AS-norm with the five highest scores of each side, after mean and wccn."""
        score = self.score(first, second, self.metric)
        found = []
        for side in (first, second):
            top = np.sort([self.score(side, file, self.metric) for file in self.cohort])[-5:]
            found.append((score - top.mean()) / top.std())
        return np.mean(found)


def test_stages_equal_plain_numpy(table, lists, corpus, checkpoint, program, tmp_path):
    """mean, wccn and asnorm equal numpy on the embeddings that --extract writes."""
    folder, _ = table
    words = ["--initial_model", checkpoint, "--output", tmp_path, "--nDataLoaderThread", 0]
    assert program("--extract", corpus / "wav", *words)[0] == 0
    embeddings = {}
    for path in tmp_path.rglob("*.npy"):
        name = str(path.relative_to(tmp_path).with_suffix(".wav"))
        embeddings[name] = np.load(path).astype(float)
    listed = [line.split() for line in (lists / "backend.txt").read_text().splitlines()]
    plain = Plain(embeddings, listed)
    identity = np.eye(len(plain.metric))
    pairs = [line.split()[1:] for line in read_scores(folder / "s.txt").lines[:20]]
    for end, score in (
        ("mean", lambda a, b: plain.score(a, b, identity)),
        ("wccn", lambda a, b: plain.score(a, b, plain.metric)),
        ("asnorm", plain.normalised),
    ):
        expected = [score(a, b) for a, b in pairs]
        np.testing.assert_allclose(scores_of(folder / f"s_{end}.txt")[:20], expected, atol=2e-4)


# ---------------------------------------------------------------------- separate commands
def with_final_system(folder, words):
    """The words of another use of a network with the final back end and its cohort."""
    kept = replaced(words, backend_list=None, backend_path=None, bootstrap=None)
    kept = replaced(kept, calibration_list=None, calibration_path=None)
    return [*kept[1:], "--backend", folder / "s_backend.npz", "--score_norm", "asnorm"]


def test_calibration_equals_separate_commands(table, words, lists, corpus, program, tmp_path):
    """--eval with the back end, then calibrate and apply of tuneThreshold.py: the same scores."""
    folder, _ = table
    common = ["--eval", "--qualities", *with_final_system(folder, words)]
    common = replaced(common, test_list=None)
    common += ["--test_list", lists / "development.txt", corpus / "trials.txt"]
    assert program(*common, "--output", tmp_path / "e.txt")[0] == 0
    text = (tmp_path / "e_2_qualities.txt").read_text()
    assert (folder / "s_qualities.txt").read_text() == text
    np.testing.assert_allclose(
        scores_of(tmp_path / "e_2_asnorm.txt"), scores_of(folder / "s_asnorm.txt"), rtol=1e-5
    )
    json = str(tmp_path / "c.json")
    quality = [str(tmp_path / f"{name}_qualities.txt") for name in ("e", "e_2")]
    dev, test = (str(tmp_path / f"{name}_asnorm.txt") for name in ("e", "e_2"))
    command = ["calibrate", dev, "--quality", quality[0], "--output", json]
    assert not tuneThreshold.main(command)
    output = str(tmp_path / "llr.txt")
    command = ["apply", json, test, "--quality", quality[1], "--output", output]
    assert not tuneThreshold.main(command)
    # The files of the separate commands have seven and six digits.
    expected = scores_of(tmp_path / "llr.txt")
    np.testing.assert_allclose(scores_of(folder / "s_calibration.txt"), expected, atol=0.02)
    ratio = scores_of(folder / "s_with_qualities.txt") / scores_of(folder / "s_calibration.txt")
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)


def test_verify_gives_the_same_ratio(table, words, program):
    folder, _ = table
    trials = read_scores(folder / "s_calibration.txt")
    common = replaced(with_final_system(folder, words), test_list=None)
    code, out, err = program(
        "--verify",
        *trials.lines[0].split()[1:],
        *common,
        "--calibration",
        folder / "s_calibration.json",
    )
    assert code == 0, err
    found = float(re.search(r"log-likelihood ratio (\S+)\)", out)[1])
    assert found == pytest.approx(trials.scores[0], abs=1e-3)


@pytest.mark.slow
def test_verify_without_a_norm(words, program, tmp_path):
    """The same for a back end and a calibration alone."""
    more = ["--stages", "length", "mean", "calibration", "--bootstrap", 0]
    assert program(*words, *more, "--output", tmp_path / "s.txt")[0] == 0
    trials = read_scores(tmp_path / "s_calibration.txt")
    common = replaced(with_final_system(tmp_path, words)[:-2], test_list=None, top_n=None)
    common = replaced(common, cohort_list=None, cohort_path=None)
    calibrated = ["--calibration", tmp_path / "s_calibration.json"]
    _, out, _ = program("--verify", *trials.lines[3].split()[1:], *common, *calibrated)
    found = float(re.search(r"log-likelihood ratio (\S+)\)", out)[1])
    assert found == pytest.approx(trials.scores[3], abs=1e-3)


def test_p_values_equal_compare(table, tmp_path, capsys):
    """`tuneThreshold.py compare` of two scores files has the p-values of the table."""
    folder, out = table
    command = ["compare", str(folder / "s_mean.txt"), str(folder / "s_wccn.txt")]
    assert not tuneThreshold.main([*command, "--bootstrap", "100", "--p_target", "0.05"])
    compared = capsys.readouterr().out
    row = re.search(r"^wccn .*$", out, re.M)[0]
    for name, number in (("EER", 0), ("minDCF(0.05)", 1)):
        p = re.search(rf"^{re.escape(name)} .*\] +([\d.]+)$", compared, re.M)[1]
        assert re.findall(r"p ([\d.]+)", row)[number] == p


# ---------------------------------------------------------------------- lists
@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
def test_each_file_is_embedded_once(words, lists, corpus, program, tmp_path, monkeypatch):
    """Lists of trials give a table each, except for trials without labels, which get scores.

    One list of trials is also the list of development trials. A warning says so.
    """
    embedded = []

    def represent(scorer, dataset, options):
        embedded.extend(dataset.paths)
        return represent_all(scorer, dataset, options)

    monkeypatch.setattr(shared_files, "represent_all", represent)
    own = lists / "development.txt"
    pairs = tmp_path / "pairs.txt"
    labelled = (corpus / "trials.txt").read_text().splitlines()
    pairs.write_text("".join(f"{line[2:]}\n" for line in labelled))
    more = ["--test_list", corpus / "trials.txt", own, pairs, "--stages", "length", "calibration"]
    words = replaced(words, test_list=None, cohort_list=None, cohort_path=None, top_n=None)
    # The same folder with another name.
    words = replaced(words, calibration_path=corpus / "wav" / ".." / "wav", bootstrap=0)
    code, out, err = program(*words, *more, "--output", tmp_path / "s.txt")
    assert code == 0
    assert len(embedded) == len(set(embedded)) == 24 + 18 + 30
    assert re.findall(r"^(raw|length|calibration) .*%", out, re.M) == [
        *("raw", "length", "calibration"),
        *("raw", "length", "calibration"),
    ]
    assert "p " not in re.search(r"^length .*%.*", out, re.M)[0] and "[" not in out
    assert out.count("warning: ") == 1
    assert f"{own}: its trials share speakers or files" in out
    assert f"--calibration_list {own} (3 of the 3 speakers and 18 of the 18 files)" in out
    assert "backend.txt (" not in out
    names = {"s.txt", "s_length.txt", "s_calibration.txt", "s_calibration.json", "s_backend.npz"}
    for number in (2, 3):
        names |= {f"s_{number}{end}.txt" for end in ("", "_length", "_calibration")}
    assert {path.name for path in tmp_path.iterdir()} == names | {"pairs.txt"}
    assert "pairs.txt: trials without labels, so there is no table." in out
    unlabelled = scores_of(tmp_path / "s_3_calibration.txt", labelled=False)
    assert unlabelled.tolist() == scores_of(tmp_path / "s_calibration.txt").tolist()


@pytest.mark.parametrize(
    "pairs, problem",
    [
        ([("a.wav", "b.wav"), ("a.wav", "c.wav")], "has no folder number 1.*`tuneThreshold.py c"),
        ([("x/a.wav", "x/b.wav"), ("y/a.wav", "z/c.wav")], "1000 resamples of 3 speakers"),
    ],
)
def test_without_speakers_there_are_no_intervals(pairs, problem, caplog):
    """Files without a folder do not say who speaks, and three speakers are too few."""
    lines = [f"{1 - i} {a} {b}" for i, (a, b) in enumerate(pairs)]
    trials = Trials.of_pairs(pairs, lines, np.array([True, False]))
    listed = ListOfTrials("trials.txt", "", trials, None)
    options = SimpleNamespace(
        dcf_p_target=0.05, dcf_c_miss=1, dcf_c_fa=1, eer="interpolated", bootstrap=1000
    )
    scores = {"raw": np.array([1.0, 0.0]), "mean": np.array([2.0, -1.0])}
    text = stages.table_text(listed, scores, options)
    assert re.search(rf"trials.txt: the table has no intervals.*{problem}", caplog.text)
    assert re.search(r"^mean +0.00 % +0.0000 +[\d.]+ +[\d.]+$", text, re.M)
    assert len(text.splitlines()) == 3


REFUSED = {
    "--stages mean: expected a list '<speaker> <file>' of other speakers": (
        ["mean"], {"backend_list": None, "backend_path": None}
    ),
    "Add --cohort_list LIST and --cohort_path DIR.": (
        ["snorm"], {"cohort_list": None, "cohort_path": None, "top_n": None}
    ),
    "--stages qualities: expected labelled trials of other speakers": (
        ["qualities", "calibration"], {"calibration_list": None, "calibration_path": None}
    ),
    "expected a cohort of at least 31 utterances": (["asnorm"], {"top_n": 31}),
    "Give --stages mean asnorm.": (["asnorm", "mean"], {}),
    "--stages needs trials.": (["mean"], {"test_list": None, "test_path": None}),
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSED)
def test_refused_before_the_network_runs(message, words, program, tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "load_scorer", None)
    chosen, changes = REFUSED[message]
    words = replaced(words, **changes)
    code, _, err = program(*words, "--stages", *chosen, "--output", tmp_path / "s.txt")
    assert code == 2
    assert message in err
    assert not [*tmp_path.iterdir()]


def test_trials_that_cannot_be_used(words, lists, corpus, program, tmp_path, monkeypatch):
    """Spoofed trials, development trials without labels, and another file in the place of one."""
    monkeypatch.setattr(stages, "load_scorer", None)
    (_, first, second), *_ = map(str.split, (corpus / "trials.txt").open())
    spoofed = tmp_path / "spoofed.txt"
    spoofed.write_text(f"a {first} bonafide target\na {second} A01 spoof\n")
    enrolment = tmp_path / "enrol.txt"
    enrolment.write_text(f"a {second}\n")
    command = [*words, "--stages", "calibration", "--output", tmp_path / "s.txt"]
    code, _, err = program(*command, "--test_list", spoofed, "--enroll_list", enrolment)
    assert code == 2 and "expected trials without spoofed speech for --stages" in err
    pairs = tmp_path / "pairs.txt"
    pairs.write_text(f"{first} {second}\n")
    code, _, err = program(*command, "--calibration_list", pairs)
    assert code == 2 and "expected trials with labels for --calibration_list" in err
    (tmp_path / "s_calibration.json").write_text("{}")
    code, _, err = program(*command)
    assert code == 2 and "found a file of another kind" in err
    code, _, err = program(*command, "--score_norm", "snorm")
    assert code == 2 and "--score_norm snorm: with --stages, the score normalisation" in err


def test_a_pooling_of_pairs_has_no_back_end(words, program, tmp_path, monkeypatch):
    """Such a model has no embedding of a single file. Only its scores can be calibrated."""
    monkeypatch.setattr(Scorer, "pairwise", True)
    command = [*words, "--output", tmp_path / "s.txt", "--stages"]
    for stage in ("length", "znorm", "qualities"):
        code, _, err = program(*command, stage, "calibration")
        assert code == 2
        assert f"--stages {stage} works on embeddings of single utterances" in err


def test_overlaps_of_development_trials(caplog):
    """Development trials are compared with the cohort, and not with their own list."""
    files = SimpleNamespace(paths=["a/1.wav", "b/1.wav"])
    others = SimpleNamespace(paths=["b/1.wav", "b/2.wav", "c/1.wav"])
    tested = ListOfTrials("test.txt", "wav", None, SimpleNamespace(paths=["x/1.wav", "y/1.wav"]))
    development = ListOfTrials("dev.txt", "wav", None, files)
    options = SimpleNamespace(cohort_list="cohort.txt", cohort_path="wav/./")
    warn_of_overlaps(Lists([tested], None, Cohort([], others), development), options)
    assert len(caplog.messages) == 1
    assert "warning: dev.txt: its trials share speakers or files" in caplog.text
    assert "--cohort_list cohort.txt (1 of the 2 speakers and 1 of the 2 files)" in caplog.text
    assert "--calibration_list" not in caplog.text


def test_options_without_effect(words, caplog):
    """Lists that no stage needs give warnings, and so do stages without --eval."""
    parsed = [str(word) for word in [*words, "--stages", "length"]]
    parse(parsed, {}, "", read_checkpoint)
    for name in ("cohort_list", "top_n", "calibration_list", "calibration_path"):
        assert f"--{name} has no effect without" in caplog.text
    assert "--backend_list has" not in caplog.text and "--bootstrap has" not in caplog.text
    parse(["--stages", "mean", "--bootstrap", "5"], {}, "", read_checkpoint)
    assert "--stages has no effect without --eval" in caplog.text


@pytest.mark.slow
def test_two_processes(table, words, program, tmp_path):
    """Two processes embed, and one of them computes the same scores."""
    folder, _ = table
    more = ["--stages", *STAGES_OF_TABLE, "--output", tmp_path / "s.txt", "--nproc", 2]
    assert program(*words, *more)[0] == 0
    for path in folder.glob("*.txt"):
        if "qualities" not in path.name or "with" in path.name:
            np.testing.assert_allclose(
                scores_of(tmp_path / path.name), scores_of(path), rtol=1e-4, atol=1e-4
            )


# ---------------------------------------------------------------------- numbers
def test_intervals_equal_copied_trials():
    """Every resample has the numbers of the copied trials, computed by the plain functions."""
    scores, label, sides, _ = simulated(np.random.default_rng(1), people=6, others=40)
    costs = Costs(0.2, 1.0, 2.0)
    found = measure_stages({"raw": scores}, label, costs, sides, 20)["raw"]

    def numbers(values, target):
        rates = error_rates(values, target)
        return {
            "EER": eer(*rates)[0],
            "minDCF(0.2)": min_dcf(*rates, 0.2, 1.0, 2.0)[0],
            "actDCF(0.2)": act_dcf(*rates, 0.2, 1.0, 2.0)[0],
            "Cllr": cllr(values, target),
        }

    assert found.values == pytest.approx(numbers(scores, label))
    expected = [numbers(scores[which], label[which]) for which in copies(sides, 20, 0)]
    for name, values in found.resamples.values.items():
        assert values == pytest.approx([row[name] for row in expected])


def test_the_table_by_hand():
    """Two stages of 4 trials, without intervals."""
    label = np.array([True, True, False, False])
    stages = {"raw": np.array([0.0, 0.0, 0.0, 0.0]), "mean": np.array([4.0, 4.0, -4.0, 4.0])}
    stages["raw"][0] = 1e-9
    table = table_of_stages(measure_stages(stages, label, Costs(0.5)))
    header, raw, mean = table.splitlines()
    assert header.split() == ["EER", "minDCF(0.5)", "actDCF(0.5)", "Cllr"]
    # A threshold above 0 accepts one of two targets and no other trial.
    assert raw.split() == ["raw", "33.33", "%", "0.5000", "1.0000", "1.0000"]
    # log2(1 + e^-4) = 0.0262 and log2(1 + e^4) = 5.7971.
    # Cllr = (0.0262 + (0.0262 + 5.7971) / 2) / 2
    assert mean.split() == ["mean", "33.33", "%", "0.5000", "0.5000", "1.4689"]


def test_a_stage_without_effect_has_the_p_value_1():
    scores, label, sides, _ = simulated(np.random.default_rng(2))
    stages = {"raw": scores, "mean": scores, "wccn": scores + 3 * label}
    table = table_of_stages(measure_stages(stages, label, Costs(), sides, 200))
    _, raw, _, same, _, better, _ = table.splitlines()
    assert "p" not in raw.split()
    assert re.findall(r"p (\d\.\d+)", same) == ["1.000"] * 4
    assert max(map(float, re.findall(r"p (\d\.\d+)", better))) < 0.02
    assert all(len(line) <= 100 for line in table.splitlines())


# ---------------------------------------------------------------------- order
@pytest.mark.parametrize(
    "stages, remedy",
    [
        ("asnorm mean", "mean asnorm"),
        ("plda length mean", "length mean plda"),
        ("mean mean wccn", "mean wccn"),
        ("calibration qualities", "qualities calibration"),
        ("calibration asnorm", "asnorm calibration"),
    ],
)
def test_order(stages, remedy):
    with pytest.raises(ValueError, match=rf"found {stages}. Give --stages {remedy}\.$"):
        plan_of(stages.split())
    plan_of(remedy.split())


def test_two_norms_are_refused():
    with pytest.raises(ValueError, match="at most one score normalisation, found snorm and znorm"):
        plan_of(["mean", "snorm", "znorm"])


def test_every_stage_alone_and_repeated_scaling():
    for stage in STAGES:
        assert plan_of([stage]).rows == ["raw", stage]
    assert plan_of(["length", "wccn", "length", "plda"]).rows[1:] == [
        "length",
        "wccn",
        "length_2",
        "plda",
    ]
