"""The Python interface: a trained network that embeds and compares recordings.

It does what --extract and --verify do, with the same code. docs/python.md describes it.
"""

import argparse
import contextlib
import itertools
import os
import re
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch

import distributed
from common.constants import SAMPLE_RATE
from common.errors import InputError, file_problem
from corpus.files import check_kinds
from corpus.lists import Trials
from corpus.waves import Waves, check_rate, samples_of
from inference.embedding import represent_separately
from inference.evaluation import refuse_pairwise
from inference.networks import load_scorer
from inference.scorer import Scorer
from inference.sources import SpeechSource, expected_features, refuse_embeddings, source_of
from inference.verification import Verifier, refuse_weak
from metrics.backends import BackEnd
from network.checkpoints import MisfitError, read_checkpoint
from network.devices import kept_tf32
from network.suggestions import explain_misfit
from options.actions import ACTIONS
from options.data import DATA
from options.parser import parse
from options.plugins import options_of
from options.rules import FROM_CHECKPOINT
from options.training import TRAINING

# Samples [T], or the path of a file.
Recording: TypeAlias = np.ndarray | torch.Tensor | str | os.PathLike
# Groups of options that belong to other work than the use of a network.
OTHER_WORK = (ACTIONS, DATA, TRAINING)
# Options of the groups in OTHER_WORK that load() accepts.
ACCEPTED = (*FROM_CHECKPOINT, "config", "modelConfig", "threshold", "calibration", "prior")
# An option of the command line in a message.
OPTION_WORD = re.compile(r"--(no-)?([A-Za-z]\w*)")


class Verdict(NamedTuple):
    """The result of LoadedNet.verify().

    score: higher means more likely the same speaker; with a calibration, the log-likelihood ratio.
    same: the decision, None without a threshold.
    """

    score: float
    same: bool | None


class LoadedNet:
    """A trained network, ready for use. load() makes it.

    options: all options of the network and of its use. scorer: computes embeddings and scores. Two
    threads may use one network: their calls are computed one after the other.
    """

    def __init__(self, options: argparse.Namespace, state: dict) -> None:
        source = source_of(options)
        if not isinstance(source, SpeechSource):
            raise InputError(
                f"{options.initial_model}: expected a network for speech, found --model "
                f"{options.model}, which reads embeddings. Use trainSpeakerNet.py for it."
            )
        self.options = options
        self._source = source
        self._lock = threading.Lock()
        self._verifier = Verifier(options, state, source)
        # New layers get random values before they get their weights.
        with torch.random.fork_rng(devices=[]):
            self.scorer: Scorer = load_scorer(options, state)
        refuse_pairwise(self.scorer.pairwise, options)
        self._verifier.prepare(self.scorer)

    @property
    def device(self) -> torch.device:
        """The device that the network computes on."""
        return self.scorer.device

    def embed(
        self,
        recordings: Recording | Sequence[Recording],
        *,
        sample_rate: int = SAMPLE_RATE,
        resample: bool = False,
        batch_size: int = 32,
    ) -> np.ndarray:
        """Embeds recordings, as --extract does.

        recordings: a recording or a list of them, arrays [T] or paths. sample_rate: of the arrays
        in Hz. resample: whether arrays and files at other rates than 16 kHz are resampled.
        batch_size: largest number of recordings that are computed together on a GPU; on a CPU each
        one is computed by itself.

        Returns float32 [n, K, D], with K crops of each of n recordings; K is 1 if complete
        recordings are embedded (eval_frames=0). A single recording gives [K, D]. Silent and very
        short recordings give a warning. Raises InputError if a recording cannot be used.
        """
        if not isinstance(batch_size, int) or batch_size < 1:
            raise InputError(
                f"batch_size: expected a whole number of at least 1, found {batch_size!r:.80}. "
                "Give another number."
            )
        several = isinstance(recordings, (list, tuple))
        named = named_recordings(recordings)
        if not named:
            raise InputError("recordings: expected at least one recording, found an empty list.")
        with self._computing():
            dataset, names = self._dataset(named, sample_rate, resample)
            reps = {}
            for name, rep in represent_separately(
                self.scorer, dataset, self.options, batch_size, progress=False
            ):
                reps[name] = self.scorer.transform(rep).float().numpy()
        if len({rep.shape for rep in reps.values()}) > 1:
            raise InputError(
                "recordings: expected recordings of one length, because the pooling of this "
                "network keeps the frames, found other lengths. Embed them one by one, or load "
                "the network with eval_frames=300 for crops."
            )
        found = np.stack([reps[name] for name in names])
        return found if several else found[0]

    def verify(
        self,
        a: Recording,
        b: Recording,
        *,
        sample_rate: int = SAMPLE_RATE,
        resample: bool = False,
    ) -> Verdict:
        """Compares two recordings, as --verify does. embed() describes the parameters.

        Returns the score and the decision. The decision follows from the threshold that load() was
        given, or from the calibration and the prior, or from the threshold in the checkpoint.
        Raises InputError if a recording cannot be used, or is silent or very short.
        """
        named = {"a": a, "b": b}
        with self._computing():
            dataset, names = self._dataset(named, sample_rate, resample)
            refuse_weak(dataset)
            trials = Trials.of_pairs([(names[0], names[1])])
            score = self._verifier.score(trials, dataset, progress=False)
            decision = self._verifier.decide(score)
        return Verdict(score.value if score.llr is None else score.llr, decision.same)

    # ------------------------------------------------------------------ parts
    @contextlib.contextmanager
    def _computing(self) -> Iterator[None]:
        """Context of a computation, which changes no settings of the program around it."""
        with self._lock, in_python_words(self.options), distributed.alone(), kept_tf32():
            yield

    def _dataset(
        self, named: dict[str, Any], sample_rate: int, resample: bool
    ) -> tuple[Any, list[str]]:
        """Returns the data set of recordings, and the name of each of them in it."""
        paths = {}
        arrays = {}
        for name, recording in named.items():
            if isinstance(recording, (str, os.PathLike)):
                paths[name] = os.fspath(recording)
            else:
                arrays[name] = samples_of(recording, name)
        rate = check_rate(sample_rate, resample) if arrays else SAMPLE_RATE
        waves = Waves(arrays, rate, resample)
        self._check_paths(waves, list(dict.fromkeys(paths.values())))
        # A file that occurs twice is embedded once.
        names = [paths.get(name, name) for name in named]
        unique = list(dict.fromkeys(names))
        return self._source.eval_dataset(unique, waves, self.options), names

    def _check_paths(self, waves: Waves, paths: list[str]) -> None:
        """Raises InputError if a file is missing or cannot be used."""
        missing = [path for path in paths if not os.path.isfile(path)]
        if missing:
            others = f" {len(missing) - 1} others are missing too." if len(missing) > 1 else ""
            raise InputError(f"{missing[0]}: there is no such file. Check the path.{others}")
        features = expected_features(self.options)
        refuse_embeddings(paths, "recordings", features)
        check_kinds([*waves.arrays, *paths], "recordings", features)
        for path in paths:
            with waves.open(path, features) as recording:
                # Only reading the end shows that the end of a FLAC file is missing.
                recording.read(recording.frames - 1, 1)


