"""Where the files of a list are, and whether they can be used."""

import os

import numpy as np

from common.errors import InputError
from corpus.features import SUFFIXES
from corpus.roots import AUDIO, open_root, refuse_pack

HEADERS_CHECKED = 20_000
# Lists of spoofing corpora name utterances: without an extension, without the folder they lie in, or with that of another format
LAYOUTS = (
    "{}",
    "{}.flac",
    "{}.wav",
    "flac/{}.flac",
    *(f"ASVspoof2019_LA_{part}/flac/{{}}.flac" for part in ("train", "dev", "eval")),
    *(f"flac_{part}/{{}}.flac" for part in ("T", "D", "E_eval")),
    *(f"flac/{part}/{{}}" for part in ("train", "development", "evaluation")),
)


def is_recording(path):
    """Does this look like the name of a file of speech, and not of a list?"""
    return path.lower().endswith((".wav", ".flac", *SUFFIXES))


def find_files(root, names, features=False):
    """Names of a list -> {name: path below root}; None for what is not there. Nearly always it is `name` itself, see LAYOUTS; with `features`, features of
    that name come before audio."""
    if features:
        found = {
            name: next(
                (
                    name + suffix
                    for suffix in SUFFIXES
                    if os.path.isfile(os.path.join(root, name + suffix))
                ),
                None,
            )
            for name in names
        }
        return found | find_files(root, [name for name, path in found.items() if path is None])
    found, layouts, there = {}, list(LAYOUTS), open_root(root).contents()
    for name in dict.fromkeys(names):
        found[name] = None
        for layout in layouts:
            found[name] = next(
                (path for path in map(layout.format, spellings(name)) if path in there), None
            )
            if found[name]:
                # the next ones will be there too
                if layout != layouts[0]:
                    layouts.remove(layout)
                    layouts.insert(0, layout)
                break
    return found


def spellings(name):
    """A name as it stands in a list, and as that of a FLAC file."""
    return dict.fromkeys(
        (
            name,
            name.replace("/wav/", "/flac/"),
            name[:-4] + ".flac" if name.endswith(".wav") else name,
        )
    )


def check_present(root, names, list_file, features=False):
    """-> {name: path below root}, see find_files. InputError unless all files are there."""
    found = find_files(root, names, features)
    missing = [name for name, path in found.items() if path is None]
    if any(name.endswith(SUFFIXES) for name in missing):
        refuse_pack(root)
    if missing:
        raise InputError(
            f"{list_file}: {len(missing)} of {len(found)} files are missing in {root or 'the current folder'}; correct the "
            f"folder or the list: {', '.join(missing[:10])}{', ...' if len(missing) > 10 else ''}"
        )
    return found


def check_files(root, names, list_file, wanted=None):
    """As check_present; wanted: a FeatureInput where features may take the place of audio, in all files or in none. InputError too unless all files, or
    20,000 spread over the list, can be used; of audio the headers are looked at."""
    found = check_present(root, names, list_file, wanted is not None)
    paths, bad = list(found.values()), []
    features = [path for path in paths if path.endswith(SUFFIXES)]
    if features and not wanted:
        raise InputError(
            f"{list_file}: {features[0]} holds features, which this model does not take; list audio, or choose another model"
        )
    if features and len(features) < len(paths):
        audio = next(path for path in paths if not path.endswith(SUFFIXES))
        raise InputError(
            f"{list_file}: want features for all of the {len(paths)} files or for none, got them for {len(features)}, but not for {audio}; "
            "extract the others (python dataprep.py --features), or remove these"
        )
    root = open_root(root)
    for i in np.linspace(0, len(paths) - 1, min(len(paths), HEADERS_CHECKED)).astype(int):
        try:
            with root.open(paths[i], wanted) as recording:
                # only this tells that the end of a FLAC file is missing
                recording.read(recording.frames - 1, 1)
        except InputError as error:
            bad.append(error)
    if bad:
        raise InputError(
            f"{bad[0]}{f' (the first of {len(bad)} such files of {list_file})' if len(bad) > 1 else ''}"
        )
    return found


def audio_below(folder):
    """All audio files of a folder and the folders in it, linked ones too, or of a pack -> their paths relative to it, sorted."""
    paths = open_root(folder).audio()
    if not paths:
        raise InputError(
            f"{folder}: want audio files ({', '.join(AUDIO)}) in this folder, got none; give another folder, or a list of files"
        )
    return paths
