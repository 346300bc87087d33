"""Finds the files of a list and checks whether they can be used."""

import logging
import os
from collections.abc import Iterable, Sequence

import numpy as np

from common.constants import COMPRESSED_SUFFIXES
from common.errors import InputError
from common.shell import shell_command
from common.text import TextLines
from corpus.features import SUFFIXES, FeatureInput
from corpus.ffmpeg import is_compressed
from corpus.missing import THE_FOLDER, MissingFiles, first_names
from corpus.roots import AUDIO, open_root, refuse_pack

log = logging.getLogger("trainSpeakerNet")
# Largest number of files of a list that are opened to check whether they can be used.
FILES_CHECKED = 20_000
# The same number for compressed files, which ffmpeg must decode.
COMPRESSED_CHECKED = 100
# With more compressed files than this number, a warning says that decoding is slow.
FEW = 10
# Places of the file of a name. Lists of spoofing corpora name utterances without the extension,
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
    """Returns whether a path looks like the name of a file of speech, not of a list."""
    return path.lower().endswith((*AUDIO, *COMPRESSED_SUFFIXES, *SUFFIXES))


def find_files(root: str | os.PathLike, names: Iterable[str], features: bool = False) -> FoundFiles:
    """Finds the files of names -> {name: path below root}, None for a missing file.

    Nearly always the path is the name itself; see LAYOUTS for the other cases. features: whether a
    file of features of that name is used instead of audio.
    """
    distinct = list(dict.fromkeys(names))
    return dict(zip(distinct, Finder(root, features).paths_of(distinct), strict=True))


class Finder:
    """Finds files in one folder or pack, see find_files()."""

    def __init__(self, root: str | os.PathLike, features: bool = False):
        self.root = root
        self.features = features
        self.opened = open_root(root)
        self.layouts = list(LAYOUTS)

    def paths_of(self, names: Sequence[str]) -> list[str | None]:
        """Returns the path below root of each name, None for a missing file."""
        paths: list[str | None] = [None] * len(names)
        if self.features:
            paths = [find_feature_file(self.root, name) for name in names]
        rest = [i for i, path in enumerate(paths) if path is None]
        if self.layouts[0] == LAYOUTS[0]:
            # Nearly all names are paths.
            present = self.opened.present([names[i] for i in rest])
            for i, is_path in zip(rest, present, strict=True):
                paths[i] = names[i] if is_path else self.path_of(names[i])
            return paths
        for i in rest:
            paths[i] = self.path_of(names[i])
        return paths

    def path_of(self, name: str) -> str | None:
        """Returns the path of a name, trying all layouts."""
        for layout in self.layouts:
            for spelling in spellings(name):
                path = layout.format(spelling)
                if path in self.opened:
                    # The next names probably have the same layout, so it is tried first.
                    self.layouts.remove(layout)
                    self.layouts.insert(0, layout)
                    return path
        return None


def find_feature_file(root: str | os.PathLike, name: str) -> str | None:
    """Returns the file of features of a name, as a path below root. None if there is none."""
    for suffix in SUFFIXES:
        if os.path.isfile(os.path.join(root, name + suffix)):
            return name + suffix
    return None


def spellings(name: str) -> dict[str, None]:
    """Returns a name unchanged, and changed to the name of a FLAC file, without duplicates."""
    flac_name = name[:-4] + ".flac" if name.endswith(".wav") else name
    return dict.fromkeys((name, name.replace("/wav/", "/flac/"), flac_name))


def check_present(
    root: str | os.PathLike,
    names: Iterable[str],
    list_file: str | os.PathLike,
    features: bool = False,
    *,
    root_option: str = THE_FOLDER,
) -> dict[str, str]:
    """Finds the files of names -> {name: path below root}, as find_files() does.

    list_file, root_option: see MissingFiles. Raises InputError if a file is missing.
    """
    found = {}
    missing = []
    for name, path in find_files(root, names, features).items():
        if path is None:
            missing.append(name)
        else:
            found[name] = path
    require_none_missing(root, missing, len(found) + len(missing), list_file, root_option)
    return found


def require_none_missing(
    root: str | os.PathLike,
    missing: Sequence[str],
    total: int,
    list_file: str | os.PathLike,
    root_option: str,
) -> None:
    """Raises InputError if files are missing. missing: their names. total: number of all files."""
    if any(name.endswith(SUFFIXES) for name in missing):
        refuse_pack(root)
    if missing:
        problem = MissingFiles(str(root), missing, total, str(list_file), root_option)
        raise InputError(problem.message())


