"""Data sources: reading lists and files for a model, either speech or embeddings.

The input of the model decides which source is used. The rest of the program does not distinguish
the two.
"""

import argparse
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from torch.utils.data import Dataset

from common.errors import InputError
from corpus.augment import Augment
from corpus.codecs import CodecAugment
from corpus.embedding_datasets import EmbeddingDataset, EmbeddingEvalDataset
from corpus.embeddings import Example, check_embeddings, embedding_tree, read_examples
from corpus.enrolment import check_against_meta
from corpus.features import FeatureInput
from corpus.files import audio_below, check_files, check_lines, check_usable
from corpus.lists import read_train_list
from corpus.rawboost import RawBoost
from corpus.recognition import TRAIN, Expected, require_kind
from corpus.rows import first_line_of
from corpus.utterances import Utterances, described, speed_copies
from corpus.waves import Waves
from corpus.weak_speech import Limits
from DatasetLoader import Effect, EvalDataset, TrainDataset
from options.plugins import find
from options.rules import SPEECH_AUGMENTATIONS

log = logging.getLogger("trainSpeakerNet")


class DataSource(ABC):
    """Reads lists and files, and builds data sets, according to the options.

    root: the folder or the pack that the files of a list are relative to.
    """

    @abstractmethod
    def files_below(self, folder: str) -> list[str]:
        """Returns the files below a folder that a model of this kind reads.

        The paths are relative to the folder.
        """

    @abstractmethod
    def check_files(
        self,
        root: str,
        names: Iterable[str],
        list_file: str,
        options: argparse.Namespace,
        root_option: str,
    ) -> dict[str, str]:
        """Finds the files of names -> {name: path below root}.

        list_file: the list or option with the names, for errors. root_option: the option that names
        root, for errors. Raises InputError if files are missing or cannot be used.
        """

    @abstractmethod
    def read_train(
        self, list_file: str, root: str, options: argparse.Namespace, root_option: str
    ) -> Sequence:
        """Reads a train list and checks its files -> utterances with the paths of the files.

        root_option: the option that names root, for errors. Raises InputError if the list or a file
        cannot be used.
        """

    @abstractmethod
    def train_dataset(
        self, utterances: Sequence, root: str, classes: dict[str, int], options: argparse.Namespace
    ) -> Dataset:
        """Builds the training data set of what read_train() returned. classes: {speaker: class}."""

    @abstractmethod
    def eval_dataset(self, paths: Sequence[str], root: str, options: argparse.Namespace) -> Any:
        """Builds the evaluation data set of files. It has their `paths`, and seconds()."""


class SpeechSource(DataSource):
    """Speech, for models that read waves. Files may be audio, or features."""

    def files_below(self, folder: str) -> list[str]:
        """Returns the audio files below a folder, see DataSource."""
        return audio_below(folder)

    def check_files(
        self,
        root: str,
        names: Iterable[str],
        list_file: str,
        options: argparse.Namespace,
        root_option: str,
    ) -> dict[str, str]:
        """Finds files of speech, see DataSource."""
        names = list(names)
        features = expected_features(options)
        refuse_embeddings(names, list_file, features)
        return check_files(root, names, list_file, features, root_option=root_option)

    def read_train(
        self, list_file: str, root: str, options: argparse.Namespace, root_option: str
    ) -> Utterances:
        """Reads a train list of speech, see DataSource. Adds the copies of --speed_perturb."""
        # Some lists of embeddings have columns that no list of speech has. The reader would report
        # a wrong line instead of the wrong kind of files.
        first_words = first_line_of(list_file).split()
        refuse_embeddings(first_words, list_file, expected_features(options))
        require_kind(list_file, Expected(root_option.replace("_path", "_list"), TRAIN))
        utterances = read_train_list(list_file)
        log.info("%s: %s", list_file, described(utterances))
        if options.spk_meta_train:
            check_against_meta(utterances, options.spk_meta_train, list_file)
        features = expected_features(options)
        refuse_embeddings(utterances.paths, list_file, features)
        changed = check_lines(root, utterances.paths, list_file, features, root_option=root_option)
        utterances = utterances.with_paths(changed)
        check_usable(root, utterances.paths, list_file, features)
        if options.speed_perturb:
            return speed_copies(utterances, options.speed_factors)
        return utterances

    def train_dataset(
        self, utterances: Sequence, root: str, classes: dict[str, int], options: argparse.Namespace
    ) -> TrainDataset:
        """Builds a training data set of speech, see DataSource."""
        effects = effects_of(options)
        augment = None
        if options.augment:
            share = options.augment_probability
            augment = Augment(options.musan_path, options.rir_path, share)
        return TrainDataset(
            utterances,
            root,
            classes,
            max_frames=options.max_frames,
            seed=options.seed,
            augment=augment,
            crop_margin=options.crop_margin,
            short_files=options.short_files,
            features=expected_features(options),
            random_slicing=options.randomSlicing,
            augment_later=options.gpu_augment,
            effects=effects,
        )

    def eval_dataset(
        self, paths: Sequence[str], root: str | Waves, options: argparse.Namespace
    ) -> EvalDataset:
        """Builds an evaluation data set of speech, see DataSource."""
        return EvalDataset(
            paths,
            root,
            eval_frames=options.eval_frames,
            num_eval=options.num_eval,
            crop_margin=options.crop_margin,
            short_files=options.short_files,
            features=expected_features(options),
            bucket_frames=options.bucket_frames,
            limits=Limits(options.silence_db, options.min_seconds),
            speed=options.eval_speed,
        )


