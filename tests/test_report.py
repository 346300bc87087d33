"""The HTML report: what it says against direct computations, that it is valid, alone and safe, that a browser shows it at two widths, what goes wrong."""

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
from report import trial_plots as trials
from report.confusion import confusion, make_embedding_map
from report.markup import html
from report.runs import ReportedRun, names_of

BROWSER = next(
    filter(
        None,
        map(
            shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
        ),
    ),
    None,
)
VOID = {"meta", "br", "hr", "img", "input", "link"}
WIDTHS = (390, 1280)
# a name that must not become markup
NASTY = 'run <b>&"1"'


# ---------------------------------------------------------------------- runs to report on
def plain_scores(path, seed, speakers=6):
    """Trials of every pair of `speakers` with two files each."""
    draw, lines = np.random.default_rng(seed), []
    files = [f"id{s}/rec/{k}.wav" for s in range(speakers) for k in range(2)]
    for i, a in enumerate(files):
        for b in files[i + 1 :]:
            same = a.split("/")[0] == b.split("/")[0]
            lines.append(f"{int(same)} {a} {b} {draw.standard_normal() + 2.5 * same:.5f}\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines))


def make_run(folder, seed, model):
    plain_scores(folder / "result" / "scores.txt", seed)
    (folder / "log.jsonl").write_text(
        "".join(
            json.dumps({"epoch": e, "step": 5 * e, "loss": 3 / e, "EER": 20 / e}) + "\n"
            for e in (1, 2, 3)
        )
    )
    (folder / "config.yaml").write_text(
        yaml.safe_dump(
            {
                "model": model,
                "lr": 0.1 * seed,
                "far": [0.1, 0.01],
                "note": "<script>alert(1)</script>",
            }
        )
    )
    (folder / "command.txt").write_text(
        f"python trainSpeakerNet.py --model {model}\n# revision abc\n"
    )


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Two runs, a spoofing-aware scores file, embeddings of eight speakers."""
    root = tmp_path_factory.mktemp("report")
    make_run(root / "first", 1, "ResNetSE34L")
    make_run(root / NASTY, 2, "ECAPA_TDNN")
    draw, lines = np.random.default_rng(0), []
    for speaker in ("s1", "s2", "s3"):
        for kind, attack, mean in (
            ("target", "bonafide", 2),
            ("nontarget", "bonafide", 0),
            ("spoof", "A07", 0.5),
            ("spoof", "A08", -1),
        ):
            lines += [
                f"{speaker} f{k} {attack} {kind} {draw.standard_normal() + mean:.5f}\n"
                for k in range(12)
            ]
    (root / "aware.txt").write_text("".join(lines))
    for s in range(8):
        for k in range(4):
            (root / "embeddings" / f"id{s}").mkdir(parents=True, exist_ok=True)
            np.save(
                root / "embeddings" / f"id{s}" / f"{k}.npy",
                np.eye(8, 16)[s] + 0.1 * draw.standard_normal((2, 16)),
            )
    return root


def report(root, *words):
    output = root / "out" / "report.html"
    assert tuneThreshold.main(["--report", *map(str, words), "--output", str(output)]) == 0
    return output.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pages(inputs):
    """{name: text} of a report of everything, and of one scores file alone."""
    everything = (
        inputs / "first",
        inputs / NASTY,
        inputs / "aware.txt",
        "--embeddings",
        inputs / "embeddings",
    )
    return {
        "all": report(inputs, *everything),
        "alone": report(inputs, inputs / "first" / "result" / "scores.txt"),
    }


class Checker(HTMLParser):
    """Every element closed in its order, no name twice in one tag, no id twice; what it refers to and all its text are kept."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.references, self.texts, self.tags = [], [], [], [], []

    def handle_starttag(self, name, attributes):
        names = [key for key, _ in attributes]
        assert len({*names}) == len(names)
        self.tags.append(name)
        self.ids += [value for key, value in attributes if key == "id"]
        self.references += [
            value
            for key, value in attributes
            if key in ("src", "href", "srcset", "action", "data", "xlink:href")
        ]
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.texts.append(data)


def checked(text):
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert checker.open == [] and len({*checker.ids}) == len(checker.ids)
    return checker


# ---------------------------------------------------------------------- the page
@pytest.mark.parametrize("name", ["all", "alone"])
def test_valid_and_self_contained(name, pages):
    page = checked(pages[name])
    assert pages[name].startswith('<!DOCTYPE html>\n<html lang="en">')
    assert page.references == [] and not {"script", "link", "iframe", "img", "object"} & {
        *page.tags
    }
    assert not re.search(r"url\(|@import|https?:", pages[name])
    assert page.tags.count("figure") == page.tags.count("figcaption") > 2
    assert (
        pages[name].count('role="img"')
        == pages[name].count("aria-label")
        == page.tags.count("figure")
    )
    assert not re.search(r"\bnan\b|\binf\b|None", " ".join(page.texts))
    assert len(pages[name]) < 200_000


def test_names_do_not_become_markup(pages):
    assert NASTY in "".join(checked(pages["all"]).texts) and "<b>" not in pages["all"]
    assert "<script>alert(1)</script>" in checked(pages["all"]).texts


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
        f"{known.eer_threshold:.4f}",
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
        "aware.txt: scores alone",
        "all 8 speakers",
    ):
        assert value in text, value
    assert (
        "id5" in text
        and "All runs scored the same trials" in text
        and "Loss" in text
        and "EER (%)" in text
    )
    alone = " ".join(checked(pages["alone"]).texts)
    assert (
        "No map: none were given" in alone
        and "No curves" in alone
        and "the least error" not in alone
    )


