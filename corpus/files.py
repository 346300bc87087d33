"""Where the files of a list are, and whether they can be used."""
import os
from pathlib import Path

import numpy as np

from corpus import InputError
from corpus.audio import Audio

HEADERS_CHECKED = 20_000
AUDIO = (".wav", ".flac", ".ogg")                                        # files of a folder that are taken for audio
# Lists of spoofing corpora name utterances: without an extension, without the folder they lie in, or with that of another format
LAYOUTS = ("{}", "{}.flac", "{}.wav", "flac/{}.flac", *(f"ASVspoof2019_LA_{part}/flac/{{}}.flac" for part in ("train", "dev", "eval")),
           *(f"flac_{part}/{{}}.flac" for part in ("T", "D", "E_eval")), *(f"flac/{part}/{{}}" for part in ("train", "development", "evaluation")))


def find_files(root, names):
    """Names of a list -> {name: path below root}; None for what is not there. Nearly always it is `name` itself, see LAYOUTS."""
    found, layouts = {}, list(LAYOUTS)
    for name in dict.fromkeys(names):
        paths = (layout.format(stem) for layout in layouts for stem in dict.fromkeys((name, name.replace("/wav/", "/flac/"))))
        for i, path in enumerate(paths):
            if os.path.isfile(os.path.join(root, path)):
                found[name] = path
                if i > 1:                                                # the next ones will be there too
                    layouts.sort(key=lambda layout: path not in (layout.format(name), layout.format(name.replace("/wav/", "/flac/"))))
                break
        else:
            found[name] = None
    return found


def check_present(root, names, list_file):
    """-> {name: path below root}. InputError unless all files are there."""
    found = find_files(root, names)
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise InputError(f"{list_file}: {len(missing)} of {len(found)} files are missing in {root or 'the current folder'}; correct the "
                         f"folder or the list: {', '.join(missing[:10])}{', ...' if len(missing) > 10 else ''}")
    return found


def check_files(root, names, list_file):
    """As check_present. InputError too unless the headers of all files, or of 20,000 spread over the list, tell of audio that can be used."""
    found = check_present(root, names, list_file)
    paths, bad = list(found.values()), []
    for i in np.linspace(0, len(paths) - 1, min(len(paths), HEADERS_CHECKED)).astype(int):
        try:
            with Audio(os.path.join(root, paths[i])) as audio:
                audio.read(audio.frames - 1, 1)                          # only this tells that the end of a FLAC file is missing
        except InputError as error:
            bad.append(error)
    if bad:
        raise InputError(f"{bad[0]}{f' (the first of {len(bad)} such files of {list_file})' if len(bad) > 1 else ''}")
    return found


def audio_below(folder):
    """All audio files of a folder and the folders in it -> their paths relative to it, sorted."""
    paths = sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.suffix.lower() in AUDIO)
    if not paths:
        raise InputError(f"{folder}: want audio files ({', '.join(AUDIO)}) in this folder, got none; give another folder, or a list of files")
    return paths