class EmbeddingSource(DataSource):
    """Embeddings, for models that enhance them."""

    def files_below(self, folder: str) -> list[str]:
        """Returns the embeddings below a folder, see DataSource."""
        files = []
        for paths in embedding_tree(folder).values():
            files += paths
        return files

    def check_files(
        self,
        root: str,
        names: Iterable[str],
        list_file: str,
        options: argparse.Namespace,
        root_option: str,
    ) -> dict[str, str]:
        """Finds embeddings, see DataSource."""
        return check_embeddings(root, names, list_file, root_option)

    def read_train(
        self, list_file: str, root: str, options: argparse.Namespace, root_option: str
    ) -> list[Example]:
        """Reads a list of embeddings to train on, see DataSource."""
        for name in SPEECH_AUGMENTATIONS:
            if getattr(options, name):
                raise InputError(
                    f"--{name} works on speech, but --model {options.model} reads embeddings. "
                    f"Leave out --{name}."
                )
        examples = read_examples(list_file)
        log.info("%s: %s", list_file, described(examples))
        if options.triplet and not examples[0].other:
            raise InputError(
                f"{list_file}: expected lines '<speaker> <file> <other speaker>' for --triplet, "
                "found other lines. Give such a list, or --no-triplet."
            )
        if examples[0].other and options.nPerSpeaker > 1:
            raise InputError(
                f"--nPerSpeaker: expected 1, because {list_file} names another speaker for each "
                f"file, found {options.nPerSpeaker}. Give --nPerSpeaker 1."
            )
        names = []
        for example in examples:
            names.append(example.path)
            if example.second:
                names.append(example.second)
        found = check_embeddings(root, names, list_file, root_option)
        renamed = []
        for example in examples:
            second = found.get(example.second, "")
            renamed.append(example._replace(path=found[example.path], second=second))
        return renamed

    def train_dataset(
        self, utterances: Sequence, root: str, classes: dict[str, int], options: argparse.Namespace
    ) -> EmbeddingDataset:
        """Builds a training data set of embeddings, see DataSource."""
        return EmbeddingDataset(utterances, root, classes, flag=options.multiple_embedding_flag)

    def eval_dataset(
        self, paths: Sequence[str], root: str, options: argparse.Namespace
    ) -> EmbeddingEvalDataset:
        """Builds an evaluation data set of embeddings, see DataSource."""
        if options.eval_speed != 1:
            raise InputError(
                f"--eval_speed {options.eval_speed:g}: expected audio files, but --model "
                f"{options.model} reads embeddings. Leave out --eval_speed."
            )
        return EmbeddingEvalDataset(paths, root)


def effects_of(options: argparse.Namespace) -> list[Effect]:
    """Returns what changes training crops after noise and rooms.

    A codec transmits speech with the noise of its room. RawBoost comes last, as published systems
    apply it to files that are coded already. Raises InputError if the noise would come later, or if
    a codec does not work.
    """
    effects: list[Effect] = []
    if options.codec_augment:
        effects.append(CodecAugment(options.codec_augment, options.codec_probability))
    if any(options.rawboost or ()):
        effects.append(RawBoost(options.rawboost, options.rawboost_probability))
    if effects and options.augment and options.gpu_augment:
        name = "codec_augment" if options.codec_augment else "rawboost"
        raise InputError(
            f"--{name}: expected noise that the loader mixes, found --gpu_augment, which mixes "
            f"it later. The noise comes before --{name}. Give --no-gpu_augment."
        )
    return effects


def expected_features(options: argparse.Namespace) -> FeatureInput | None:
    """Returns what the model expects of files of features. None if it reads only audio."""
    bands = find("model", options.model).bands
    return FeatureInput(bands, options.normalization) if bands else None


def refuse_embeddings(names: Iterable[str], list_file: str, features: FeatureInput | None) -> None:
    """Raises InputError if .npy files are named and the model does not read features."""
    if features:
        return
    embedded = [name for name in names if name.endswith(".npy")]
    if embedded:
        raise InputError(
            f"{list_file}: expected speech for this model, found embeddings or features "
            f"({', '.join(embedded[:3])}). Give a list of speech, or choose another model (for "
            "embeddings --model MyLinearNet)."
        )


def source_of(options: argparse.Namespace) -> DataSource:
    """Returns the source for the chosen model."""
    return SOURCES[find("model", options.model).takes]


# Input of a model -> its source.
SOURCES: dict[str, DataSource] = {"waves": SpeechSource(), "embeddings": EmbeddingSource()}
