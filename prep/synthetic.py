"""The synthetic corpus: its speakers, recordings, files and lists."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from tqdm import tqdm

from common.writing import remove_parts, write_atomically
from corpus.records import begin_record, check_record
from prep.output import encode_lines, protocol_line, write_audio
from prep.trial_drawing import draw_trials
from prep.workers import in_parallel
from synthesis.speech import Session, Speaker, draw_session, draw_speaker, record, synthesize
from synthesis.vocoders import griffin_lim, vocode

log = logging.getLogger(__name__)
# The record of a finished corpus, and of a corpus that is being made.
RECORD = "synthetic.json"
UNFINISHED_RECORD = "synthetic.json.part"
# A corpus with fewer files needs less time than the start of worker processes.
FEW_FILES = 200
# Streams of random numbers: the word that follows the seed.
SPEAKER_STREAM = 0
SESSION_STREAM = 1
SPEECH_STREAM = 2
COPY_STREAM = 3
TRIAL_STREAM = 4


class SyntheticOptions(NamedTuple):
    """The options that determine the corpus.

    `speakers` and `test_speakers` are numbers of speakers, and `files` is the number of files of a
    speaker. Raise `version` when the same options would give other samples.
    """

    speakers: int
    files: int
    test_speakers: int
    trials: int
    seed: int
    spoof: bool
    version: int = 1

    def train_range(self) -> range:
        """Returns the numbers of the training speakers."""
        return range(self.speakers)

    def test_range(self) -> range:
        """Returns the numbers of the test speakers."""
        return range(self.speakers, self.speakers + self.test_speakers)


class File(NamedTuple):
    """One file of the corpus.

    `speaker` and `recording` count from 0. `utterance` counts from 0 within the recording.
    """

    speaker: int
    recording: int
    utterance: int
    attack: str = "-"

    @property
    def name(self) -> str:
        """The name of the speaker."""
        return speaker_name(self.speaker)

    @property
    def path(self) -> str:
        """The path of the file below the folder wav."""
        prefix = "" if self.attack == "-" else f"{self.attack}_"
        return f"{self.name}/{prefix}rec{self.recording + 1:02d}/{self.utterance + 1:05d}.wav"

    def spoofed(self) -> "File":
        """Returns the spoofed copy of this file.

        A recording of at least two utterances has copies of both attacks.
        """
        return self._replace(attack="A01" if (self.recording + self.utterance) % 2 else "A02")


def speaker_name(speaker: int) -> str:
    """Returns the name of a speaker from its number."""
    return f"id{10001 + speaker}"


def is_female(speaker: int) -> bool:
    """Every second speaker is a woman."""
    return speaker % 2 == 1


def utterances_of_speaker(files: int) -> list[tuple[int, int]]:
    """Returns (recording, utterance) of all files of a speaker.

    A recording has about four files. A speaker has at least two recordings.
    """
    recordings = max(2, round(files / 4))
    utterances = []
    for recording, indices in enumerate(np.array_split(np.arange(files), recordings)):
        utterances += [(recording, number) for number in range(len(indices))]
    return utterances


def files_of_speaker(speaker: int, files: int) -> list[File]:
    """Returns the bona fide files of a speaker, in the order of their recordings."""
    return [File(speaker, *numbers) for numbers in utterances_of_speaker(files)]


# ---------------------------------------------------------------------- audio
def make_recording(job: tuple[Path, SyntheticOptions, list[File]]) -> int:
    """Writes the missing files of one recording, and their spoofed copies.

    A job is the folder wav, the options, and the files of the recording. The function returns the
    number of files of the recording.
    """
    wav, options, files = job
    number = files[0].speaker
    speaker = draw_speaker(
        np.random.default_rng([options.seed, SPEAKER_STREAM, number]), is_female(number)
    )
    session = draw_session(
        np.random.default_rng([options.seed, SESSION_STREAM, number, files[0].recording])
    )
    for file in files:
        if not (wav / file.path).exists():
            make_speech(wav, options.seed, file, speaker, session)
        if options.spoof and not (wav / file.spoofed().path).exists():
            make_spoofed_copy(wav, options.seed, file, speaker)
    return len(files)


def make_speech(wav: Path, seed: int, file: File, speaker: Speaker, session: Session) -> None:
    """Writes one bona fide file of 2 to 4 seconds."""
    rng = np.random.default_rng([seed, SPEECH_STREAM, file.speaker, file.recording, file.utterance])
    speech = synthesize(rng, speaker, session, rng.uniform(2, 4))
    write_audio(wav / file.path, record(rng, session, speech))


def make_spoofed_copy(wav: Path, seed: int, file: File, speaker: Speaker) -> None:
    """Writes the spoofed copy of a bona fide file, as loud as the file if it is not clipped."""
    rng = np.random.default_rng([seed, COPY_STREAM, file.speaker, file.recording, file.utterance])
    x = soundfile.read(wav / file.path, dtype="float32")[0]
    copy = file.spoofed()
    y = vocode(x, speaker.pitch) if copy.attack == "A01" else griffin_lim(rng, x)
    y *= x.std() / y.std()
    write_audio(wav / copy.path, y * min(1, 0.95 / np.abs(y).max()))


# ---------------------------------------------------------------------- lists
def corpus_lists(options: SyntheticOptions) -> dict[str, list[str]]:
    """Returns the lists of the corpus as {file name: lines}.

    There are a train list and trials. A corpus with spoofed copies also has three protocols in the
    format of ASVspoof 2019.
    """
    files = {
        speaker: files_of_speaker(speaker, options.files)
        for speaker in (*options.train_range(), *options.test_range())
    }
    train_list = []
    for speaker in options.train_range():
        train_list += [f"{file.name} {file.path}" for file in files[speaker]]
    test_paths = {}
    sex = {}
    for speaker in options.test_range():
        test_paths[speaker_name(speaker)] = [file.path for file in files[speaker]]
        sex[speaker_name(speaker)] = "f" if is_female(speaker) else "m"
    rng = np.random.default_rng([options.seed, TRIAL_STREAM])
    lists = {
        "train_list.txt": train_list,
        "trials.txt": draw_trials(rng, test_paths, options.trials, sex),
    }
    if options.spoof:
        lists["cm.train.trn.txt"] = list(countermeasure_lines(options, files))
        lists["asv.eval.trn.txt"] = list(enrolment_lines(options, files))
        lists["asv.eval.trl.txt"] = list(spoofing_aware_trials(options, files))
    return lists


def countermeasure_lines(options: SyntheticOptions, files: dict[int, list[File]]) -> Iterator[str]:
    """Yields the train protocol of countermeasures.

    The files of every speaker come before the copies of the files.
    """
    for speaker in options.train_range():
        for file in files[speaker]:
            yield protocol_line(file.name, file.path, file.attack)
        for file in files[speaker]:
            copy = file.spoofed()
            yield protocol_line(copy.name, copy.path, copy.attack)


def enrolment_lines(options: SyntheticOptions, files: dict[int, list[File]]) -> Iterator[str]:
    """Yields the enrolment protocol. The first recording of a test speaker is for enrolment."""
    for speaker in options.test_range():
        paths = [file.path for file in files[speaker] if file.recording == 0]
        yield f"{speaker_name(speaker)} {','.join(paths)}"


def spoofing_aware_trials(options: SyntheticOptions, files: dict[int, list[File]]) -> Iterator[str]:
    """Yields the trials of all recordings but the first: target, non-target, and spoofed."""
    probes = {}
    for speaker in options.test_range():
        probes[speaker] = [file for file in files[speaker] if file.recording > 0]
    for speaker in options.test_range():
        name = speaker_name(speaker)
        for file in probes[speaker]:
            yield f"{name} {file.path} bonafide target"
        for other in options.test_range():
            if other != speaker and is_female(other) == is_female(speaker):
                for file in probes[other]:
                    yield f"{name} {file.path} bonafide nontarget"
        for file in probes[speaker]:
            copy = file.spoofed()
            yield f"{name} {copy.path} {copy.attack} spoof"


# ---------------------------------------------------------------------- the mode of dataprep.py
def begin_corpus(folder: Path, options: SyntheticOptions) -> bool:
    """Returns whether the folder contains the finished corpus with the given options.

    An empty or new folder gets a record that this corpus is unfinished. Raises InputError if the
    folder contains anything else.
    """
    finished = folder / RECORD
    unfinished = folder / UNFINISHED_RECORD
    for path in (finished, unfinished):
        if path.exists():
            check_record(path, options._asdict(), "synthetic corpus")
            remove_parts(folder.rglob("*.part"))
            return path == finished
    begin_record(unfinished, options._asdict())
    return False


def recording_jobs(
    folder: Path, options: SyntheticOptions
) -> list[tuple[Path, SyntheticOptions, list[File]]]:
    """Returns one job of make_recording for every recording of the corpus."""
    jobs = []
    for speaker in range(options.speakers + options.test_speakers):
        recordings: dict[int, list[File]] = {}
        for file in files_of_speaker(speaker, options.files):
            recordings.setdefault(file.recording, []).append(file)
        jobs += [(folder / "wav", options, files) for files in recordings.values()]
    return jobs


def make_synthetic(folder: Path, options: SyntheticOptions, processes: int | None = None) -> None:
    """Makes the corpus, or the part that is missing: folder/wav, lists and synthetic.json.

    `processes` is the number of worker processes, None for all cores. The number does not change
    the corpus. Raises InputError if the folder contains anything except this corpus.
    """
    if begin_corpus(folder, options):
        log.info("%s already contains this corpus.", folder)
        return
    total = (options.speakers + options.test_speakers) * options.files
    log.info(
        "Making %s files of 2 to 4 s in %s.",
        f"{total * (2 if options.spoof else 1):,}",
        folder / "wav",
    )
    if total < FEW_FILES:
        processes = processes or 1
    with tqdm(total=total, unit="file", desc="synthesise", disable=None) as bar:
        for count in in_parallel(make_recording, recording_jobs(folder, options), processes):
            bar.update(count)
    lists = corpus_lists(options)
    for name, lines in lists.items():
        if not (folder / name).exists():
            write_atomically(folder / name, encode_lines(lines))
    (folder / UNFINISHED_RECORD).replace(folder / RECORD)
    targets = sum(line.startswith("1") for line in lists["trials.txt"])
    log.info(
        "%s contains %d training speakers and %d test speakers, with %s target trials and %s "
        "non-target trials.",
        folder,
        options.speakers,
        options.test_speakers,
        f"{targets:,}",
        f"{len(lists['trials.txt']) - targets:,}",
    )
    log.info("The lists in this folder are %s.", ", ".join(lists))
