"""Back ends: what happens to embeddings before they are compared, estimated from a list of files.

A back end is a sequence of stages. "mean" subtracts the mean of all embeddings, "length" scales
embeddings to length 1, "lda" keeps the directions in which speakers differ most, "wccn" whitens
the variation within speakers, and "plda" models speakers and their variation. Without plda, the
score is the cosine of the embeddings after the last stage. With plda it is a log-likelihood ratio.

Legend of the shapes: n embeddings of D numbers, D' numbers after the last stage, t trials.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from common.errors import InputError
from common.text import NumberedNames
from metrics import plda
from metrics.backend_files import read_steps, write_steps
from metrics.backend_stages import (
    LINEAR_STAGES,
    Settings,
    SpeakerEmbeddings,
    Step,
    input_size,
    is_finite_step,
    scaled_to,
)

STAGES = (*LINEAR_STAGES, "plda")
DEFAULT_STAGES = ["mean", "wccn"]
# Stages that need the variation within speakers.
OF_SPEAKERS = ("lda", "wccn", "plda")
# The embeddings of speakers, not files, for messages.
EMBEDDINGS = "the embeddings"


@dataclasses.dataclass(frozen=True)
class BackEnd:
    """The estimated stages of a back end.

    steps: of all stages, in their order. source: the list that the back end was estimated from.
    files, speakers: their numbers in the list. network: a digest of the network that made the
    embeddings, "" if it is unknown. psi: [D'] of plda, else None.
    """

    steps: tuple[Step, ...]
    source: str
    files: int
    speakers: int
    network: str = ""
    psi: np.ndarray | None = None

    @property
    def stages(self) -> list[str]:
        """The names of the stages. plda with a scaling has two steps."""
        names: list[str] = []
        for step in self.steps:
            if step.name != "plda" or "plda" not in names:
                names.append(step.name)
        return names

    @property
    def dim(self) -> int | None:
        """D, the size of an embedding. None if all stages only scale."""
        return next((size for step in self.steps if (size := input_size(step))), None)

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Maps embeddings x [n, D] -> float64 [n, D'].

        Raises InputError if they have another size.
        """
        x = np.asarray(x, float)
        self.check_size(x.shape[-1])
        return applied(self.steps, x)

    def lengths(self, x: np.ndarray) -> np.ndarray:
        """Returns the lengths of embeddings x [n, D] before the first stage that scales, [n].

        They are a quality measure. After the scaling, all lengths would be equal.
        """
        return np.linalg.norm(applied(self.steps_before_scaling(), np.asarray(x, float)), axis=1)

    def steps_before_scaling(self) -> tuple[Step, ...]:
        """Returns the steps before the first step that changes lengths to a constant."""
        for number, step in enumerate(self.steps):
            if step.length:
                return self.steps[:number]
        return self.steps

    def scores(self, enrolments: np.ndarray, tests: np.ndarray) -> np.ndarray:
        """Scores transformed embeddings [t, D'] each -> [t]. Higher means the same speaker.

        Returns cosines, or the log-likelihood ratios of plda. An enrolment of several files is the
        mean of their embeddings, transformed, and plda treats it as one file.
        """
        if self.psi is not None:
            return plda.log_ratios(enrolments, tests, self.psi)
        return (scaled_to(enrolments, 1) * scaled_to(tests, 1)).sum(1)

    def check_size(self, size: int, place: str = EMBEDDINGS) -> None:
        """Raises InputError if embeddings of this size cannot be transformed."""
        if self.dim not in (None, size):
            raise InputError(
                f"{place}: expected embeddings of {self.dim} numbers, as the back end of "
                f"{self.source} needs, found {size}. Estimate a back end for these embeddings."
            )

    def save(self, path: Any) -> None:
        """Writes the back end to a file. Raises InputError if it cannot be written."""
        facts = {
            "source": self.source,
            "files": self.files,
            "speakers": self.speakers,
            "network": self.network,
        }
        write_steps(path, self.steps, self.psi, facts)

    def __str__(self) -> str:
        sizes = f"{self.files:,} files"
        if self.speakers:
            sizes += f" of {self.speakers:,} speakers"
        return f"{' '.join(self.stages)}, estimated from {self.source} ({sizes})"


def applied(steps: Iterable[Step], x: np.ndarray) -> np.ndarray:
    """Applies steps to embeddings x [n, D]."""
    for step in steps:
        x = step.apply(x)
    return x


# ---------------------------------------------------------------------- estimation
def estimate(
    embeddings: np.ndarray,
    speakers: Sequence[str],
    stages: Sequence[str],
    *,
    source: str = EMBEDDINGS,
    network: str = "",
    **settings: Any,
) -> BackEnd:
    """Estimates a back end. Each stage is estimated from the result of the stages before.

    embeddings: [n, D], one for each file. speakers: their speakers; without them, [], only mean
    and length are possible. source, network: see BackEnd. settings: of metrics.backend_stages.
    Raises InputError if the stages cannot be estimated.
    """
    check_stages(stages)
    x = np.array(embeddings, float)
    if not np.isfinite(x).all():
        raise InputError(
            f"{source}: expected finite embeddings, found NaN or infinity in "
            f"{np.count_nonzero(~np.isfinite(x).all(1)):,} of {len(x):,} files. Check the network."
        )
    group = grouped(x, speakers, stages, source)
    chosen = Settings(**settings)
    steps: list[Step] = []
    psi = None
    for stage in stages:
        try:
            if stage == "plda":
                found, psi = plda.trained(group, chosen).steps(chosen)
            else:
                found = [LINEAR_STAGES[stage](group, chosen)]
        except np.linalg.LinAlgError:
            raise no_variation(stage, group) from None
        steps += found
        group = group._replace(x=applied(found, group.x))
    if not all(is_finite_step(step) for step in steps):
        raise no_variation(stages[-1], group)
    number = len(group.counts) if len(speakers) else 0
    return BackEnd(tuple(steps), source, len(x), number, network, psi)


def check_stages(stages: Sequence[str]) -> None:
    """Raises InputError if the stages do not make sense in this order."""
    if not stages:
        raise InputError(
            "--backend_stages: expected at least one stage, found none. Give stages such as mean "
            f"wccn. The stages are {', '.join(STAGES)}."
        )
    for number, stage in enumerate(stages):
        if stage not in STAGES:
            raise InputError(
                f"--backend_stages: expected stages out of {', '.join(STAGES)}, found {stage}."
            )
        if stage == stages[number - 1] and number:
            raise InputError(
                f"--backend_stages: expected different stages next to each other, found {stage} "
                f"twice. Give {stage} once."
            )
    if "plda" in stages[:-1]:
        raise InputError(
            f"--backend_stages: expected plda as the last stage, found {' '.join(stages)}. Move "
            "plda to the end."
        )


def grouped(
    x: np.ndarray, speakers: Sequence[str], stages: Sequence[str], source: str
) -> SpeakerEmbeddings:
    """Sorts embeddings x [n, D] by speaker. Raises InputError if there are too few files."""
    if "mean" in stages and len(x) < 2:
        raise InputError(
            f"{source}: expected at least 2 files for the mean of the embeddings, found {len(x)}. "
            "Give a list with more files."
        )
    numbers = np.zeros(len(x), int)
    if len(speakers):
        numbers = NumberedNames().numbers_of(list(speakers))
    counts = np.bincount(numbers)
    needed = [stage for stage in stages if stage in OF_SPEAKERS]
    several = np.count_nonzero(counts > 1) if len(speakers) else 0
    if needed and several < 2:
        raise InputError(
            f"{source}: expected at least 2 speakers with 2 or more files for the stage "
            f"{needed[0]}, found {several}. Give a list '<speaker> <file>' with more speakers, or "
            "the stages mean and length only."
        )
    return SpeakerEmbeddings(x, numbers, counts, source)


def no_variation(stage: str, group: SpeakerEmbeddings) -> InputError:
    """Returns the error about embeddings that do not vary enough for a stage."""
    return InputError(
        f"{group.source}: the stage {stage} cannot be estimated, because the "
        f"{len(group.x):,} embeddings vary too little. Expected different recordings of each "
        "speaker. Check the list, or leave out this stage."
    )


def adapted(
    backend: BackEnd,
    embeddings: np.ndarray,
    *,
    source: str = EMBEDDINGS,
    between_scale: float = 0.7,
    within_scale: float = 0.3,
) -> BackEnd:
    """Adapts a back end with plda to embeddings [n, D] of another domain, without their speakers.

    A stage mean gets the mean of the new embeddings. The other stages stay, and plda is adapted
    with the two scales, see adapted_plda(). The defaults of the scales are Kaldi's. Raises
    InputError if the back end has no plda, or if there are too few embeddings.
    """
    if backend.psi is None:
        raise InputError(
            f"--adapt: expected a back end that ends in plda, found the stages "
            f"{' '.join(backend.stages)}. Estimate such a back end with --stages mean plda."
        )
    x = np.array(embeddings, float)
    backend.check_size(x.shape[1], source)
    if len(x) <= x.shape[1]:
        raise InputError(
            f"{source}: expected more files than numbers in an embedding ({x.shape[1]}) for "
            f"--adapt, found {len(x):,}. Give a list with more files."
        )
    steps: list[Step] = []
    for step in backend.steps[:-1]:
        if step.name == "mean":
            step = step._replace(offset=x.mean(0))
        x = step.apply(x)
        steps.append(step)
    last = backend.steps[-1]
    model = plda.adapted_plda(plda.model_of(last, backend.psi), x, between_scale, within_scale)
    mapping, psi = model.steps(Settings(plda_length=bool(last.length)))
    name = f"{backend.source}, adapted to {source}"
    return dataclasses.replace(backend, steps=(*steps, mapping[-1]), psi=psi, source=name)


# ---------------------------------------------------------------------- files
def load_backend(path: Any) -> BackEnd:
    """Reads the file of a back end. Raises InputError if it is another file."""

    def make(steps: tuple[Step, ...], psi: np.ndarray | None, facts: dict) -> BackEnd:
        backend = BackEnd(
            steps,
            str(facts["source"]),
            int(facts["files"]),
            int(facts["speakers"]),
            str(facts["network"]),
            psi,
        )
        if not set(backend.stages) <= set(STAGES) or "plda" in backend.stages[:-1]:
            raise ValueError("it has other stages than this program")
        if (backend.stages[-1] == "plda") != (psi is not None):
            raise ValueError("its last stage is unclear")
        return backend

    return read_steps(path, make)