def named_recordings(recordings: Any) -> dict[str, Any]:
    """Returns {name: recording} of a recording or a list. The names are for messages.

    They are recordings[0], recordings[1], ...
    """
    if not isinstance(recordings, (list, tuple)):
        return {"recordings": recordings}
    return {f"recordings[{i}]": recording for i, recording in enumerate(recordings)}


# ---------------------------------------------------------------------- loading
def load(
    checkpoint: str | os.PathLike,
    *,
    device: str | torch.device | None = None,
    backend: str | os.PathLike | BackEnd | None = None,
    calibration: str | os.PathLike | None = None,
    threshold: float | None = None,
    prior: float | None = None,
    **options: Any,
) -> LoadedNet:
    """Loads a trained network, as --initial_model does.

    checkpoint: a checkpoint of this program, a folder of --publish, or published weights. device:
    as --device, by default a GPU if there is one. backend: a back end, or its file. calibration:
    the file of a calibration. threshold: of the score, for decisions. prior: the probability of the
    same speaker before the recordings are heard, for the calibration.

    options: further options of trainSpeakerNet.py by their names, such as eval_frames=0 for
    complete recordings, or the options of a network that published weights do not contain. The
    options in the checkpoint are the default.

    Raises InputError if the checkpoint or an option cannot be used.
    """
    given = dict(options)
    given |= {"device": device and str(device), "threshold": threshold, "prior": prior}
    given["calibration"] = calibration and os.fspath(calibration)
    if backend is not None and not isinstance(backend, BackEnd):
        given["backend"] = os.fspath(backend)
    with in_python_words(), distributed.alone(), kept_tf32():
        words = ["--verify", "a", "b", f"--initial_model={os.fspath(checkpoint)}"]
        words += ["--nDataLoaderThread=0", *words_of(given)]
        parsed, state = parse(words, {}, "", read_checkpoint)
        refuse_other_work(parsed, given)
        if isinstance(backend, BackEnd):
            parsed.backend = backend
        with in_python_words(parsed, given):
            return LoadedNet(parsed, state or {})


def refuse_other_work(options: argparse.Namespace, given: dict[str, Any]) -> None:
    """Raises InputError for given options that have no effect on the use of a network."""
    of_updates = [options_of(part, getattr(options, part)) for part in ("optimizer", "scheduler")]
    for option in itertools.chain(*OTHER_WORK, *of_updates):
        if given.get(option.name) is not None and option.name not in ACCEPTED:
            raise InputError(
                f"{option.name}: this option has no effect on a loaded network. Leave it out."
            )


def words_of(given: dict[str, Any]) -> list[str]:
    """Returns options as words of a command line. Options that are None are left out."""
    words = []
    for name, value in given.items():
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        elif isinstance(value, (list, tuple)):
            words += [f"--{name}", *map(str, value)]
        elif value is not None:
            words.append(f"--{name}={value}")
    return words


@contextlib.contextmanager
def in_python_words(
    options: argparse.Namespace | None = None, given: dict[str, Any] | None = None
) -> Iterator[None]:
    """Context whose InputErrors name options as Python does.

    options: of the network. given: the options that the user gave; then weights that do not fit the
    network are explained.
    """
    try:
        yield
    except MisfitError as error:
        if options is None:
            raise
        typed = {name: name for name, value in (given or {}).items() if value is not None}
        text = explain_misfit(error, options, typed, in_use=True)
        raise InputError(python_text(text)) from None
    except InputError as error:
        raise InputError(python_text(str(error))) from None
    except OSError as error:
        if not error.filename:
            raise
        raise InputError(f"{error.filename}: {file_problem(error)}") from None


def python_text(text: str) -> str:
    """Returns a message with options as keyword arguments: --no-log_input is log_input=False."""
    text = text.removeprefix("--initial_model ")
    return OPTION_WORD.sub(lambda found: found[2] + ("=False" if found[1] else ""), text)