def test_the_same_again_is_the_same_page(pages, inputs):
    assert (
        report(
            inputs,
            inputs / "first",
            inputs / NASTY,
            inputs / "aware.txt",
            "--embeddings",
            inputs / "embeddings",
        )
        == pages["all"]
    )


def test_countermeasure_scores_are_told(inputs, tmp_path):
    shutil.copy(inputs / "aware.txt", tmp_path / "cm.txt")
    text = report(
        tmp_path, inputs / "aware.txt", "--cm", tmp_path / "cm.txt", "--prevalence", "0.5"
    )
    assert "t-EER(0.5)" in text and "min t-DCF" in text


def test_different_trials_have_no_best(inputs, tmp_path):
    plain_scores(tmp_path / "fewer.txt", 0, speakers=5)
    text = report(tmp_path, inputs / "first", tmp_path / "fewer.txt")
    assert 'class="best"' not in text and "their errors do not compare" in text
    assert 'class="best"' in report(tmp_path, inputs / "first", inputs / NASTY)


@pytest.mark.parametrize("shift", [100, -100, 0])
def test_extremes(shift, tmp_path):
    """Separable, all wrong, all alike: no part of a page fails, and no curve leaves its frame."""
    lines = [
        f"{int(i % 3 == 0)} a/{i} {'a' if i % 3 == 0 else 'b'}/{i} {shift * (i % 3 == 0)}\n"
        for i in range(9)
    ]
    (tmp_path / "s.txt").write_text("".join(lines))
    checked(report(tmp_path, tmp_path / "s.txt"))


def test_many_trials_make_a_small_page():
    draw = np.random.default_rng(0)
    labels = np.arange(200_000) % 2 == 0
    scores = draw.standard_normal(200_000) + 2 * labels
    run = ReportedRun(
        "x", "c0", Scores([], scores, labels, None, None), summarize(scores, labels), [], {}, ""
    )
    parts = (
        trials.results_section([run], {}),
        trials.det_section([run]),
        trials.scores_section([run]),
        trials.thresholds_section([run], (0.1, 0.01, 0.001)),
    )
    assert sum(len(html(part)) for part in parts) < 100_000


