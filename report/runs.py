"""What a report shows of a run: the folder of a training, or a scores file alone."""

from pathlib import Path
from typing import NamedTuple

from common.errors import InputError
from metrics.scores import Scores, read_scores
from metrics.summary import SasvSummary, Summary
from report.curves import read_log
from report.markup import colour


class Run(NamedTuple):
    """colour: class of its marks. scores and summary: None before the first evaluation. log: lines of log.jsonl. config: options by name.
    command: text of command.txt. Of a scores file the last three are empty."""

    name: str
    colour: str
    scores: Scores | None
    summary: Summary | SasvSummary | None
    log: list[dict]
    config: dict
    command: str


def read_config(path):
    """config.yaml of a run -> {option: value}."""
    # here: the metrics need numpy alone
    import yaml

    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: not YAML: {' '.join(str(error).split())}; take it off to make a report without it"
        ) from None
    if not isinstance(config, dict):
        raise InputError(
            f"{path}: want lines 'option: value', got {config!r:.60}; take it off to make a report without it"
        )
    return config


def read_run(path, name, colour, summarize):
    """path: a run folder or a scores file. summarize: Scores -> summary. InputError or ValueError, with the place, where it cannot be used."""
    folder = Path(path)
    if not folder.exists():
        raise InputError(
            f"{path}: there is no such file or folder; want the run folder of a training (--save_path) or a scores file"
        )
    of_run = folder.is_dir()
    scores, log, config, command = (
        folder / part for part in ("result/scores.txt", "log.jsonl", "config.yaml", "command.txt")
    )
    scores = scores if of_run else folder
    if of_run and not (scores.is_file() or log.is_file()):
        raise InputError(
            f"{path}: has neither result/scores.txt nor log.jsonl; want the run folder of a training (--save_path) or a scores file"
        )
    read = read_scores(scores) if scores.is_file() else None
    try:
        summary = summarize(read) if read else None
    except ValueError as error:
        raise ValueError(f"{scores}: {error}") from None
    if not of_run:
        return Run(name, colour, read, summary, [], {}, "")
    return Run(
        name,
        colour,
        read,
        summary,
        read_log(folder) if log.is_file() else [],
        read_config(config) if config.is_file() else {},
        command.read_text(encoding="utf-8") if command.is_file() else "",
    )


def names_of(paths):
    """The last part of each path; the whole paths where these are not all different."""
    last = [Path(path).resolve().name for path in paths]
    return last if len({*last}) == len(paths) else list(paths)


def read_runs(paths, summarize):
    """See read_run."""
    if len({*paths}) < len(paths):
        raise InputError(f"--report: want every run once, got {' '.join(paths)}")
    return [
        read_run(path, name, colour(i), summarize)
        for i, (path, name) in enumerate(zip(paths, names_of(paths), strict=True))
    ]
