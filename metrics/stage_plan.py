"""The stages of --stages: their names and their order."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from common.errors import InputError
from metrics.backends import STAGES as OF_EMBEDDINGS
from metrics.score_norm import NORMS

RAW = "raw"
QUALITIES = "qualities"
CALIBRATION = "calibration"
PLDA = "plda"
STAGES = (*OF_EMBEDDINGS, *NORMS, QUALITIES, CALIBRATION)


class StagePlan(NamedTuple):
    """The stages after the raw scores, in their order.

    embeddings: stages of a back end. norm: a key of NORMS, or None.
    """

    embeddings: tuple[str, ...]
    norm: str | None
    qualities: bool
    calibration: bool

    @property
    def learns_from_trials(self) -> bool:
        """Whether a stage is estimated from trials."""
        return self.qualities or self.calibration

    @property
    def rows(self) -> list[str]:
        """The names of the rows of the table. A stage that occurs again has a number."""
        names = [RAW]
        for number, stage in enumerate(self.embeddings):
            earlier = self.embeddings[:number].count(stage)
            names.append(f"{stage}_{earlier + 1}" if earlier else stage)
        if self.norm:
            names.append(self.norm)
        if self.qualities:
            names.append(QUALITIES)
        if self.calibration:
            names.append(CALIBRATION)
        return names


def plan_of(stages: Sequence[str]) -> StagePlan:
    """Returns the plan of stages, which are members of STAGES.

    Raises InputError if the stages cannot follow each other.
    """
    embeddings = [stage for stage in stages if stage in OF_EMBEDDINGS]
    norms = [stage for stage in stages if stage in NORMS]
    last = [stage for stage in (QUALITIES, CALIBRATION) if stage in stages]
    if len({*norms}) > 1:
        raise InputError(
            f"--stages: expected at most one score normalisation, found {' and '.join(norms)}. "
            "Choose one of them."
        )
    linear = [stage for stage in embeddings if stage != PLDA]
    possible = [stage for stage, _ in itertools.groupby(linear)]
    if PLDA in stages:
        possible.append(PLDA)
    possible += norms[:1] + last
    if list(stages) != possible:
        raise InputError(
            f"--stages: expected first the stages of embeddings ({', '.join(OF_EMBEDDINGS)}), "
            f"with {PLDA} as the last one, then a score normalisation, then {QUALITIES}, then "
            f"{CALIBRATION}, found {' '.join(stages)}. Give --stages {' '.join(possible)}."
        )
    return StagePlan(
        tuple(embeddings), norms[0] if norms else None, QUALITIES in last, CALIBRATION in last
    )
