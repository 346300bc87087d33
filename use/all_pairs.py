"""--all_pairs: the scores of every pair of the files of a list, F (F - 1) / 2 trials that no list has to name. Neither the matrix nor the text is ever whole
in memory; metrics want all scores of it at once, some 50 bytes a pair."""
import io
import itertools
from typing import NamedTuple

import numpy as np

import parallel
from corpus import InputError, write_atomically
from corpus.lists import Trials, read_utterances
from corpus.text import Numbers
from report.scores import scored
from use.evaluation import embed, summarize


class Files(NamedTuple):
    """names: as they stand in the list; paths: as they were found; speaker: number of each one's, int64 [F], or None where the list tells none."""
    names: list
    paths: list
    speaker: np.ndarray | None


def read_files(options, source, root):
    """The Files of --all_pairs, which are checked. source: what reads files for the model, see DatasetLoader.SOURCES."""
    for name in ("score_norm", "qualities"):
        if getattr(options, name):
            raise InputError(f"--{name}: is of trials that a list names, not of --all_pairs; leave it out, or write them down for --eval")
    speakers = read_utterances(options.all_pairs)
    if len(speakers) < 2:
        raise InputError(f"{options.all_pairs}: want two files or more, whose pairs are scored, got {len(speakers)}")
    told = None not in speakers.values()
    number = Numbers().of(list(speakers.values())) if told else None
    if told and (number.max() == 0 or np.bincount(number).max() == 1):
        raise InputError(f"{options.all_pairs}: want several speakers, and several files of one, got {len(speakers)} files of {number.max() + 1} speakers; add "
                         "others, or list files without speakers to get scores without metrics")
    found = source.check_files(root, [*speakers], options.all_pairs, options)
    return Files([*speakers], [found[name] for name in speakers], number)


def evaluate(trainer, files, dataset, options, path):
    """Writes the scores of all pairs, to a scores file or, at a path that ends in .npy, as a matrix [F, F] float32 -> their metrics, None where no speakers are
    told."""
    if trainer.used.loss.fusion:
        raise InputError(f"--all_pairs: the score of --trainfunc {options.trainfunc} depends on which file of a pair is the tested one; take --fusion 0, or "
                         "--eval with a list of trials")
    reps = embed(trainer, dataset, options)
    return parallel.first(lambda: write_and_summarize(trainer, files, [reps[path] for path in files.paths], options, path))


def write_and_summarize(trainer, files, bank, options, path):
    kept = [] if files.speaker is not None else None

    def rows():
        """Each row of the matrix; right of the diagonal it has what metrics want."""
        for block in trainer.matrix(bank, bank, options.scoring):
            for row in block.cpu().numpy():
                if kept is not None:
                    kept.append(row[len(kept) + 1:].copy())                     # lest the whole block stays
                yield row

    write_atomically(path, as_matrix(rows(), len(bank)) if path.suffix == ".npy" else as_lines(rows(), files))
    if kept is None:
        return None
    same = np.concatenate([files.speaker[i + 1:] == speaker for i, speaker in enumerate(files.speaker)])
    return summarize(np.concatenate(kept), Trials([], [], [], None, None, same), options)


def as_matrix(rows, size):
    """Rows of the matrix -> yields the bytes of a file of NumPy's format."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": (size, size)})
    yield head.getvalue()
    for row in rows:
        yield row.astype("<f4").tobytes()


def as_lines(rows, files):
    """Rows of the matrix -> yields the bytes of a scores file, each pair once, in the order of the list."""
    for i, row in enumerate(rows):
        keys = itertools.repeat("") if files.speaker is None else np.where(files.speaker[i + 1:] == files.speaker[i], "1 ", "0 ").tolist()
        yield scored([f"{key}{files.names[i]} {name}" for key, name in zip(keys, files.names[i + 1:], strict=False)], row[i + 1:])
