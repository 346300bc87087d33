"""Metrics of a countermeasure, which scores single files: bona fide speech against spoofed speech.

docs/metrics.md has the definitions. This module needs numpy only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from metrics.rates import eer, error_rates, summarize
from metrics.summary import Summary


@dataclass(frozen=True)
class FileSummary(Summary):
    """Results for a scored list of single files. The targets are bona fide files.

    attack_eers: {attack: per cent}, bona fide files against the files of this attack.
    """

    attack_eers: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        first, equal_error_rate, *rest = super().__str__().split("\n")
        files = self.targets + self.nontargets
        first = f"{files:,} files: {self.targets:,} bona fide, {self.nontargets:,} spoofed"
        attacks = []
        # The EER of a single attack would repeat the EER.
        if len(self.attack_eers) > 1:
            width = max(14, *(2 + len(attack) for attack in self.attack_eers))
            for attack, value in self.attack_eers.items():
                attacks.append(f"{'  ' + attack:{width}s}{value:8.2f} %")
        return "\n".join([first, equal_error_rate, *attacks, *rest])


def summarize_plain(
    scores: ArrayLike, labels: ArrayLike, attacks: ArrayLike | None = None, **settings: Any
) -> Summary:
    """Returns the metrics of summarize(), for files with the EER of each attack.

    `scores` and `labels` (bool, True for bona fide files) are [n]. attacks: [n], or None for trials
    of two files. settings: of summarize(). Raises its errors.
    """
    found = summarize(scores, labels, **settings)
    if attacks is None:
        return found
    scores = np.asarray(scores)
    bonafide = np.asarray(labels)
    attacks = np.asarray(attacks)
    eers = {}
    for attack in sorted(set(attacks[~bonafide].tolist())):
        selected = bonafide | (attacks == attack)
        rates = error_rates(scores[selected], bonafide[selected])
        eers[attack] = eer(*rates, settings.get("definition", "interpolated"))[0]
    values = {part.name: getattr(found, part.name) for part in fields(found)}
    return FileSummary(**values, attack_eers=eers)
