"""The lines that a training run prints: one for each epoch, in columns of fixed width.

A line shows numbers of log.jsonl with their units, the current learning rate, and the best result
so far. Missing numbers leave their columns blank, so the columns of all lines are aligned.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

# Results in per cent.
ERROR_RATES = ("EER", "SV-EER", "SPF-EER")
# Results between 0 and 1.
COSTS = ("minDCF", "a-DCF")
# Results that only spoofing-aware trials have.
SPOOFING_RESULTS = ("SV-EER", "SPF-EER", "a-DCF")
# Losses below or above these sizes are printed with an exponent.
SMALL_LOSS = 1e-3
LARGE_LOSS = 1e3


class Best(NamedTuple):
    """The lowest EER (or validation loss) of a run so far.

    number: the epoch or the step of the evaluation, None if it is unknown.
    """

    value: float
    number: int | None


class EpochLines:
    """Formats the lines of one run.

    terms: names of the terms of the loss. max_epoch: number of epochs. last_step: of the run.
    by_step: whether an evaluation is named by its step, and not by its epoch.
    """

    def __init__(self, terms: Iterable[str], max_epoch: int, last_step: int, by_step: bool):
        self.terms = list(terms)
        self.max_epoch = max_epoch
        self.epoch_width = len(str(max_epoch))
        self.step_width = len(str(last_step))
        self.by_step = by_step

    def of_epoch(
        self,
        numbers: Mapping[str, Any],
        results: Mapping[str, float],
        lr: float | None,
        best: Best | None,
        texts: Mapping[str, str] | None = None,
    ) -> str:
        """Returns the line of an epoch, or of an evaluation within an epoch.

        numbers: epoch, step, means of the terms, and the entries of Clock.report().
        results: of the evaluation, empty without one. lr: the current learning rate. texts: of
        results that need more digits than usual.
        """
        cells = [
            *self.first_cells(numbers["epoch"], numbers["step"]),
            *self.cells_of_losses(numbers, lr),
            cell_or_blanks(speed_cell, numbers.get("utt_per_s")),
            cell_or_blanks(waiting_cell, numbers.get("waiting")),
            *self.cells_of_results(results, best, texts or {}),
        ]
        return "  ".join(cells).rstrip()

    def of_update(self, epoch: int, step: int, terms: Mapping[str, float]) -> str:
        """Returns the line of one update. terms: its losses and its learning rate."""
        cells = [
            *self.first_cells(epoch, step),
            *self.cells_of_losses(terms, terms.get("lr")),
        ]
        return "  ".join(cells).rstrip()

    def first_cells(self, epoch: int, step: int) -> list[str]:
        """Returns the cells of the time of day, the epoch and the step."""
        return [
            time.strftime("%H:%M:%S"),
            f"epoch {epoch:{self.epoch_width}d}/{self.max_epoch}",
            f"step {step:{self.step_width}d}",
        ]

    def cells_of_losses(self, terms: Mapping[str, float], lr: float | None) -> list[str]:
        """Returns a cell for each term of the loss, and the cell of the learning rate."""
        cells = []
        for name in self.terms:

            def loss_cell(value, name=name):
                return term_cell(name, value)

            cells.append(cell_or_blanks(loss_cell, terms.get(name)))
        return [*cells, cell_or_blanks(rate_cell, lr)]

    def cells_of_results(
        self, results: Mapping[str, float], best: Best | None, texts: Mapping[str, str]
    ) -> list[str]:
        """Returns a cell for each result. The best one precedes the first threshold."""
        names = list(results)
        cells = [evaluation_cell(name, results, texts) for name in names]
        if results and best:
            is_eer = "EER" in results
            place = names.index("threshold") if is_eer else len(names)
            cells.insert(place, self.best_cell(best, is_eer))
        return cells

    def best_cell(self, best: Best, is_eer: bool) -> str:
        """Returns the cell of the best result. is_eer: it is an EER, and not a loss."""
        value = f"{best.value:5.2f} %" if is_eer else loss_text(best.value)
        if best.number is None:
            return f"best {value}"
        if self.by_step:
            return f"best {value} (step {best.number:{self.step_width}d})"
        return f"best {value} (epoch {best.number:{self.epoch_width}d})"


def cell_or_blanks(make: Callable[[float], str], value: float | None) -> str:
    """Returns the cell make(value), or blanks of the same width if there is no value."""
    return " " * len(make(0.0)) if value is None else make(value)


def loss_text(value: float) -> str:
    """Formats a loss in 8 characters, or 9 with a sign."""
    if value == 0 or SMALL_LOSS <= abs(value) < LARGE_LOSS:
        return f"{value:8.4f}"
    return f"{value:8.2e}"


def term_cell(name: str, value: float) -> str:
    """Returns the cell of a term of the loss. The accuracy is in per cent."""
    if name == "acc":
        return f"acc {value:6.2f} %"
    return f"{name} {loss_text(value)}"


def rate_cell(lr: float) -> str:
    """Returns the cell of the learning rate."""
    return f"lr {lr:<9.4g}"


def speed_cell(utt_per_s: float) -> str:
    """Returns the cell of the speed."""
    return f"{utt_per_s:7.1f} utt/s"


def waiting_cell(share: float) -> str:
    """Returns the cell of the time spent waiting for data. share: from 0 to 1."""
    return f"data wait {100 * share:3.0f} %"


def evaluation_cell(name: str, results: Mapping[str, float], texts: Mapping[str, str]) -> str:
    """Returns the cell of one result of an evaluation.

    name: as in log.jsonl, for instance valid_loss, or EER_asnorm_2 for the second list of trials.
    texts: of thresholds.
    """
    value = results[name]
    if name.startswith("valid_"):
        return f"valid {term_cell(name.removeprefix('valid_'), value)}"
    metric, *details = name.split("_")
    ending = name.removeprefix(metric)
    spoofing_aware = any(f"{other}{ending}" in results for other in SPOOFING_RESULTS)
    label = "SASV-EER" if metric == "EER" and spoofing_aware else metric
    for detail in details:
        label += f" list {detail}" if detail.isdigit() else f" {detail}"
    if metric in ERROR_RATES:
        return f"{label} {value:5.2f} %"
    if metric in COSTS:
        return f"{label} {value:6.4f}"
    text = texts.get(name, f"{value:.6g}")
    return f"{label} {text:<9}"