def check_files(
    root: str | os.PathLike,
    names: Iterable[str],
    list_file: str | os.PathLike,
    expected: FeatureInput | None = None,
    *,
    root_option: str = THE_FOLDER,
) -> dict[str, str]:
    """Finds the files of names as check_present() does, and checks whether they can be used.

    The function opens up to FILES_CHECKED files, spread over the list. It reads the header and the
    last sample of audio.

    expected: the features that the network expects. With `expected`, features may replace audio, in
    all files or in none. list_file, root_option: see MissingFiles. Raises InputError if files are
    missing or cannot be used.
    """
    found = check_present(root, names, list_file, expected is not None, root_option=root_option)
    check_usable(root, list(found.values()), list_file, expected)
    return found


def check_lines(
    root: str | os.PathLike,
    names: TextLines,
    list_file: str | os.PathLike,
    expected: FeatureInput | None = None,
    *,
    root_option: str = THE_FOLDER,
) -> dict[int, str]:
    """Finds and checks the files of a list as check_files() does, in little memory.

    names: one in each line. Returns {index of the line: path below root} where this is not the
    name.
    """
    finder = Finder(root, expected is not None)
    changed = {}
    missing = []
    for first, last in names.blocks():
        block = names.items(first, last)
        for i, path in enumerate(finder.paths_of(block)):
            if path is None:
                missing.append(block[i])
            elif path != block[i]:
                changed[first + i] = path
    require_none_missing(root, missing, len(names), list_file, root_option)
    return changed


def check_usable(
    root: str | os.PathLike,
    paths: Sequence[str],
    list_file: str | os.PathLike,
    expected: FeatureInput | None,
) -> None:
    """Opens files that exist, see check_files(). paths: of all files, below root."""
    check_kinds(paths, list_file, expected)
    opened_root = open_root(root)
    errors = []
    unfinished = []
    decoded = []
    for i in chosen_files(paths):
        try:
            with opened_root.open(paths[i], expected) as recording:
                # Only reading the end shows that the end of a FLAC file is missing.
                recording.read(recording.frames - 1, 1)
                if recording.unfinished:
                    unfinished.append(paths[i])
                if recording.decoded is not None:
                    decoded.append(paths[i])
        except InputError as error:
            errors.append(error)
    if errors:
        others = ""
        if len(errors) > 1:
            others = f" This is the first of {len(errors)} such files in {list_file}."
        raise InputError(f"{errors[0]}{others}")
    report_unfinished(list_file, unfinished)
    if len(decoded) > FEW:
        log.warning(
            "warning: %s: ffmpeg decodes files such as %s each time they are read, which is slow. "
            "Convert them once with %s.",
            list_file,
            decoded[0],
            shell_command("python", "dataprep.py", "convert", os.fspath(root) or "."),
        )


def evenly_spaced(count: int, most: int) -> list[int]:
    """Returns up to `most` numbers from 0 to count - 1, evenly spaced."""
    return np.linspace(0, count - 1, min(count, most)).astype(int).tolist()


def chosen_files(paths: Sequence[str]) -> list[int]:
    """Returns the numbers of the files that check_files() opens."""
    chosen = evenly_spaced(len(paths), FILES_CHECKED)
    compressed = [i for i in chosen if is_compressed(paths[i])]
    if len(compressed) <= COMPRESSED_CHECKED:
        return chosen
    others = [i for i in chosen if not is_compressed(paths[i])]
    return others + [compressed[i] for i in evenly_spaced(len(compressed), COMPRESSED_CHECKED)]


def report_unfinished(list_file: str | os.PathLike, paths: Sequence[str]) -> None:
    """Warns about files whose headers state the length 0, see Recording."""
    if paths:
        log.warning(
            "warning: %s: the header states the length 0 in %s, as after a recorder that stopped "
            "early. Such a file is read to its end: %s.",
            list_file,
            "1 file" if len(paths) == 1 else f"{len(paths):,} files",
            first_names(paths),
        )


def check_kinds(
    paths: Sequence[str], list_file: str | os.PathLike, expected: FeatureInput | None
) -> None:
    """Raises InputError if files of features are unexpected, or are mixed with audio."""
    features = [path for path in paths if path.endswith(SUFFIXES)]
    if features and not expected:
        raise InputError(
            f"{list_file}: expected audio for this model, found features ({features[0]}). List "
            "audio files, or choose another --model."
        )
    if features and len(features) < len(paths):
        audio = next(path for path in paths if not path.endswith(SUFFIXES))
        raise InputError(
            f"{list_file}: expected features for all {len(paths)} files or for none, found "
            f"features for {len(features)} files and none for {audio}. Extract the others with "
            "'python dataprep.py features', or remove the files of features."
        )


def audio_below(folder: str | os.PathLike) -> list[str]:
    """Returns the audio files of a folder, its subfolders and linked folders, or of a pack.

    The paths are relative to the folder, and sorted. Raises InputError if there is no file.
    """
    paths = open_root(folder).audio()
    if not paths:
        raise InputError(
            f"{folder}: expected audio files ({', '.join(AUDIO)}) in this folder, found none. "
            "Choose another folder or a list of files."
        )
    return paths
