"""What is known about a network for its model card: training, and scores files of its run."""

import argparse
import glob
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.run_paths import CHECKPOINTS, LOG, SCORES
from common.trial_kinds import SPOOF
from inference.model_card import Row
from inference.overview import front_end_text, number_of_parameters
from inference.score_paths import folder_of_scores, stem_of
from metrics.card_scores import CardScores, ErrorRate, scores_for_card
from metrics.own_files import is_scores
from options.plugins import find, takes_pooling
from SpeakerNet import SpeakerNet

log = logging.getLogger("trainSpeakerNet")
# Scores files of a part of the score of spoofing-aware trials.
PARTS_OF_SCORES = ("_speaker", "_bonafide")
# Scores in a file are rounded. Equal error rates in per cent differ by less than this.
ROUNDING = 0.005
HEAD = 4096

State = Mapping[str, Any]


# ---------------------------------------------------------------------- tables
def rows_of_network(options: argparse.Namespace, net: SpeakerNet) -> list[Row]:
    """Returns the rows about the network."""
    model = options.model
    if takes_pooling(find("model", model)):
        model += f", {options.encoder_type} pooling"
    rows = [
        ("model", model),
        ("size", number_of_parameters(net.model)),
        ("embedding", f"{net.model.dim} numbers"),
        ("front end", front_end_text(options, net)),
    ]
    if net.model.takes == "waves":
        rows.append(("input", "speech at 16 kHz, one channel"))
    return rows


def rows_of_training(state: State, checkpoint: Path) -> list[Row]:
    """Returns the rows about the training of a checkpoint. Unknown rows are left out."""
    stored = state.get("options", {})
    rows = [("loss", stored.get("trainfunc")), ("optimizer", stored.get("optimizer"))]
    rows += [("training list", name_of(stored.get("train_list"))), *sizes_of_list(state)]
    if state.get("step"):
        rows.append(("updates", f"{state['step']:,}"))
    seconds = seconds_of_training(checkpoint, state.get("step", 0))
    rows.append(("training time", duration_text(seconds) if seconds else "unknown"))
    if state.get("recognised"):
        rows.insert(0, ("weights", f"of {state['recognised'].source}"))
    return [(name, text) for name, text in rows if text]


def name_of(path: Any) -> str:
    """Returns the name of a file without its folder, which belongs to one computer."""
    return Path(path).name if path else ""


def sizes_of_list(state: State) -> list[Row]:
    """Returns the numbers of speakers and utterances of the training list, without copies."""
    stored = state.get("options", {})
    copies = 1
    if stored.get("speed_perturb"):
        copies += len(stored.get("speed_factors", ()))
    rows = []
    speakers = len(state.get("classes", {}).keys() - {SPOOF})
    if speakers:
        rows.append(("speakers", f"{speakers // copies:,}"))
    number = state.get("lists", {}).get("train_list", "").partition(" ")[0].replace(",", "")
    if number.isdecimal():
        rows.append(("utterances", f"{int(number) // copies:,}"))
    return rows


def seconds_of_training(checkpoint: Path, step: int) -> float:
    """Returns the seconds of the epochs up to a step, from the log of the checkpoint's run.

    Evaluations after an epoch do not count. Returns 0 if there is no log.
    """
    if checkpoint.absolute().parent.name != CHECKPOINTS:
        return 0
    path = checkpoint.absolute().parent.parent / LOG
    seconds = 0.0
    for text in path.read_text(errors="replace").splitlines() if path.is_file() else []:
        try:
            line = json.loads(text)
            if line["step"] <= step:
                seconds += float(line.get("seconds", 0))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            # A kill may have left a line incomplete.
            continue
    return seconds


def duration_text(seconds: float) -> str:
    """Returns a duration in a suitable unit."""
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"


# ---------------------------------------------------------------------- scores
def scores_of_network(options: argparse.Namespace, state: State) -> list[CardScores]:
    """Returns the error rates on every list of trials.

    They are computed from --card_scores, or from the files that --eval and the training wrote for
    this checkpoint. Without such a file, the result in the checkpoint is used. Raises InputError if
    a file of --card_scores cannot be used.
    """
    checkpoint = Path(options.initial_model)
    if options.card_scores:
        files = [(Path(path), name_of_list(Path(path), checkpoint)) for path in options.card_scores]
        return [measured_for_card(path, name, options) for path, name in files]
    found = []
    for path in files_of_checkpoint(checkpoint):
        try:
            found.append(measured_for_card(path, name_of_list(path, checkpoint), options))
        except InputError as error:
            log.warning("warning: %s This file is left out of the model card.", error)
    of_training = scores_of_training(options, state, checkpoint)
    if of_training and of_training.name not in [each.name for each in found]:
        found.insert(0, of_training)
    return found


def measured_for_card(path: Path, name: str, options: argparse.Namespace) -> CardScores:
    """Measures a scores file. Raises InputError if it cannot be used."""
    try:
        found = scores_for_card(path, name, options.eer)
    except ValueError as error:
        text = str(error).removeprefix(f"{path}: ")
        raise InputError(f"--card_scores {path}: {text}") from None
    if found.problem:
        log.warning("warning: %s: the model card has no interval, because %s", path, found.problem)
    return found


def name_of_list(path: Path, checkpoint: Path) -> str:
    """Returns the name of the list of trials of a scores file."""
    return path.stem.removeprefix("scores_").removeprefix(f"{stem_of(checkpoint)}_")


def files_of_checkpoint(checkpoint: Path) -> Iterator[Path]:
    """Yields the scores files that --eval wrote for a checkpoint, see score_paths.scores_paths().

    A file that is older than the checkpoint belongs to an earlier one of the same name.
    """
    pattern = glob.escape(f"scores_{stem_of(checkpoint)}_") + "*.txt"
    for path in sorted(folder_of_scores(checkpoint).glob(pattern)):
        with path.open("rb") as file:
            is_own = is_scores(file.read(HEAD))
        if not is_own or path.stem.endswith(PARTS_OF_SCORES):
            continue
        if path.stat().st_mtime < checkpoint.stat().st_mtime:
            log.warning(
                "warning: %s is older than %s, so it is left out of the model card. Run --eval "
                "again, or give the file to --card_scores.",
                path,
                checkpoint,
            )
            continue
        yield path


def scores_of_training(
    options: argparse.Namespace, state: State, checkpoint: Path
) -> CardScores | None:
    """Returns the error rates that a training measured with this checkpoint, or None.

    The scores file of a run belongs to its last evaluation. It is used if it has the result that is
    stored in the checkpoint. Otherwise the stored result has no interval.
    """
    result = state.get("result", {})
    if "EER" not in result:
        return None
    lists = state.get("options", {}).get("test_list") or ["trials"]
    name = Path(lists[0]).stem or "trials"
    path = folder_of_scores(checkpoint) / Path(SCORES).name
    if path.is_file():
        try:
            found = scores_for_card(path, name, options.eer)
        except ValueError:
            found = None
        if found and abs(found.rates[0].value - result["EER"]) < ROUNDING:
            return found
    return CardScores(name, 0, 0, [ErrorRate("EER", result["EER"], None)], "")
