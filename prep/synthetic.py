"""The synthetic corpus: which speakers say what where, their files and lists."""

import logging
from typing import NamedTuple

import numpy as np
import soundfile
from tqdm import tqdm

from common.writing import write_atomically
from corpus.records import begin_record, check_record
from prep.output import in_parallel, write_audio
from prep.synthesis import draw_session, draw_speaker, record, synthesize
from prep.trial_drawing import draw_trials
from prep.vocoders import griffin_lim, vocode

log = logging.getLogger(__name__)


class SyntheticOptions(NamedTuple):
    """What the corpus depends on. version: raise it when the same options would give other samples."""

    speakers: int
    files: int
    test_speakers: int
    trials: int
    seed: int
    spoof: bool
    version: int = 1


class File(NamedTuple):
    """One file of the corpus. speaker and recording count from 0, take from 0 within the recording."""

    speaker: int
    recording: int
    take: int
    attack: str = "-"

    @property
    def name(self):
        return f"id{10001 + self.speaker}"

    @property
    def path(self):
        prefix = "" if self.attack == "-" else f"{self.attack}_"
        return f"{self.name}/{prefix}rec{self.recording + 1:02d}/{self.take + 1:05d}.wav"

    def spoofed(self):
        """The spoofed copy of this file; both attacks in every recording of two takes or more."""
        return self._replace(attack="A01" if (self.recording + self.take) % 2 else "A02")


def is_female(speaker):
    return speaker % 2 == 1


def takes(files):
    """(recording, take) of a speaker's files: recordings of about four files, at least two recordings."""
    recordings = max(2, round(files / 4))
    return [
        (r, t)
        for r, indices in enumerate(np.array_split(np.arange(files), recordings))
        for t in range(len(indices))
    ]


def make_recording(job):
    """Writes the files of one recording (and their spoofed copies) that are not there yet -> number of files."""
    wav, options, files = job
    seed, who, recording = options.seed, files[0].speaker, files[0].recording
    speaker = draw_speaker(np.random.default_rng([seed, 0, who]), is_female(who))
    session = draw_session(np.random.default_rng([seed, 1, who, recording]))
    for file in files:
        rng = np.random.default_rng([seed, 2, *file[:3]])
        path = wav / file.path
        if not path.exists():
            write_audio(
                path, record(rng, session, synthesize(rng, speaker, session, rng.uniform(2, 4)))
            )
        copy = file.spoofed()
        if options.spoof and not (wav / copy.path).exists():
            rng = np.random.default_rng([seed, 3, *file[:3]])
            x = soundfile.read(path, dtype="float32")[0]
            y = vocode(x, speaker.pitch) if copy.attack == "A01" else griffin_lim(rng, x)
            y *= x.std() / y.std()
            write_audio(wav / copy.path, y * min(1, 0.95 / np.abs(y).max()))
    return len(files)


def corpus_lists(options):
    """The lists of the corpus: {file name: lines}."""
    each = takes(options.files)
    train = range(options.speakers)
    test = range(options.speakers, options.speakers + options.test_speakers)
    heard = {File(s, 0, 0).name: [File(s, *e).path for e in each] for s in test}
    sex = {File(s, 0, 0).name: is_female(s) for s in test}
    lists = {
        "train_list.txt": [
            f"{file.name} {file.path}" for s in train for file in (File(s, *e) for e in each)
        ],
        "trials.txt": draw_trials(
            np.random.default_rng([options.seed, 4]), heard, options.trials, sex
        ),
    }
    if options.spoof:
        bonafide = {s: [File(s, *e) for e in each] for s in (*train, *test)}
        # the first recording is for enrolment
        probes = {s: [file for file in bonafide[s] if file.recording] for s in test}
        lists["cm.train.trn.txt"] = [
            f"{f.name} {f.path} - {f.attack} {kind}"
            for s in train
            for kind, files in (
                ("bonafide", bonafide[s]),
                ("spoof", [f.spoofed() for f in bonafide[s]]),
            )
            for f in files
        ]
        lists["asv.eval.trn.txt"] = [
            f"{File(s, 0, 0).name} {','.join(f.path for f in bonafide[s] if not f.recording)}"
            for s in test
        ]
        lists["asv.eval.trl.txt"] = [
            f"{File(s, 0, 0).name} {f.path} {f.attack if f.attack != '-' else 'bonafide'} {kind}"
            for s in test
            for kind, files in (
                ("target", probes[s]),
                (
                    "nontarget",
                    [f for t in test if t != s and is_female(t) == is_female(s) for f in probes[t]],
                ),
                ("spoof", [f.spoofed() for f in probes[s]]),
            )
            for f in files
        ]
    return lists


def claim(folder, options):
    """Says whether the corpus of these options is there already; otherwise marks the folder as being filled with it. InputError if it holds anything else."""
    done, begun = folder / "synthetic.json", folder / "synthetic.json.part"
    for path in (done, begun):
        if path.exists():
            check_record(path, options._asdict(), "synthetic corpus")
            return path == done
    begin_record(begun, options._asdict())
    return False


def make_synthetic(folder, options, processes=None):
    """Makes the corpus, or what is missing of it: folder/wav, lists, synthetic.json. The number of processes does not change it."""
    if claim(folder, options):
        log.info("%s: the corpus is there already", folder)
        return
    people, each = options.speakers + options.test_speakers, takes(options.files)
    jobs = [
        (folder / "wav", options, [File(s, *e) for e in each if e[0] == r])
        for s in range(people)
        for r in range(each[-1][0] + 1)
    ]
    total = people * options.files
    if total < 200:
        # done before the workers would have started
        processes = processes or 1
    with tqdm(total=total, unit="file", desc="synthesise", disable=None) as bar:
        for count in in_parallel(make_recording, jobs, processes):
            bar.update(count)
    lists = corpus_lists(options)
    for name, lines in lists.items():
        if not (folder / name).exists():
            write_atomically(folder / name, "".join(f"{line}\n" for line in lines).encode())
    (folder / "synthetic.json.part").replace(folder / "synthetic.json")
    targets = sum(line.startswith("1") for line in lists["trials.txt"])
    log.info(
        "%s: %d training and %d test speakers, %s files in wav/, %s target and %s non-target trials; lists: %s",
        folder,
        options.speakers,
        options.test_speakers,
        f"{total * (1 + options.spoof):,}",
        f"{targets:,}",
        f"{len(lists['trials.txt']) - targets:,}",
        ", ".join(lists),
    )
