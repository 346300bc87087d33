"""Results for a scored list of trials: numbers, text, and values for log lines and DET plots."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from metrics.thresholds import threshold_text

# Thresholds, miss rates and false-accept rates, as metrics.rates.error_rates() returns them.
Rates = tuple[np.ndarray, np.ndarray, np.ndarray]
# {name of a number: (low, high)}
Intervals = dict[str, tuple[float, float]]


class Cost(NamedTuple):
    """minDCF or a-DCF at one prior of a target trial, and its threshold."""

    p_target: float
    value: float
    threshold: float


class Point(NamedTuple):
    """One operating point. The rates are fractions."""

    threshold: float
    p_fa: float
    p_miss: float


def interval_text(intervals: Intervals, name: str) -> str:
    """Formats the interval of a number for the column next to the number.

    Returns blanks if only other numbers have an interval. Returns an empty text if none has one.
    """
    if name not in intervals:
        return " " * 20 if intervals else ""
    low, high = intervals[name]
    digits = 2 if "EER" in name else 4
    text = f"[{low:.{digits}f}, {high:.{digits}f}]"
    return f"  {text:18s}"


def operating_point_lines(points: Sequence[Point], scores: np.ndarray) -> list[str]:
    """Returns the lines of the table of operating points, or no lines if there are no points.

    scores: the scores of all trials, ascending.
    """
    if not points:
        return []
    texts = [threshold_text(point.threshold, scores) for point in points]
    width = max(11, *map(len, texts))
    lines = [f"false accepts    misses {'threshold':>{width}}"]
    for point, text in zip(points, texts, strict=True):
        lines.append(f"{100 * point.p_fa:11.3f} % {100 * point.p_miss:7.2f} % {text:>{width}}")
    return lines


@dataclass(frozen=True)
class Summary:
    """Results for a scored list of trials.

    The EER is in per cent. `costs` holds one minDCF for each prior. `points` belongs to the chosen
    false-accept rates.
    """

    targets: int
    nontargets: int
    eer: float
    eer_threshold: float
    costs: tuple[Cost, ...]
    points: tuple[Point, ...]
    rates: Rates = field(repr=False, compare=False)
    intervals: Intervals = field(default_factory=dict, compare=False)

    @property
    def eer_threshold_text(self) -> str:
        """The threshold of the EER, with the digits that the decisions on the trials need."""
        return threshold_text(self.eer_threshold, self.rates[0])

    @property
    def min_dcf(self) -> float:
        """The minDCF at the first prior."""
        return self.costs[0].value

    @property
    def curves(self) -> dict[str, tuple[float, Rates]]:
        """The curves that report.det.plot_det draws: {name of the EER: (EER, rates)}."""
        return {"EER": (self.eer, self.rates)}

    def results(self) -> dict[str, float]:
        """Returns the numbers for a log line."""
        return {"EER": self.eer, "minDCF": self.min_dcf, "threshold": self.eer_threshold}

    @property
    def values(self) -> dict[str, float]:
        """All numbers that can have an interval."""
        values = {"EER": self.eer}
        for cost in self.costs:
            values[f"minDCF({cost.p_target:g})"] = cost.value
        return values

    def __str__(self) -> str:
        trials = self.targets + self.nontargets
        lines = [
            f"{trials:,} trials: {self.targets:,} target, {self.nontargets:,} non-target",
        ]
        texts = [f"{self.eer:.2f} %"]
        thresholds = [self.eer_threshold]
        for cost in self.costs:
            texts.append(f"{cost.value:.4f}")
            thresholds.append(cost.threshold)
        for name, text, threshold in zip(list(self.values), texts, thresholds, strict=True):
            interval = interval_text(self.intervals, name)
            shown = threshold_text(threshold, self.rates[0])
            lines.append(f"{name:14s}{text:>10s}{interval}   at threshold {shown}")
        return "\n".join(lines + operating_point_lines(self.points, self.rates[0]))


@dataclass(frozen=True)
class SasvSummary:
    """Results for a scored list of spoofing-aware trials.

    `eer_threshold`, `points` and `rates` compare targets with all other trials.

    eers: {name: per cent}. SV-EER is missing without non-targets, SPF-EER is missing without
        spoofs. In both cases `a_dcf` is None.
    attack_eers: {attack: per cent}, targets against the spoofed trials of this attack.
    all_rates: rates of error_rates() under the names of `eers`.
    """

    targets: int
    nontargets: int
    spoofs: int
    eers: dict[str, float]
    eer_threshold: float
    attack_eers: dict[str, float]
    a_dcf: Cost | None
    points: tuple[Point, ...]
    all_rates: dict[str, Rates] = field(repr=False, compare=False)
    intervals: Intervals = field(default_factory=dict, compare=False)

    @property
    def eer_threshold_text(self) -> str:
        """The threshold of the SASV-EER, with the digits that the decisions on the trials need."""
        return threshold_text(self.eer_threshold, self.rates[0])

    @property
    def eer(self) -> float:
        """The SASV-EER in per cent."""
        return self.eers["SASV-EER"]

    @property
    def sv_eer(self) -> float | None:
        """The EER against non-targets in per cent, or None without non-targets."""
        return self.eers.get("SV-EER")

    @property
    def spf_eer(self) -> float | None:
        """The EER against spoofs in per cent, or None without spoofs."""
        return self.eers.get("SPF-EER")

    @property
    def rates(self) -> Rates:
        """The rates of targets against all other trials."""
        return self.all_rates["SASV-EER"]

    @property
    def curves(self) -> dict[str, tuple[float, Rates]]:
        """The curves that report.det.plot_det draws: {name of the EER: (EER, rates)}."""
        return {name: (self.eers[name], rates) for name, rates in self.all_rates.items()}

    def results(self) -> dict[str, float]:
        """Returns the numbers for a log line, without missing ones. "EER" is the SASV-EER."""
        results = {
            "EER": self.eer,
            "SV-EER": self.sv_eer,
            "SPF-EER": self.spf_eer,
            "a-DCF": None if self.a_dcf is None else self.a_dcf.value,
            "threshold": self.eer_threshold,
        }
        return {name: value for name, value in results.items() if value is not None}

    @property
    def values(self) -> dict[str, float]:
        """All numbers that can have an interval."""
        values = dict(self.eers)
        if self.a_dcf is not None:
            values["a-DCF"] = self.a_dcf.value
        return values

    def __str__(self) -> str:
        trials = self.targets + self.nontargets + self.spoofs
        lines = [
            f"{trials:,} trials: {self.targets:,} target, {self.nontargets:,} non-target, "
            f"{self.spoofs:,} spoof"
        ]
        rows = self.rows()
        # The names of attacks can be long.
        width = max(14, *(len(name) for name, _, _ in rows))
        for name, value, remark in rows:
            interval = interval_text(self.intervals, name)
            lines.append(f"{name:{width}s}{value:>10s}{interval}   {remark}".rstrip())
        return "\n".join(lines + operating_point_lines(self.points, self.rates[0]))

    def rows(self) -> list[tuple[str, str, str]]:
        """Returns (name, value, remark) for every row of the text."""
        rows = [("SASV-EER", f"{self.eer:.2f} %", f"at threshold {self.eer_threshold_text}")]
        for name, kind in (("SV-EER", "non-target"), ("SPF-EER", "spoof")):
            if name in self.eers:
                rows.append((name, f"{self.eers[name]:.2f} %", ""))
            else:
                rows.append((name, "-", f"no {kind} trials"))
        # The EER of a single attack would repeat the SPF-EER.
        if len(self.attack_eers) > 1:
            for attack, value in self.attack_eers.items():
                rows.append((f"  {attack}", f"{value:.2f} %", ""))
        if self.a_dcf is None:
            rows.append(("a-DCF", "-", "needs non-target and spoof trials"))
        else:
            threshold = threshold_text(self.a_dcf.threshold, self.rates[0])
            rows.append(("a-DCF", f"{self.a_dcf.value:.4f}", f"at threshold {threshold}"))
        return rows
