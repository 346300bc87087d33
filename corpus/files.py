"""Where the files of a list are, and whether they can be used."""

import os
from collections.abc import Iterable, Sequence

import numpy as np

from common.errors import InputError
from corpus.features import SUFFIXES, FeatureInput
from corpus.roots import AUDIO, open_root, refuse_pack

# Files of a list that are opened, at most, to see whether they can be used.
FILES_CHECKED = 20_000
# Missing files that an error names.
FILES_NAMED = 10
# Where the file of a name may be. Lists of spoofing corpora name utterances without the extension,
# without the folder, or with the extension of another format.
LAYOUTS = (
    "{}",
    "{}.flac",
    "{}.wav",
    "flac/{}.flac",
    "ASVspoof2019_LA_train/flac/{}.flac",
    "ASVspoof2019_LA_dev/flac/{}.flac",
    "ASVspoof2019_LA_eval/flac/{}.flac",
    "flac_T/{}.flac",
    "flac_D/{}.flac",
    "flac_E_eval/{}.flac",
    "flac/train/{}",
    "flac/development/{}",
    "flac/evaluation/{}",
)

# {name in a list: path below the root, or None if there is no such file}
FoundFiles = dict[str, str | None]


def is_recording(path: str) -> bool:
    """Whether this looks like the name of a file of speech, and not like the name of a list."""
    return path.lower().endswith((".wav", ".flac", *SUFFIXES))


def find_files(root: str | os.PathLike, names: Iterable[str], features: bool = False) -> FoundFiles:
    """Finds the files of names -> {name: path below root}, None for a missing file.

    Nearly always the path is the name itself; see LAYOUTS for the other cases. features: whether a
    file of features of that name is used instead of audio.
    """
    if features:
        found: FoundFiles = {name: find_feature_file(root, name) for name in names}
        others = [name for name, path in found.items() if path is None]
        return found | find_files(root, others)
    found = {}
    layouts = list(LAYOUTS)
    contents = open_root(root).contents()
    for name in dict.fromkeys(names):
        found[name] = None
        for layout in layouts:
            candidates = [layout.format(spelling) for spelling in spellings(name)]
            found[name] = next((path for path in candidates if path in contents), None)
            if found[name]:
                # The next names probably have the same layout, so it is tried first.
                if layout != layouts[0]:
                    layouts.remove(layout)
                    layouts.insert(0, layout)
                break
    return found


def find_feature_file(root: str | os.PathLike, name: str) -> str | None:
    """Returns the file of features of a name, as a path below root. None if there is none."""
    for suffix in SUFFIXES:
        if os.path.isfile(os.path.join(root, name + suffix)):
            return name + suffix
    return None


def spellings(name: str) -> dict[str, None]:
    """Returns a name as it is in a list, and as the name of a FLAC file, without duplicates."""
    flac_name = name[:-4] + ".flac" if name.endswith(".wav") else name
    return dict.fromkeys((name, name.replace("/wav/", "/flac/"), flac_name))


def check_present(
    root: str | os.PathLike,
    names: Iterable[str],
    list_file: str | os.PathLike,
    features: bool = False,
) -> dict[str, str]:
    """Finds the files of names -> {name: path below root}, as find_files() does.

    list_file: where the names come from, for errors. Raises InputError if a file is missing.
    """
    found = {}
    missing = []
    for name, path in find_files(root, names, features).items():
        if path is None:
            missing.append(name)
        else:
            found[name] = path
    if any(name.endswith(SUFFIXES) for name in missing):
        refuse_pack(root)
    if missing:
        more = ", ..." if len(missing) > FILES_NAMED else ""
        raise InputError(
            f"{list_file}: {len(missing)} of {len(found) + len(missing)} files are missing in "
            f"{root or 'the current folder'}; correct the folder or the list: "
            f"{', '.join(missing[:FILES_NAMED])}{more}"
        )
    return found


def check_files(
    root: str | os.PathLike,
    names: Iterable[str],
    list_file: str | os.PathLike,
    expected: FeatureInput | None = None,
) -> dict[str, str]:
    """Finds the files of names as check_present() does, and checks whether they can be used.

    FILES_CHECKED files, spread over the list, are opened. Of audio the header and the last sample
    are read.

    expected: what the network expects of features. With it, features may replace audio, in all
    files or in none. Raises InputError if files are missing or cannot be used.
    """
    found = check_present(root, names, list_file, expected is not None)
    paths = list(found.values())
    check_kinds(paths, list_file, expected)
    opened_root = open_root(root)
    errors = []
    checked = np.linspace(0, len(paths) - 1, min(len(paths), FILES_CHECKED)).astype(int)
    for i in checked:
        try:
            with opened_root.open(paths[i], expected) as recording:
                # Only reading the end shows that the end of a FLAC file is missing.
                recording.read(recording.frames - 1, 1)
        except InputError as error:
            errors.append(error)
    if errors:
        others = ""
        if len(errors) > 1:
            others = f" (the first of {len(errors)} such files of {list_file})"
        raise InputError(f"{errors[0]}{others}")
    return found


def check_kinds(
    paths: Sequence[str], list_file: str | os.PathLike, expected: FeatureInput | None
) -> None:
    """Raises InputError if files of features are unexpected, or are mixed with audio."""
    features = [path for path in paths if path.endswith(SUFFIXES)]
    if features and not expected:
        raise InputError(
            f"{list_file}: {features[0]} holds features, which this model does not take; list "
            "audio, or choose another model"
        )
    if features and len(features) < len(paths):
        audio = next(path for path in paths if not path.endswith(SUFFIXES))
        raise InputError(
            f"{list_file}: want features for all of the {len(paths)} files or for none, got them "
            f"for {len(features)}, but not for {audio}; extract the others (python dataprep.py "
            "--features), or remove these"
        )


def audio_below(folder: str | os.PathLike) -> list[str]:
    """Returns the audio files of a folder, its sub-folders and linked folders, or of a pack.

    The paths are relative to the folder, and sorted. Raises InputError if there is no file.
    """
    paths = open_root(folder).audio()
    if not paths:
        raise InputError(
            f"{folder}: want audio files ({', '.join(AUDIO)}) in this folder, got none; give "
            "another folder, or a list of files"
        )
    return paths
