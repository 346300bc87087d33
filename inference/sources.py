"""What reads lists and files for a model: of speech or of embeddings."""

import logging

from common.errors import InputError
from corpus.augment import Augment
from corpus.embeddings import check_embeddings, read_examples, tree
from corpus.enrolment import check_against_meta
from corpus.features import FeatureInput
from corpus.files import audio_below, check_files
from corpus.lists import described, read_train_list, speed_copies
from DatasetLoader import EmbeddingDataset, EmbeddingEvalDataset, EvalDataset, TrainDataset
from options.parser import find

log = logging.getLogger("DatasetLoader")


class Speech:
    """Lists, files and data sets for models that take waves; `options` are those of options/__init__.py."""

    files_below = staticmethod(audio_below)

    @staticmethod
    def features(options):
        """What the model wants of files of features; None where it takes audio alone."""
        bands = find("model", options.model).bands
        return FeatureInput(bands, options.normalization) if bands else None

    @staticmethod
    def refuse_embeddings(names, list_file, options):
        if not Speech.features(options) and (
            embedded := [name for name in names if name.endswith(".npy")]
        ):
            raise InputError(
                f"{list_file}: want speech, which the model takes, got embeddings or features ({', '.join(embedded[:3])}); choose a model for "
                "them (for embeddings --model MyLinearNet...), or a list of speech"
            )

    @staticmethod
    def check_files(root, names, list_file, options):
        """-> {name: path below root}. InputError unless all files are there and can be used."""
        Speech.refuse_embeddings(names, list_file, options)
        return check_files(root, names, list_file, Speech.features(options))

    @staticmethod
    def read_train(list_file, root, options):
        """Train list -> utterances, their files checked, with their copies at other speeds."""
        # some lists of embeddings have columns that no list of speech has
        with open(list_file, "rb") as file:
            Speech.refuse_embeddings(
                file.readline().decode(errors="replace").split(), list_file, options
            )
        utterances = read_train_list(list_file)
        log.info("%s: %s", list_file, described(utterances))
        if options.spk_meta_train:
            check_against_meta(utterances, options.spk_meta_train, list_file)
        found = Speech.check_files(root, [u.path for u in utterances], list_file, options)
        utterances = [
            u if found[u.path] == u.path else u._replace(path=found[u.path]) for u in utterances
        ]
        return (
            speed_copies(utterances, options.speed_factors) if options.speed_perturb else utterances
        )

    @staticmethod
    def train_dataset(utterances, root, classes, options):
        return TrainDataset(
            utterances,
            root,
            classes,
            max_frames=options.max_frames,
            seed=options.seed,
            augment=Augment(options.musan_path, options.rir_path) if options.augment else None,
            crop_margin=options.crop_margin,
            short_files=options.short_files,
            features=Speech.features(options),
            random_slicing=options.randomSlicing,
            augment_later=options.gpu_augment,
        )

    @staticmethod
    def eval_dataset(paths, root, options):
        return EvalDataset(
            paths,
            root,
            eval_frames=options.eval_frames,
            num_eval=options.num_eval,
            crop_margin=options.crop_margin,
            short_files=options.short_files,
            features=Speech.features(options),
            bucket_frames=options.bucket_frames,
        )


class Embeddings:
    """The same for models that take embeddings."""

    @staticmethod
    def check_files(root, names, list_file, _):
        return check_embeddings(root, names, list_file)

    @staticmethod
    def files_below(folder):
        return [path for paths in tree(folder).values() for path in paths]

    @staticmethod
    def read_train(list_file, root, options):
        for name in ("augment", "speed_perturb"):
            if getattr(options, name):
                raise InputError(
                    f"--{name}: works on speech, but --model {options.model} takes embeddings; leave it out"
                )
        examples = read_examples(list_file)
        log.info("%s: %s", list_file, described(examples))
        if options.triplet and not examples[0].other:
            raise InputError(
                f"{list_file}: want lines '<speaker> <file> <other speaker>' for --triplet, got others; give such a list, or --no-triplet"
            )
        if examples[0].other and options.nPerSpeaker > 1:
            raise InputError(
                f"{list_file}: names another speaker for each file, so that groups are of one file; want --nPerSpeaker 1, "
                f"got {options.nPerSpeaker}"
            )
        found = check_embeddings(
            root, [name for e in examples for name in (e.path, e.second) if name], list_file
        )
        return [e._replace(path=found[e.path], second=found.get(e.second, "")) for e in examples]

    @staticmethod
    def train_dataset(examples, root, classes, options):
        return EmbeddingDataset(examples, root, classes, flag=options.multiple_embedding_flag)

    @staticmethod
    def eval_dataset(paths, root, options):
        return EmbeddingEvalDataset(paths, root)


def source_of(options):
    """What reads lists and files for the chosen model."""
    return SOURCES[find("model", options.model).takes]


# by the model's `takes`
SOURCES = {"waves": Speech, "embeddings": Embeddings}