def test_thresholds_have_the_rates_they_say(inputs):
    read = tuneThreshold.read_scores(inputs / "aware.txt")
    summary = summarize_sasv(read.scores, read.kinds, read.attacks)
    for _, threshold in trials.operating_points(summary, (0.1, 0.01, 0.001)):
        for kind, name in (("nontarget", "SV-EER"), ("spoof", "SPF-EER")):
            miss, accept = trials.rates_at(summary.all_rates[name], threshold)
            assert miss == pytest.approx(np.mean(read.scores[read.labels] < threshold))
            assert accept == pytest.approx(np.mean(read.scores[read.kinds == kind] >= threshold))


# ---------------------------------------------------------------------- speakers
pairs = st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(-3, 3))


@given(st.lists(pairs, min_size=1, max_size=60), st.integers(-3, 3), st.integers(1, 6))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_confusion_against_a_direct_loop(rows, threshold, most):
    scores = Scores(
        [f"{int(a == b)} id{a}/x.wav id{b}/y.wav" for a, b, _ in rows],
        np.array([s for _, _, s in rows], float),
        np.array([a == b for a, b, _ in rows]),
        None,
        None,
    )
    found = confusion(scores, threshold, most)
    assert found.speakers == len({x for a, b, _ in rows for x in (a, b)}) and len(
        found.rows
    ) == min(most, found.speakers)
    for r, one in enumerate(found.rows):
        for c, other in enumerate(found.columns):
            between = [s for a, b, s in rows if {f"id{a}", f"id{b}"} == {one, other}]
            assert found.trials[r, c] == len(between) and found.accepted[r, c] == sum(
                s >= threshold for s in between
            )

    def error(name):
        rates = []
        for same in (False, True):
            mine = [
                s for a, b, s in rows for side in (a, b) if f"id{side}" == name and (a == b) == same
            ]
            rates += [sum((s >= threshold) != same for s in mine) / len(mine)] if mine else []
        return sum(rates) / len(rates)

    errors = [error(name) for name in found.rows]
    rest = [
        error(f"id{x}")
        for x in {x for a, b, _ in rows for x in (a, b)}
        if f"id{x}" not in found.rows
    ]
    assert errors == sorted(errors, reverse=True) and (not rest or min(errors) >= max(rest) - 1e-12)


def test_confusion_of_claims(inputs):
    read = tuneThreshold.read_scores(inputs / "aware.txt")
    found = confusion(read, 0.5)
    assert (
        sorted(found.rows) == ["s1", "s2", "s3"]
        and found.columns == ["target", "nontarget", "A07", "A08"]
        and (found.trials == 12).all()
    )
    row = found.rows.index("s2")
    mine = [
        (line.split()[2], score)
        for line, score in zip(read.lines, read.scores, strict=True)
        if line.startswith("s2 ")
    ]
    assert found.accepted[row, 3] == sum(score >= 0.5 for attack, score in mine if attack == "A08")


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
    assert (
        found.names == [f"id{s}" for s in range(8)]
        and found.total == 8
        and found.places.shape == (32, 2)
    )
    apart = np.linalg.norm(found.places[:, None] - found.places[None], axis=-1) + np.diag(
        np.full(32, np.inf)
    )
    assert np.mean(found.speaker[apart.argmin(1)] == found.speaker) > 0.9
    fewer = make_embedding_map(inputs / "embeddings", most_speakers=3, most_files=2)
    assert fewer.places.shape == (6, 2) and fewer.total == 8


# ---------------------------------------------------------------------- what goes wrong
def test_names():
    assert names_of(["exps/a", "exps/b/"]) == ["a", "b"] and names_of(
        ["x/scores.txt", "y/scores.txt"]
    ) == ["x/scores.txt", "y/scores.txt"]


