"""Scores of single files: metrics of each codec, slices, intervals, and the most wrong files.

pytest tests/test_single_files.py
"""

import argparse
import re
import shlex
import time

import numpy as np
import pytest
from pages import SYSTEM_PAGES, commands_of
from test_countermeasures import CODECS, PROTOCOLS, lines_of

import tuneThreshold
from corpus.protocols import read_protocol
from inference.evaluation import summary_of_trials
from metrics.countermeasure import summarize_plain
from metrics.rates import eer, error_rates
from metrics.scores import read_scores, select_trials, write_scores
from metrics.speakers import FIRST_FOLDER, NOBODY, speakers_of

NUMBER = 480
NAMES = ["-", "A07", "-", "A08"]


def make(folder, name="cm.txt", seed=0):
    """Writes scores of 480 files: 8 speakers, 3 codecs, half of the files bona fide."""
    draw = np.random.default_rng(seed)
    lines = []
    scores = []
    for i in range(NUMBER):
        attack = NAMES[i % 4]
        kind = "bonafide" if attack == "-" else "spoof"
        lines.append(f"f{i} S{i // 4 % 8} c{i // 32 % 3} {attack} {kind}")
        scores.append(draw.normal(2.0 * (attack == "-") + 0.5 * (i // 32 % 3), 1.0))
    path = folder / name
    write_scores(path, lines, np.array(scores))
    return path


def known_eer(read, selected):
    """The EER in per cent of some files."""
    return eer(*error_rates(read.scores[selected], read.labels[selected]))[0]


def shown_by(folder, capsys, *words):
    """Runs tuneThreshold.py -> what it prints."""
    words = [str(word) for word in words]
    assert tuneThreshold.main([*words, "--det", str(folder / "det.png")]) == 0
    return capsys.readouterr().out


# ---------------------------------------------------------------------- codecs
@pytest.mark.parametrize("name", CODECS)
def test_lines_with_codecs_are_read_again(name, tmp_path):
    path = tmp_path / "cm.txt"
    write_scores(path, lines_of(name), np.arange(4.0))
    read = read_scores(path)
    assert list(read.lines) == lines_of(name)
    assert read.codecs.tolist() == CODECS[name]
    assert read.speakers.tolist() == ["S1", "S1", "S2", "S2"]
    assert read.attacks.tolist() == ["-", "A07", "A08", "-"]
    assert read.labels.tolist() == [True, False, False, True]
    part = select_trials(read, np.array([3, 1]))
    assert part.codecs.tolist() == [CODECS[name][3], CODECS[name][1]]


def test_eers_of_codecs(tmp_path, capsys):
    path = make(tmp_path)
    read = read_scores(path)
    found = summarize_plain(read.scores, read.labels, read.attacks, read.codecs)
    expected = {name: known_eer(read, read.codecs == name) for name in ("c0", "c1", "c2")}
    assert found.codec_eers == pytest.approx(expected)
    shown = shown_by(tmp_path, capsys, path)
    for name, value in expected.items():
        assert re.search(rf"^  codec {name} +{value:.2f} %$", shown, re.M)


def test_an_evaluation_shows_codecs(tmp_path):
    """A codec with files of one kind has no EER."""
    path = tmp_path / "protocol.txt"
    path.write_text("\n".join(PROTOCOLS["ASVspoof 2021 LA"]))
    costs = {"dcf_p_target": 0.05, "dcf_c_miss": 1.0, "dcf_c_fa": 1.0, "far": [0.1]}
    options = argparse.Namespace(eer="interpolated", **costs)
    # Bona fide, A07, A08, bona fide.
    scores = np.array([1.0, 0.0, 2.0, 1.5])
    shown = str(summary_of_trials(scores, read_protocol(path), options))
    assert re.search(r"^  codec alaw +0\.00 %$", shown, re.M)
    assert re.search(r"^  codec none +100\.00 %$", shown, re.M)
    one_kind = summarize_plain(scores, [True, False, False, True], ["-", "x", "x", "-"], [*"abbb"])
    assert re.search(r"^  codec a +-$", str(one_kind), re.M)


def test_tandem_metrics_are_the_same_with_codecs(tmp_path, capsys):
    asv = ["S1 f1 bonafide target", "S2 f4 bonafide nontarget", "S1 f3 A08 spoof"]
    write_scores(tmp_path / "asv.txt", asv, np.array([2.0, 0.5, 1.0]))
    shown = []
    for name in ("ASVspoof 2019", "ASVspoof 5"):
        write_scores(tmp_path / "cm.txt", lines_of(name), np.arange(4.0))
        words = (tmp_path / "asv.txt", "--cm", tmp_path / "cm.txt")
        shown.append(shown_by(tmp_path, capsys, *words))
    assert shown[0] == shown[1]
    assert "t-EER" in shown[0]


# ---------------------------------------------------------------------- slices
def test_slices_of_files(tmp_path, capsys):
    path = make(tmp_path)
    read = read_scores(path)
    words = ("--by", "attack", "codec", "speaker", "--llr", "--p_target", "0.5")
    shown = shown_by(tmp_path, capsys, path, *words)
    parts = {"A07": read.labels | (read.attacks == "A07"), "c1": read.codecs == "c1"}
    parts["S3"] = read.speakers == "S3"
    for name, selected in parts.items():
        (row,) = re.findall(rf"^{name} .*", shown, re.M)
        scores = read.scores[selected]
        labels = read.labels[selected]
        # Cllr as it is defined, in bits.
        misses = np.log2(1 + np.exp(-scores[labels])).mean()
        accepts = np.log2(1 + np.exp(scores[~labels])).mean()
        counts = [str(labels.sum()), str((~labels).sum())]
        assert row.split()[1:4] == [*counts, f"{known_eer(read, selected):.2f}"]
        assert row.split()[-2] == f"{(misses + accepts) / 2:.4f}"
    assert shown.count("bona fide  spoofed") == 3


def test_tables_describe_files_and_speakers(tmp_path, capsys):
    path = make(tmp_path)
    read = read_scores(path)
    table = tmp_path / "table.txt"
    rows = [f"S{i} {'fm'[i % 2]}\n" for i in range(8)]
    table.write_text("id gender\n" + "".join(rows))
    shown = shown_by(tmp_path, capsys, path, "--by", "gender", "--table", table)
    female = np.isin(read.speakers, ["S0", "S2", "S4", "S6"])
    assert re.search(rf"^f +120 +120 +{known_eer(read, female):.2f} %", shown, re.M)


# ---------------------------------------------------------------------- intervals and the worst
def test_speakers_of_files(tmp_path):
    path = make(tmp_path)
    read = read_scores(path)
    found = speakers_of(read, FIRST_FOLDER)
    assert found.unit == "speakers"
    assert [found.names[i] for i in found.sides[:, 0]] == read.speakers.tolist()
    assert (found.sides[:, 1] == NOBODY).all()
    # Without speakers in the scores file, each file is drawn alone, or an option names speakers.
    unknown = read._replace(speakers=None)
    alone = speakers_of(unknown, FIRST_FOLDER)
    assert alone.unit == "files"
    assert len(set(alone.sides[:, 0])) == NUMBER
    protocol = tmp_path / "protocol.txt"
    words = (f"{line.split()[1]} {line.split()[0]} - - bonafide\n" for line in read.lines)
    protocol.write_text("".join(words))
    options = {**vars(FIRST_FOLDER), "speaker_table": protocol}
    assert np.array_equal(speakers_of(unknown, argparse.Namespace(**options)).sides, found.sides)


def test_intervals_over_speakers_or_files(tmp_path, capsys):
    path = make(tmp_path)
    shown = shown_by(tmp_path, capsys, path, "--bootstrap", 20, "--by", "speaker")
    assert "from 20 resamples of 8 speakers." in shown
    assert re.search(r"^EER .* %  \[", shown, re.M)
    # A single speaker has no interval.
    (row,) = re.findall(r"^S3 .*", shown, re.M)
    assert "[" not in row
    one = ["--speaker_regex", "(f)", "--bootstrap", "20"]
    assert tuneThreshold.main([str(path), *one]) == 2
    assert "expected at least two speakers for intervals" in capsys.readouterr().err
    regex = "--speaker_regex", "f(.*)"
    assert "resamples of 480 speakers" in shown_by(
        tmp_path, capsys, path, "--bootstrap", 20, *regex
    )


def test_the_most_wrong_files(tmp_path, capsys):
    path = make(tmp_path)
    read = read_scores(path)
    shown = shown_by(tmp_path, capsys, path, "--worst", 2)
    pairs = sorted(zip(read.scores.tolist(), read.lines, strict=True))
    bonafide = [f"{score:10.5g}  {line}" for score, line in pairs if line.endswith("bonafide")]
    spoofed = [f"{score:10.5g}  {line}" for score, line in pairs if line.endswith("spoof")]
    expected = ["hardest bona fide files", *bonafide[:2], "hardest spoofed files"]
    assert "\n".join([*expected, *spoofed[:-3:-1]]) in shown
    assert "worst speakers at threshold" in shown
    # Lines without speakers.
    lines = [f"{line.split()[0]} {' '.join(line.split()[3:])}" for line in read.lines]
    write_scores(path, lines, read.scores)
    shown = shown_by(tmp_path, capsys, path, "--worst", 2, "--bootstrap", 20)
    assert "worst speakers" not in shown
    assert "hardest spoofed files" in shown
    assert "resamples of 480 files, because nothing names their speakers." in shown


def test_two_countermeasures_are_compared(tmp_path, capsys):
    first = make(tmp_path)
    second = make(tmp_path, "second.txt", seed=1)
    # Another order of the lines.
    lines = second.read_text().splitlines()
    second.write_text("\n".join(reversed(lines)))
    shown = shown_by(tmp_path, capsys, "compare", first, second, "--bootstrap", 20)
    eers = []
    for path in (first, second):
        read = read_scores(path)
        eers.append(known_eer(read, np.full(NUMBER, True)))
    row = re.findall(r"^EER .*", shown, re.M)[-1].split()
    assert [row[1], row[3], row[5]] == [
        *(f"{value:.2f}" for value in eers),
        f"{eers[0] - eers[1]:+.2f}",
    ]


@pytest.mark.parametrize(
    "words, message",
    [
        ("--cm {path}", "--cm: expected spoofing-aware scores of trials, found scores of single"),
        ("--by codec", "--by codec: this needs --table FILE .*, or scores with lines '<file> <sp"),
        ("--by speaker", "--by speaker: this needs --table FILE .*, or --speaker_table FILE"),
        ("--by gender", "--by gender: this needs --table FILE with the column.$"),
    ],
)
def test_what_single_files_lack(words, message, tmp_path, capsys):
    path = tmp_path / "cm.txt"
    write_scores(path, lines_of("ASVspoof 2019"), np.arange(4.0))
    assert tuneThreshold.main([str(path), *words.format(path=path).split()]) == 2
    shown = capsys.readouterr().err
    assert re.search(message, shown, re.M)
    assert shown.count("\n") == 1


def test_options_without_effect_on_files(tmp_path, capsys):
    words = [str(make(tmp_path)), "--det", str(tmp_path / "det.png"), "--adcf_p_spoof", "0.1"]
    assert not tuneThreshold.main(words)
    assert "--adcf_p_spoof has no effect on single-file scores" in capsys.readouterr().err


def test_single_files_are_reported(tmp_path):
    path = make(tmp_path)
    read = read_scores(path)
    page = tmp_path / "page.html"
    assert not tuneThreshold.main(["report", str(path), "--output", str(page)])
    text = page.read_text()
    assert "codec c2, %" in text
    assert f"{known_eer(read, read.codecs == 'c2'):.2f}" in text
    assert "its scores are of single files" in text


def test_commands_of_the_page(tmp_path, monkeypatch, capsys):
    """The commands of docs/spoofing.md with the scores of a countermeasure."""
    monkeypatch.chdir(tmp_path)
    start = "python tuneThreshold.py cm_scores.txt "
    commands = [line for line in commands_of(SYSTEM_PAGES["spoofing"]) if line.startswith(start)]
    assert len(commands) == 2
    make(tmp_path, "cm_scores.txt")
    for command in commands:
        words = shlex.split(command)[2:]
        if "--speaker_table" in words:
            protocol = tmp_path / words[words.index("--speaker_table") + 1]
            protocol.parent.mkdir(parents=True)
            protocol.write_text("".join(f"P{i % 9} f{i} - A07 spoof\n" for i in range(NUMBER)))
        if "--bootstrap" in words:
            words[words.index("--bootstrap") + 1] = "20"
        assert not tuneThreshold.main(words)
    assert "resamples of 9 speakers" in capsys.readouterr().out


@pytest.mark.slow
def test_a_protocol_of_full_size_takes_less_than_two_seconds(tmp_path, capsys):
    lines = []
    for i in range(71_237):
        attack = "-" if i < 7355 else f"A{7 + i % 13:02d}"
        kind = "bonafide" if attack == "-" else "spoof"
        lines.append(f"LA_E_{i} LA_{i % 48:04d} c{i % 7} {attack} {kind}")
    path = tmp_path / "cm.txt"
    write_scores(path, lines, np.random.default_rng(0).normal(size=len(lines)))
    start = time.process_time()
    shown_by(tmp_path, capsys, path)
    assert time.process_time() - start < 2
