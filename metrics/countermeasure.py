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

    attack_eers: {attack: per cent}, bona fide files against the files of this attack. codec_eers:
    {codec: per cent}, among the files of this codec. It is NaN for a codec with files of one kind.
    """

    attack_eers: Mapping[str, float] = field(default_factory=dict)
    codec_eers: Mapping[str, float] = field(default_factory=dict)

    @property
    def part_eers(self) -> dict[str, float]:
        """EERs of parts of the files by their names, without those that would repeat the EER."""
        parts: dict[str, float] = {}
        if len(self.attack_eers) > 1:
            parts |= self.attack_eers
        if len(self.codec_eers) > 1:
            parts |= {f"codec {codec}": value for codec, value in self.codec_eers.items()}
        return parts

    def __str__(self) -> str:
        first, equal_error_rate, *rest = super().__str__().split("\n")
        files = self.targets + self.nontargets
        first = f"{files:,} files: {self.targets:,} bona fide, {self.nontargets:,} spoofed"
        width = max(14, *(2 + len(name) for name in ["", *self.part_eers]))
        parts = []
        for name, value in self.part_eers.items():
            number = "-" if np.isnan(value) else f"{value:.2f} %"
            parts.append(f"{'  ' + name:{width}s}{number:>10s}")
        return "\n".join([first, equal_error_rate, *parts, *rest])


def summarize_plain(
    scores: ArrayLike,
    labels: ArrayLike,
    attacks: ArrayLike | None = None,
    codecs: ArrayLike | None = None,
    **settings: Any,
) -> Summary:
    """Returns the metrics of summarize(), for files with the EERs of each attack and codec.

    `scores` and `labels` (bool, True for bona fide files) are [n]. attacks: [n], or None for trials
    of two files. codecs: [n], or None. settings: of summarize(). Raises its errors.
    """
    found = summarize(scores, labels, **settings)
    if attacks is None:
        return found
    bonafide = np.asarray(labels)
    attacks = np.asarray(attacks)
    files_of_attacks = {}
    for attack in sorted(set(attacks[~bonafide].tolist())):
        files_of_attacks[attack] = bonafide | (attacks == attack)
    files_of_codecs = {}
    if codecs is not None:
        codecs = np.asarray(codecs)
        files_of_codecs = {codec: codecs == codec for codec in sorted(set(codecs.tolist()))}
    values = {part.name: getattr(found, part.name) for part in fields(found)}
    definition = settings.get("definition", "interpolated")
    return FileSummary(
        **values,
        attack_eers=eers_of_parts(scores, bonafide, files_of_attacks, definition),
        codec_eers=eers_of_parts(scores, bonafide, files_of_codecs, definition),
    )


def eers_of_parts(
    scores: ArrayLike, bonafide: np.ndarray, parts: Mapping[str, np.ndarray], definition: str
) -> dict[str, float]:
    """Returns {name: EER in per cent} of parts {name: bool [n]}, NaN for files of one kind."""
    scores = np.asarray(scores)
    found = {}
    for name, selected in parts.items():
        kinds = bonafide[selected]
        found[name] = np.nan
        if kinds.any() and not kinds.all():
            found[name] = eer(*error_rates(scores[selected], kinds), definition)[0]
    return found
