"""Which files enrol a speaker of spoofing-aware trials: lists '<speaker> <file>,<file>,...', or the pickled tables of the SASV 2022 baseline."""

import pickle
from pathlib import Path

from common.errors import InputError
from corpus.rows import LineFormat, read_rows

BESIDE = (
    (".gi.trl", ".female.trn"),
    (".gi.trl", ".male.trn"),
    (".gi.trl", ".gi.trn"),
    (".trl", ".trn"),
    ("trial", "enroll"),
)
ENROLMENT_FORMATS = {"<speaker> <file>,<file>,...": LineFormat(lambda words: len(words) == 2)}


class Plain(pickle.Unpickler):
    """Makes dicts, lists, strings and numbers, for which no class needs to be looked up."""

    def find_class(self, module, name):
        raise pickle.UnpicklingError(f"it holds {module}.{name}")


def read_speaker_meta(path):
    """Pickle of {speaker: {"bonafide": [utterance, ...], "spoof": [utterance, ...]}} -> that dict. Runs no code from the file."""
    try:
        with open(path, "rb") as file:
            table = Plain(file).load()
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        IndexError,
        KeyError,
        AttributeError,
        TypeError,
    ) as error:
        # whatever a torn file leads to
        raise InputError(
            f"{path}: want a pickled dict of dicts of lists of names, got something else ({error}); nothing of it was run"
        ) from None
    fits = isinstance(table, dict) and all(
        isinstance(kinds, dict)
        and set(kinds) <= {"bonafide", "spoof"}
        and all(
            isinstance(names, list) and all(isinstance(name, str) for name in names)
            for names in kinds.values()
        )
        for kinds in table.values()
    )
    if not fits:
        raise InputError(
            f"{path}: want {{speaker: {{'bonafide': [utterance, ...], 'spoof': [utterance, ...]}}}}, got another structure"
        )
    return table


def check_against_meta(utterances, path, list_file):
    """InputError unless the pickled table says the same of every utterance of the list that it knows. Folders and extensions do not matter."""
    known = {
        name: (speaker, kind)
        for speaker, kinds in read_speaker_meta(path).items()
        for kind, names in kinds.items()
        for name in names
    }
    for u in utterances:
        got = (u.speaker, "spoof" if u.spoofed else "bonafide")
        want = known.get(Path(u.path).stem, got)
        if want != got:
            raise InputError(
                f"{list_file}: {u.path} is {got[1]} of speaker {got[0]}, but {want[1]} of {want[0]} in {path}; correct one of them"
            )


def lists_beside(list_file):
    """The enrolment lists that a trial list is published with, by their names: those of them that are there."""
    path = Path(list_file)
    names = dict.fromkeys(path.name.replace(a, b) for a, b in BESIDE if a in path.name)
    return [str(path.with_name(name)) for name in names if path.with_name(name).is_file()]


def read_enrolment(list_file, pairs, enroll_list=None, spk_meta=None):
    """{claimed speaker: enrolment files} for the (claimed speaker or file, tested file) pairs of list_file.

    From the lists `enroll_list`, by default those beside list_file; speakers that these lack get the bona fide utterances of the pickled table
    `spk_meta` that no trial tests. Where there is neither, a claim that looks like a path is itself the enrolment file. InputError if somebody has none.
    """
    claims = dict.fromkeys(claim for claim, _ in pairs)
    lists = enroll_list or lists_beside(list_file)
    if not lists and not spk_meta and all(set("./") & set(claim) for claim in claims):
        return {claim: (claim,) for claim in claims}
    models = {}
    for path in lists:
        for number, (speaker, files) in enumerate(read_rows(path, ENROLMENT_FORMATS)[2], 1):
            if speaker in models:
                raise InputError(
                    f"{path}:{number}: {speaker} is enrolled already; want one line for each speaker, in all lists together"
                )
            models[speaker] = tuple(files.split(","))
    if spk_meta:
        tested = {file for _, file in pairs}
        table = read_speaker_meta(spk_meta)
        for claim in claims:
            free = tuple(
                name for name in table.get(claim, {}).get("bonafide", ()) if name not in tested
            )
            if claim not in models and free:
                models[claim] = free
    if lacking := [claim for claim in claims if claim not in models]:
        sources = ", ".join([*lists, *filter(None, [spk_meta])]) or "a list beside it"
        raise InputError(
            f"{list_file}: no enrolment for {len(lacking)} of {len(claims)} speakers in {sources}: {', '.join(lacking[:10])}; give lists "
            "'<speaker> <file>,<file>,...' by --enroll_list (a table by --spk_meta_eval enrols with utterances that no trial tests)"
        )
    return models
