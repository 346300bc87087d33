"""What is told about a scored list of trials: the numbers, their text, and what a log line and a DET plot take from them."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np


class Cost(NamedTuple):
    """minDCF or a-DCF at one prior of a target trial, and the threshold that has it."""

    p_target: float
    value: float
    threshold: float


def interval_text(intervals, name):
    """The interval of a number, as it stands beside it: blanks where only others have one, nothing where none has."""
    if name not in intervals:
        return " " * 20 * bool(intervals)
    low, high = intervals[name]
    return f"  {f'[{low:.2f}, {high:.2f}]' if 'EER' in name else f'[{low:.4f}, {high:.4f}]':18s}"


class Point(NamedTuple):
    """One operating point; rates are fractions."""

    threshold: float
    p_fa: float
    p_miss: float


@dataclass(frozen=True)
class Summary:
    """What is told about a scored trial list. EER in per cent, `costs` one minDCF for each prior, `points` the chosen false-accept rates."""

    targets: int
    nontargets: int
    eer: float
    eer_threshold: float
    costs: tuple[Cost, ...]
    points: tuple[Point, ...]
    # of error_rates
    rates: tuple[np.ndarray, np.ndarray, np.ndarray] = field(repr=False, compare=False)
    # of the numbers, by their names
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict, compare=False)

    @property
    def min_dcf(self):
        return self.costs[0].value

    @property
    def curves(self):
        """What report.det.plot_det draws of it."""
        return {"EER": (self.eer, self.rates)}

    def results(self):
        """The numbers for a log line."""
        return {"EER": self.eer, "minDCF": self.min_dcf, "threshold": self.eer_threshold}

    @property
    def values(self):
        """Every number that can have an interval."""
        return {
            "EER": self.eer,
            **{f"minDCF({cost.p_target:g})": cost.value for cost in self.costs},
        }

    def __str__(self):
        names = list(self.values)
        values = [f"{self.eer:.2f} %", *(f"{cost.value:.4f}" for cost in self.costs)]
        at = [self.eer_threshold, *(cost.threshold for cost in self.costs)]
        lines = [
            f"{self.targets + self.nontargets:,} trials: {self.targets:,} target, {self.nontargets:,} non-target"
        ]
        lines += [
            f"{name:14s}{value:>10s}{interval_text(self.intervals, name)}   at threshold {t:.5g}"
            for name, value, t in zip(names, values, at, strict=True)
        ]
        return "\n".join(lines + table(self.points))


@dataclass(frozen=True)
class SasvSummary:
    """What is told about a scored list of spoofing-aware trials. Of targets against all others: `eer_threshold`, `points` and `rates`.

    eers: in per cent, by name; SV-EER or SPF-EER is missing where there are no non-targets or no spoofs, and then a_dcf is None.
    attack_eers: {attack: per cent}, targets against this attack. all_rates: of error_rates, under the names of `eers`.
    """

    targets: int
    nontargets: int
    spoofs: int
    eers: dict[str, float]
    eer_threshold: float
    attack_eers: dict[str, float]
    a_dcf: Cost | None
    points: tuple[Point, ...]
    all_rates: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = field(
        repr=False, compare=False
    )
    # of the numbers, by their names
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict, compare=False)

    @property
    def eer(self):
        return self.eers["SASV-EER"]

    @property
    def sv_eer(self):
        return self.eers.get("SV-EER")

    @property
    def spf_eer(self):
        return self.eers.get("SPF-EER")

    @property
    def rates(self):
        return self.all_rates["SASV-EER"]

    @property
    def curves(self):
        """What report.det.plot_det draws of it."""
        return {name: (self.eers[name], rates) for name, rates in self.all_rates.items()}

    def results(self):
        """The numbers for a log line, those that there are: "EER" is the SASV-EER."""
        found = {
            "EER": self.eer,
            "SV-EER": self.sv_eer,
            "SPF-EER": self.spf_eer,
            "a-DCF": self.a_dcf and self.a_dcf.value,
            "threshold": self.eer_threshold,
        }
        return {name: value for name, value in found.items() if value is not None}

    @property
    def values(self):
        """Every number that can have an interval."""
        return self.eers | ({"a-DCF": self.a_dcf.value} if self.a_dcf else {})

    def __str__(self):
        lines = [
            f"{self.targets + self.nontargets + self.spoofs:,} trials: {self.targets:,} target, {self.nontargets:,} non-target, {self.spoofs:,} spoof"
        ]
        rows = [("SASV-EER", f"{self.eer:.2f} %", f"at threshold {self.eer_threshold:.5g}")]
        for name, kind in (("SV-EER", "non-target"), ("SPF-EER", "spoof")):
            rows += [
                (name, f"{self.eers[name]:.2f} %", "")
                if name in self.eers
                else (name, "-", f"no {kind} trials")
            ]
        # the only one would repeat the SPF-EER
        if len(self.attack_eers) > 1:
            rows += [
                (f"  {attack}", f"{value:.2f} %", "") for attack, value in self.attack_eers.items()
            ]
        rows += [
            ("a-DCF", f"{self.a_dcf.value:.4f}", f"at threshold {self.a_dcf.threshold:.5g}")
            if self.a_dcf
            else ("a-DCF", "-", "needs non-target and spoof trials")
        ]
        lines += [
            f"{name:14s}{value:>10s}{interval_text(self.intervals, name)}   {text}".rstrip()
            for name, value, text in rows
        ]
        return "\n".join(lines + table(self.points))


def table(points):
    """Points -> the lines of their table, none without points."""
    return ["false accepts    misses   threshold"] * bool(points) + [
        f"{100 * p.p_fa:11.3f} % {100 * p.p_miss:7.2f} % {p.threshold:11.5g}" for p in points
    ]