@pytest.mark.parametrize(
    "words, message",
    [
        (["{}/no"], "no: there is no such file or folder"),
        (["{}/embeddings"], "has neither result/scores.txt nor log.jsonl"),
        (["{}/first", "{}/first"], "want every run once"),
        (
            ["{}/first", "--embeddings", "{}/first/model"],
            "want a folder speaker/session/utterance.npy",
        ),
        (["{}/first/config.yaml"], "config.yaml:1: want"),
        (["{}/first", "--cm", "{}/aware.txt"], "--cm: want spoofing-aware scores"),
        (["{}/first", "--output", "{}/first/log.jsonl/x.html"], "cannot be written"),
    ],
)
def test_what_cannot_be_reported(words, message, inputs, tmp_path, capsys):
    words = [word.format(inputs) for word in words]
    assert (
        tuneThreshold.main(
            [
                "--report",
                *words,
                *([] if "--output" in words else ["--output", str(tmp_path / "r.html")]),
            ]
        )
        == 2
    )
    assert message in capsys.readouterr().err and not (tmp_path / "r.html").exists()


@pytest.mark.parametrize(
    "words, message",
    [
        (["s.txt", "--embeddings", "x"], "--embeddings: goes with --report"),
        (["--report", "x", "--det", "d.png"], "--det: has no effect with --report"),
        (["--plot", "x", "--bootstrap", "9"], "--bootstrap: has no effect with --plot"),
        (["s.txt", "--curves", "x"], "--curves: goes with --plot"),
        (
            ["--calibrate", "s.txt", "--output", "c.json", "--cm", "c.txt"],
            "--cm: has no effect with --calibrate",
        ),
        (["s.txt", "--effective_prior", "0.5"], "--effective_prior: goes with --calibrate"),
        (["s.txt", "--report", "x"], "--report"),
        ([], "--report"),
    ],
)
def test_options_that_do_not_go_together(words, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        tuneThreshold.main(words)
    assert message in capsys.readouterr().err


def test_run_without_scores(inputs, tmp_path):
    shutil.copytree(inputs / "first", tmp_path / "young")
    shutil.rmtree(tmp_path / "young" / "result")
    text = " ".join(checked(report(tmp_path, tmp_path / "young")).texts)
    assert "No run has scores yet" in text and "Loss" in text


# ---------------------------------------------------------------------- in a browser
HARNESS = """<!DOCTYPE html><title>harness</title><p id="found">nothing</p>{frames}<script>
addEventListener("load", () => {{
  document.getElementById("found").textContent = [...document.querySelectorAll("iframe")].map(frame => {{
    const page = frame.contentDocument.documentElement, svg = frame.contentDocument.querySelectorAll("svg.chart");
    return [frame.width, page.scrollWidth - page.clientWidth, svg.length, [...svg].filter(s => s.getBoundingClientRect().width > 250).length].join(" ");
  }}).join(";");
}});</script>"""


@pytest.mark.skipif(
    BROWSER is None, reason="no Chromium or Chrome is installed (Debian: apt-get install chromium)"
)
def test_browser_shows_it(pages, tmp_path):
    """At either width all charts are wide enough to read, nothing sticks out sideways, nothing is complained about and nothing else is asked for."""
    (tmp_path / "report.html").write_text(pages["all"], encoding="utf-8")
    frames = "".join(
        f'<iframe src="report.html" width="{width}" height="900"></iframe>' for width in WIDTHS
    )
    (tmp_path / "harness.html").write_text(HARNESS.format(frames=frames))
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=tmp_path)

        def log_message(self, *_):
            asked.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        shown = subprocess.run(
            [
                BROWSER,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--enable-logging=stderr",
                f"--user-data-dir={tmp_path / 'profile'}",
                "--dump-dom",
                f"http://127.0.0.1:{server.server_port}/harness.html",
            ],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        server.shutdown()
    charts = pages["all"].count('class="chart"')
    found = re.search(r'id="found">([^<]*)<', shown.stdout)[1].split(";")
    assert found == [f"{width} 0 {charts} {charts}" for width in WIDTHS]
    assert "CONSOLE" not in shown.stderr, shown.stderr
    assert {*asked} - {"/favicon.ico"} == {"/harness.html", "/report.html"}
