"""From files to arrays and back: what a list, an audio file or a corpus looks like is known here and nowhere else.

lists: lists of utterances and trials. audio: reading. augment: noise and rooms. output: writing corpora. synthetic, synthesis: the synthetic corpus.
copy_synthesis, vocoders: spoofed copies of bona fide speech. features: reading of log-mel features. extraction: making them. embeddings: trees of
embeddings, their targets and lists. sources, download, archives, obtain: from the file lists in lists/ to trees. voxceleb, noise, asvspoof, openslr: corpora
that come that way. trees: lists of any tree of audio. trials: drawing them. merging: several lists as one. kaldi: its folders.
roots: folders and packs. pack: making packs. text: lines of lists and scores files by the million.
"""
import contextlib
import os
from pathlib import Path


class InputError(ValueError):
    """What the user gave cannot be used: the message says where, what is wanted, what was got and what to do."""


def write_atomically(path, data, flush=True):
    """bytes, or an iterator of parts of them -> file: written beside it and renamed, so that `path` is the old file or the new one and never half of one; its
    folder is made. flush: to the disk first, which a power cut survives; too slow for thousands of files that can be made again."""
    part = Path(f"{path}.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.writelines([data] if isinstance(data, (bytes, memoryview)) else data)
            if flush:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); what was there before is untouched") from error
    finally:
        with contextlib.suppress(OSError):                               # has its name, or could not even be begun
            part.unlink()
