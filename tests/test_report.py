"""The HTML report.

The tests compare its numbers with direct computations and check that the page is valid,
self-contained and safe, that a browser shows it at two widths, and what errors say.
"""

import http.server
import json
import re
import shutil
import subprocess
import threading
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import tuneThreshold
from metrics.rates import summarize
from metrics.sasv import summarize_sasv
from metrics.scores import Scores
from report import trial_plots
from report.confusion import confusion, make_embedding_map
from report.markup import html
from report.names import short_names
from report.runs import ReportedRun

BROWSER_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, BROWSER_NAMES)), None)
# Elements without an end tag.
VOID = {"meta", "br", "hr", "img", "input", "link"}
REFERENCES = ("src", "href", "srcset", "action", "data", "xlink:href")
WIDTHS = (390, 1280)
# A name that must not become markup.
NASTY = 'run <b>&"1"'


# ---------------------------------------------------------------------- runs to report on
def plain_scores(path, seed, speakers=6):
    """Write trials of every pair of files, two files for each of `speakers` speakers."""
    draw = np.random.default_rng(seed)
    lines = []
    files = [f"id{speaker}/rec/{k}.wav" for speaker in range(speakers) for k in range(2)]
    for i, first in enumerate(files):
        for second in files[i + 1 :]:
            same = first.split("/")[0] == second.split("/")[0]
            score = draw.standard_normal() + 2.5 * same
            lines.append(f"{int(same)} {first} {second} {score:.5f}\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines))


def make_run(folder, seed, model):
    """Write a run folder with scores, a log, a configuration and a command."""
    plain_scores(folder / "result" / "scores.txt", seed)
    log = ""
    for epoch in (1, 2, 3):
        line = {"epoch": epoch, "step": 5 * epoch, "loss": 3 / epoch, "EER": 20 / epoch}
        log += json.dumps(line) + "\n"
    (folder / "log.jsonl").write_text(log)
    options = {
        "model": model,
        "lr": 0.1 * seed,
        "far": [0.1, 0.01],
        "note": "<script>alert(1)</script>",
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(options))
    command = f"python trainSpeakerNet.py --model {model}\n# revision abc\n"
    (folder / "command.txt").write_text(command)


def aware_scores(path, draw):
    """Write spoofing-aware trials of three claimed speakers, twelve of each kind and attack."""
    kinds = (
        ("target", "bonafide", 2),
        ("nontarget", "bonafide", 0),
        ("spoof", "A07", 0.5),
        ("spoof", "A08", -1),
    )
    lines = []
    for speaker in ("s1", "s2", "s3"):
        for kind, attack, mean in kinds:
            for k in range(12):
                score = draw.standard_normal() + mean
                lines.append(f"{speaker} f{k} {attack} {kind} {score:.5f}\n")
    path.write_text("".join(lines))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Two runs, a spoofing-aware scores file, and embeddings of eight speakers."""
    root = tmp_path_factory.mktemp("report")
    make_run(root / "first", 1, "ResNetSE34L")
    make_run(root / NASTY, 2, "ECAPA_TDNN")
    draw = np.random.default_rng(0)
    aware_scores(root / "aware.txt", draw)
    for speaker in range(8):
        folder = root / "embeddings" / f"id{speaker}"
        folder.mkdir(parents=True)
        for k in range(4):
            vectors = np.eye(8, 16)[speaker] + 0.1 * draw.standard_normal((2, 16))
            np.save(folder / f"{k}.npy", vectors)
    return root


def report(root, *words):
    """Run tuneThreshold.py --report with these words. Returns the text of the page."""
    output = root / "out" / "report.html"
    assert tuneThreshold.main(["--report", *map(str, words), "--output", str(output)]) == 0
    return output.read_text(encoding="utf-8")


def report_everything(inputs):
    """Report both runs, the spoofing-aware scores and the embeddings."""
    embeddings = inputs / "embeddings"
    runs = (inputs / "first", inputs / NASTY, inputs / "aware.txt")
    return report(inputs, *runs, "--embeddings", embeddings)


@pytest.fixture(scope="module")
def pages(inputs):
    """{name: text} of a report about everything, and of a report about one scores file alone."""
    return {
        "all": report_everything(inputs),
        "alone": report(inputs, inputs / "first" / "result" / "scores.txt"),
    }


class Checker(HTMLParser):
    """Checks that elements are closed in order and that no tag has an attribute twice.

    It collects the tags, the ids, the references to other files, and the texts.
    """

    def __init__(self):
        super().__init__()
        self.open = []
        self.ids = []
        self.references = []
        self.texts = []
        self.tags = []

    def handle_starttag(self, name, attributes):
        names = [key for key, _ in attributes]
        assert len({*names}) == len(names)
        self.tags.append(name)
        self.ids += [value for key, value in attributes if key == "id"]
        self.references += [value for key, value in attributes if key in REFERENCES]
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.texts.append(data)


def checked(text):
    """Check a page. Returns the Checker with what it collected."""
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert checker.open == []
    assert len({*checker.ids}) == len(checker.ids)
    return checker


# ---------------------------------------------------------------------- the page
@pytest.mark.parametrize("name", ["all", "alone"])
def test_valid_and_self_contained(name, pages):
    text = pages[name]
    page = checked(text)
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert page.references == []
    assert not {"script", "link", "iframe", "img", "object"} & {*page.tags}
    assert not re.search(r"url\(|@import|https?:", text)
    figures = page.tags.count("figure")
    assert figures == page.tags.count("figcaption") > 2
    assert figures == text.count('role="img"') == text.count("aria-label")
    assert not re.search(r"\bnan\b|\binf\b|None", " ".join(page.texts))
    assert len(text) < 200_000


def test_names_do_not_become_markup(pages):
    texts = checked(pages["all"]).texts
    assert NASTY in "".join(texts)
    assert "<b>" not in pages["all"]
    assert "<script>alert(1)</script>" in texts


def test_contents(pages, inputs):
    text = " ".join(checked(pages["all"]).texts)
    read = tuneThreshold.read_scores(inputs / "first" / "result" / "scores.txt")
    known = summarize(read.scores, read.labels, p_target=(0.05, 0.01))
    aware = tuneThreshold.read_scores(inputs / "aware.txt")
    sasv = summarize_sasv(aware.scores, aware.kinds, aware.attacks)
    for value in (
        f"{known.eer:.2f}",
        f"{known.min_dcf:.4f}",
        f"{known.costs[1].value:.4f}",
        f"{known.eer_threshold:.5g}",
        "6 / 60",
        f"{sasv.eer:.2f}",
        f"{sasv.spf_eer:.2f}",
        f"{sasv.a_dcf.value:.4f}",
        f"{sasv.attack_eers['A08']:.2f}",
        "36 / 36 / 72",
        "ResNetSE34L",
        "ECAPA_TDNN",
        "revision abc",
        "Options that differ",
        "All 4 options",
        "No options are shown for scores files: aware.",
        "all 8 speakers",
        "id5",
        "All runs scored the same trials",
        "Loss",
        "EER (%)",
    ):
        assert value in text, value
    alone = " ".join(checked(pages["alone"]).texts)
    assert "There is no map." in alone
    assert "There are no curves" in alone
    assert "The lowest error" not in alone


def test_the_same_again_is_the_same_page(pages, inputs):
    assert report_everything(inputs) == pages["all"]


def test_countermeasure_scores_are_reported(inputs, tmp_path):
    cm_scores = tmp_path / "cm.txt"
    shutil.copy(inputs / "aware.txt", cm_scores)
    text = report(tmp_path, inputs / "aware.txt", "--cm", cm_scores, "--prevalence", "0.5")
    assert "t-EER(0.5)" in text
    assert "min t-DCF" in text


def test_different_trials_have_no_best(inputs, tmp_path):
    plain_scores(tmp_path / "fewer.txt", 0, speakers=5)
    text = report(tmp_path, inputs / "first", tmp_path / "fewer.txt")
    assert 'class="best"' not in text
    assert "their errors cannot be compared" in text
    assert 'class="best"' in report(tmp_path, inputs / "first", inputs / NASTY)


@pytest.mark.parametrize("shift", [100, -100, 0])
def test_extremes(shift, tmp_path):
    """A page is valid for scores that separate the trials, are all wrong, or are all equal."""
    lines = []
    for i in range(9):
        target = i % 3 == 0
        lines.append(f"{int(target)} a/{i} {'a' if target else 'b'}/{i} {shift * target}\n")
    (tmp_path / "s.txt").write_text("".join(lines))
    checked(report(tmp_path, tmp_path / "s.txt"))


def test_many_trials_make_a_small_page():
    draw = np.random.default_rng(0)
    labels = np.arange(200_000) % 2 == 0
    scores = draw.standard_normal(200_000) + 2 * labels
    read = Scores([], scores, labels, None, None)
    run = ReportedRun("x", "c0", read, summarize(scores, labels), [], {}, "")
    parts = (
        trial_plots.results_section([run], {}),
        trial_plots.det_section([run]),
        trial_plots.scores_section([run]),
        trial_plots.thresholds_section([run], (0.1, 0.01, 0.001)),
    )
    assert sum(len(html(part)) for part in parts) < 100_000


def test_thresholds_have_the_rates_they_say(inputs):
    read = tuneThreshold.read_scores(inputs / "aware.txt")
    summary = summarize_sasv(read.scores, read.kinds, read.attacks)
    for _, threshold in trial_plots.operating_points(summary, (0.1, 0.01, 0.001)):
        for kind, name in (("nontarget", "SV-EER"), ("spoof", "SPF-EER")):
            miss, accept = trial_plots.rates_at(summary.all_rates[name], threshold)
            assert miss == pytest.approx(np.mean(read.scores[read.labels] < threshold))
            assert accept == pytest.approx(np.mean(read.scores[read.kinds == kind] >= threshold))


# ---------------------------------------------------------------------- speakers
pairs = st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(-3, 3))


def error_rate_by_hand(name, rows, threshold):
    """Mean of the miss rate and the false-accept rate of a speaker, computed in loops."""
    rates = []
    for same in (False, True):
        errors = []
        for first, second, score in rows:
            for side in (first, second):
                if f"id{side}" == name and (first == second) == same:
                    errors.append((score >= threshold) != same)
        if errors:
            rates.append(sum(errors) / len(errors))
    return sum(rates) / len(rates)


@given(st.lists(pairs, min_size=1, max_size=60), st.integers(-3, 3), st.integers(1, 6))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_confusion_against_a_direct_loop(rows, threshold, most):
    scores = Scores(
        [f"{int(a == b)} id{a}/x.wav id{b}/y.wav" for a, b, _ in rows],
        np.array([score for _, _, score in rows], float),
        np.array([a == b for a, b, _ in rows]),
        None,
        None,
    )
    speakers = {f"id{a}" for a, _, _ in rows} | {f"id{b}" for _, b, _ in rows}
    found = confusion(scores, threshold, most)
    assert found.speakers == len(speakers)
    assert len(found.rows) == min(most, found.speakers)
    for r, one in enumerate(found.rows):
        for c, other in enumerate(found.columns):
            between = [score for a, b, score in rows if {f"id{a}", f"id{b}"} == {one, other}]
            assert found.trials[r, c] == len(between)
            assert found.accepted[r, c] == sum(score >= threshold for score in between)
    errors = [error_rate_by_hand(name, rows, threshold) for name in found.rows]
    assert errors == sorted(errors, reverse=True)
    for name in speakers - {*found.rows}:
        assert min(errors) >= error_rate_by_hand(name, rows, threshold) - 1e-12


def test_confusion_of_claims(inputs):
    read = tuneThreshold.read_scores(inputs / "aware.txt")
    found = confusion(read, 0.5)
    assert sorted(found.rows) == ["s1", "s2", "s3"]
    assert found.columns == ["target", "nontarget", "A07", "A08"]
    assert (found.trials == 12).all()
    row = found.rows.index("s2")
    accepted = 0
    for line, score in zip(read.lines, read.scores, strict=True):
        speaker, _, attack, *_ = line.split()
        accepted += speaker == "s2" and attack == "A08" and score >= 0.5
    assert found.accepted[row, 3] == accepted


@pytest.mark.parametrize(
    "lines, message",
    [
        (["1 a.wav a.wav 1", "0 a.wav b.wav 0"], "not in folders"),
        (["1 wav/a.wav wav/b.wav 1", "0 wav/a.wav wav/c.wav 0"], "are not speakers"),
    ],
)
def test_names_without_speakers(lines, message, tmp_path):
    (tmp_path / "s.txt").write_text("\n".join(lines) + "\n")
    assert message in report(tmp_path, tmp_path / "s.txt")


def test_map_keeps_speakers_together(inputs):
    found = make_embedding_map(inputs / "embeddings")
    assert found.names == [f"id{speaker}" for speaker in range(8)]
    assert found.total == 8
    assert found.places.shape == (32, 2)
    distances = np.linalg.norm(found.places[:, None] - found.places[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert np.mean(found.speaker[distances.argmin(1)] == found.speaker) > 0.9
    fewer = make_embedding_map(inputs / "embeddings", most_speakers=3, most_files=2)
    assert fewer.places.shape == (6, 2)
    assert fewer.total == 8


def test_sentences_fit_the_scores(inputs, pages):
    """A page without spoofed speech does not mention it, and a page with it names the SASV-EER."""
    plain = " ".join(checked(pages["alone"]).texts)
    for word in ("spoof", "SASV", "SPF", "a-DCF", "non-targets"):
        assert word not in plain
    assert "minDCF(p) is the lowest detection cost" in plain
    aware = " ".join(checked(report(inputs, inputs / "aware.txt")).texts)
    for text in ("The SASV-EER compares", "P_fa,spf counts", "SASV-EER, "):
        assert text in aware
    assert "minDCF" not in aware


# ---------------------------------------------------------------------- errors
def test_names():
    for paths, names in (
        (["exps/a", "exps/b/"], ["a", "b"]),
        (["exps/a.1", "exps/b.txt"], ["a.1", "b"]),
        (["x/scores.txt", "y/scores.txt"], ["x/scores", "y/scores"]),
        (["z/x/scores.txt", "y/x/scores.txt"], ["z/x/scores.txt", "y/x/scores.txt"]),
        (["exps/a/result/scores.txt", "exps/b/result/scores_best.txt"], ["a", "b"]),
        (
            ["exps/a/result/scores.txt", "exps/a/result/scores_best.txt", "exps/b"],
            ["a/scores", "a/scores_best", "b"],
        ),
        (["exps/a", "exps/a/result/scores.txt"], ["exps/a", "a/scores"]),
    ):
        assert short_names(paths) == names
        assert short_names(paths[::-1]) == names[::-1]


@pytest.mark.parametrize(
    "words, message",
    [
        (["{}/no"], "no: there is no such file or folder"),
        (["{}/embeddings"], "the folder has neither result/scores.txt nor log.jsonl"),
        (["{}/first", "{}/first"], "expected each run once"),
        (
            ["{}/first", "--embeddings", "{}/first/model"],
            "expected a folder with speaker/session/utterance",
        ),
        (["{}/first/config.yaml"], "config.yaml:1: expected"),
        (["{}/first", "--cm", "{}/aware.txt"], "--cm: expected spoofing-aware scores"),
        (["{}/first", "--output", "{}/first/log.jsonl/x.html"], "expected a folder"),
    ],
)
def test_errors_of_inputs(words, message, inputs, tmp_path, capsys):
    words = [word.format(inputs) for word in words]
    if "--output" not in words:
        words += ["--output", str(tmp_path / "r.html")]
    assert tuneThreshold.main(["--report", *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize(
    "words, message",
    [
        (["s.txt", "--embeddings", "x"], "It belongs to backend, score and report."),
        (["--report", "x", "--det", "d.png"], "--det: report has no such option."),
        (["--plot", "x", "--bootstrap", "9"], "--bootstrap: plot has no such option."),
        (
            ["s.txt", "--curves", "x"],
            "--curves: the program without a sub-command has no such option. It belongs to plot.",
        ),
        (
            ["--calibrate", "s.txt", "--output", "c.json", "--cm", "c.txt"],
            "--cm: calibrate has no such option.",
        ),
        (["s.txt", "--effective_prior", "0.5"], "It belongs to calibrate and fuse."),
        ([], "expected scores files or a sub-command, found nothing."),
    ],
)
def test_options_that_exclude_each_other(words, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        tuneThreshold.main(words)
    assert message in capsys.readouterr().err


def test_run_without_scores(inputs, tmp_path):
    shutil.copytree(inputs / "first", tmp_path / "young")
    shutil.rmtree(tmp_path / "young" / "result")
    text = " ".join(checked(report(tmp_path, tmp_path / "young")).texts)
    assert "No run has scores yet" in text
    assert "Loss" in text


# ---------------------------------------------------------------------- in a browser
# A page that shows the report in a frame of each width. It writes, for each frame: the width of
# the frame, how far the report sticks out, the number of charts, and the number of wide charts.
HARNESS = """<!DOCTYPE html><title>harness</title><p id="found">nothing</p>{frames}<script>
const measure = frame => {{
  const page = frame.contentDocument.documentElement;
  const charts = [...frame.contentDocument.querySelectorAll("svg.chart")];
  const wide = charts.filter(chart => chart.getBoundingClientRect().width > 250);
  return [frame.width, page.scrollWidth - page.clientWidth, charts.length, wide.length].join(" ");
}};
addEventListener("load", () => {{
  const frames = [...document.querySelectorAll("iframe")];
  document.getElementById("found").textContent = frames.map(measure).join(";");
}});</script>"""


def show_in_browser(folder, address):
    """Load a page in a browser without a window. Returns the finished process."""
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--enable-logging=stderr",
        f"--user-data-dir={folder / 'profile'}",
        "--dump-dom",
        address,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.slow
@pytest.mark.skipif(
    BROWSER is None, reason="no Chromium or Chrome is installed (Debian: apt-get install chromium)"
)
def test_browser_shows_it(pages, tmp_path):
    """At both widths, all charts are wide enough to read, and nothing sticks out sideways.

    The browser prints no error and asks the server for no other file.
    """
    (tmp_path / "report.html").write_text(pages["all"], encoding="utf-8")
    frames = "".join(
        f'<iframe src="report.html" width="{width}" height="900"></iframe>' for width in WIDTHS
    )
    (tmp_path / "harness.html").write_text(HARNESS.format(frames=frames))
    requested = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=tmp_path)

        def log_message(self, *_):
            requested.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/harness.html"
        shown = show_in_browser(tmp_path, address)
        server.shutdown()
    charts = pages["all"].count('class="chart"')
    found = re.search(r'id="found">([^<]*)<', shown.stdout)[1].split(";")
    assert found == [f"{width} 0 {charts} {charts}" for width in WIDTHS]
    assert "CONSOLE" not in shown.stderr, shown.stderr
    assert {*requested} - {"/favicon.ico"} == {"/harness.html", "/report.html"}
