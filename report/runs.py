"""The runs of a report: run folders of trainings, or scores files alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common.errors import InputError
from common.foreign_files import foreign_file
from common.run_paths import COMMAND, CONFIG, LOG, SCORES
from common.variables import unescaped
from metrics.scores import Scores, read_scores
from metrics.summary import SasvSummary, Summary
from report.curves import LogLine, read_log
from report.markup import colour
from report.names import short_names

AnySummary = Summary | SasvSummary
Summarize = Callable[[Scores], AnySummary]


class ReportedRun(NamedTuple):
    """What a report shows of a run.

    name: the heading. colour: the class that colours the marks of the run.
    scores, summary: the last evaluation, None before the first one.
    log: the lines of log.jsonl. config: the options by name. command: the text of command.txt.
    The last three are empty for a scores file.
    """

    name: str
    colour: str
    scores: Scores | None
    summary: AnySummary | None
    log: list[LogLine]
    config: dict[str, Any]
    command: str


def read_run_config(path: Path) -> dict[str, Any]:
    """Read the options in config.yaml of a run. Raises InputError if the file has no options."""
    # Imported here, because the metrics need only numpy.
    import yaml

    problem = "expected YAML, found an error: {}. Repair the file, or remove it.".format
    with foreign_file(path, problem):
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise InputError(
            f"{path}: expected lines 'option: value', found {config!r:.60}. "
            "Repair the file, or remove it."
        )
    return {name: unescaped(value) for name, value in config.items()}


def read_one_run(path: str | Path, name: str, colour: str, summarize: Summarize) -> ReportedRun:
    """Read a run folder or a scores file.

    summarize: computes the metrics of the scores. Raises InputError or ValueError, with the path,
    if the path does not exist or if any of its files is unusable.
    """
    folder = Path(path)
    if not folder.exists():
        raise InputError(
            f"{path}: there is no such file or folder. "
            "Give the run folder of a training (its --save_path) or a scores file."
        )
    if not folder.is_dir():
        scores, summary = read_evaluation(folder, summarize)
        return ReportedRun(name, colour, scores, summary, [], {}, "")
    scores_file = folder / SCORES
    log = folder / LOG
    config = folder / CONFIG
    command = folder / COMMAND
    if not (scores_file.is_file() or log.is_file()):
        raise InputError(
            f"{path}: the folder has neither {SCORES} nor {LOG}. "
            "Give the run folder of a training (its --save_path) or a scores file."
        )
    scores, summary = read_evaluation(scores_file, summarize)
    return ReportedRun(
        name,
        colour,
        scores,
        summary,
        log=read_log(folder) if log.is_file() else [],
        config=read_run_config(config) if config.is_file() else {},
        command=command.read_text(encoding="utf-8") if command.is_file() else "",
    )


def read_evaluation(path: Path, summarize: Summarize) -> tuple[Scores | None, AnySummary | None]:
    """Read a scores file and compute its metrics. Returns two times None without such a file.

    Raises ValueError if the file is not a scores file, or if the metrics are undefined.
    """
    if not path.exists():
        return None, None
    scores = read_scores(path)
    try:
        return scores, summarize(scores)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_runs(paths: Sequence[str], summarize: Summarize) -> list[ReportedRun]:
    """Read all runs of a report, see read_one_run. Raises InputError if a path is given twice."""
    if len({*paths}) < len(paths):
        raise InputError(
            f"report: expected each run once, found {' '.join(paths)}. Remove the repeated run."
        )
    runs = []
    for number, (path, name) in enumerate(zip(paths, short_names(paths), strict=True)):
        runs.append(read_one_run(path, name, colour(number), summarize))
    return runs
