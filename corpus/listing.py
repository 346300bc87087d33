"""Lists as they stand, line by line, for those who check or compare them; what is wrong in them they tell, not the reader."""

from typing import NamedTuple

from common.trial_kinds import BONA_FIDE
from corpus.files import is_recording
from corpus.lists import TRAIN_FORMATS, TRIAL_FORMATS, UNLABELLED, read_trials
from corpus.rows import read_rows


class Listing(NamedTuple):
    """A train list or trials, whose files are below `root`. header: lines before `lines`. named: the files of each line. owners: (speaker, is it spoofed?) of
    each line of a train list, None of trials."""

    list_file: str
    root: str
    header: list
    lines: list
    named: list
    owners: list | None

    def files(self):
        """Every file once."""
        return list(dict.fromkeys(name for names in self.named for name in names))


def read_listing(list_file, root):
    """A list of TRAIN_FORMATS or TRIAL_FORMATS; of two words it has trials if the first of them looks like a file."""
    with open(list_file, encoding="utf-8-sig", errors="replace") as file:
        first = file.readline()
    word = (first.split() or [""])[0]
    train = {
        line: kind
        for line, kind in TRAIN_FORMATS.items()
        if line != "<speaker> <file>" or not ("/" in word or is_recording(word))
    }
    trials = {
        line: kind
        for line, kind in TRIAL_FORMATS.items()
        if line != UNLABELLED or len(train) < len(TRAIN_FORMATS)
    }
    kind, lines, rows = read_rows(list_file, train | trials)
    rows, header, owners = list(rows), [first.strip()] * (kind.first - 1), None
    if kind.fits in [each.fits for each in train.values()]:
        speaker, path = kind.columns
        named = [(words[path],) for words in rows]
        owners = [
            (words[speaker], kind.attack is not None and words[kind.attack] not in BONA_FIDE)
            for words in rows
        ]
    elif kind.key is None:
        named = [tuple(words[column] for column in kind.columns) for words in rows]
    else:
        found = read_trials(list_file)
        named = [
            (*found.models[e], found.files[t])
            for e, t in zip(found.enrol.tolist(), found.test.tolist(), strict=True)
        ]
    return Listing(str(list_file), str(root), header, lines, named, owners)


def folder_of(path, level):
    """ "" where the path has not so many folders."""
    return path.split("/", level + 1)[level] if path.count("/") > level else ""


def speakers_by_folder(speakers, paths):
    """Speakers and paths of the lines of a train list -> level, {folder: speaker}: which folder of a path is that of the speaker, judged by the first and the
    last file of each; level 0 and no folders if none is."""
    files = {
        *dict(zip(speakers, paths, strict=True)).items(),
        *dict(zip(reversed(speakers), reversed(paths), strict=True)).items(),
    }
    for level in range(min((path.count("/") for _, path in files), default=0)):
        folders = {path.split("/")[level]: speaker for speaker, path in files}
        if (
            1
            < len(folders)
            == len({*folders.values()})
            == len({(speaker, path.split("/")[level]) for speaker, path in files})
        ):
            return level, folders
    return 0, {}


def shared_speakers(level, folders, paths):
    """See speakers_by_folder; paths: of files of trials -> names of the training speakers who are among them, sorted."""
    return sorted(
        folders[name] for name in {folder_of(path, level) for path in paths} & folders.keys()
    )
