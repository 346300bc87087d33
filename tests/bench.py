"""Speed of the parts that a run waits for.

python tests/bench.py [--json FILE] [--compare FILE]        (make bench)
python tests/bench.py --device cuda                         the models on a GPU

The output is one table of medians. Each row is printed as soon as it is measured, and names the
number of cores that it was measured with.
"""

import argparse
import collections
import functools
import itertools
import json
import multiprocessing
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

# The program sets variables that torch reads when it is loaded.
import trainSpeakerNet  # noqa: E402, F401, I001
import numpy as np  # noqa: E402
import scipy.signal  # noqa: E402
import soundfile as sf  # noqa: E402
import torch  # noqa: E402
from bench_models import rows_of_models, training_speeds  # noqa: E402
from kill_resume import noise_corpus  # noqa: E402
from timing import REPEATS, median, medians  # noqa: E402
from tqdm import tqdm  # noqa: E402

import tuneThreshold  # noqa: E402
from common.constants import SAMPLE_RATE  # noqa: E402
from corpus.augment import Augment  # noqa: E402
from corpus.codecs import CODECS, CodecAugment  # noqa: E402
from corpus.rawboost import ALGORITHMS, RawBoost  # noqa: E402
from prep.check import CheckOptions  # noqa: E402
from prep.check import check_lists  # noqa: E402
from prep.conversion import convert, find_ffmpeg  # noqa: E402
from corpus.lists import (  # noqa: E402
    Trials,
    Utterance,
    classes_of,
    described,
    read_train_list,
    read_trials,
    speed_copies,
)
from corpus.records import begin_record  # noqa: E402
from prep.pack import PackOptions, Shard, make_pack, write_index  # noqa: E402
from corpus.roots import MARK, SETTINGS, Pack, shard_file  # noqa: E402
from synthesis.speech import draw_session, draw_speaker, record, synthesize  # noqa: E402
from DatasetLoader import EvalDataset, TrainDataset, batches, eval_loader, train_loader  # noqa: E402
from loss import Loss, proto  # noqa: E402
from loss.softmaxproto import LossFunction  # noqa: E402
from metrics.rates import summarize  # noqa: E402
from metrics.sasv import summarize_sasv  # noqa: E402
from metrics.score_norm import normalise_scores  # noqa: E402
from metrics.scores import Scores, read_scores, write_scores  # noqa: E402
from network.components import build_model  # noqa: E402
from SpeakerNet import SpeakerNet  # noqa: E402
from training.memory import keep_freed_memory, megabytes  # noqa: E402
from training.sampling import GroupSampler  # noqa: E402
from inference import all_pairs  # noqa: E402
from inference.scorer import Scorer  # noqa: E402


SECONDS = 12
FILES = 200
SAMPLES = SECONDS * SAMPLE_RATE
PACK_BYTES = 2 * 10**9


# ---------------------------------------------------------------------- start-up
def start(list_file, factors):
    """Read a train list and draw the rows of the first batch, without reading its audio.

    factors: the speeds of further copies. Returns the seconds of CPU time, and the MB of memory
    above the memory of the imports.
    """
    before = megabytes("VmRSS")
    begin = time.process_time()
    utterances = speed_copies(read_train_list(list_file), factors)
    described(utterances)
    TrainDataset(utterances, "", classes_of(utterances), max_frames=200, seed=0)
    next(iter(GroupSampler(utterances, batch_size=200, nPerSpeaker=2, max_seg_per_spk=500, seed=0)))
    return time.process_time() - begin, megabytes("VmHWM") - before


def start_up(factors, lines=1_100_000, speakers=6_000, repeats=3):
    """Return the medians of start() in new processes that have only done the imports.

    The names of the list are as long as the names of VoxCeleb2.
    """
    with tempfile.TemporaryDirectory() as folder:
        list_file = Path(folder, "train_list.txt")
        with list_file.open("w") as file:
            for i in range(lines):
                speaker = f"id{i * speakers // lines:05d}"
                file.write(f"{speaker} {speaker}/{i // 7:011x}/{i % 7:05d}.wav\n")
        results = []
        for _ in range(repeats):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                results.append(pool.apply(start, (list_file, factors)))
    seconds, memory = zip(*results, strict=True)
    return statistics.median(seconds), statistics.median(memory)


# ---------------------------------------------------------------------- files
def synthetic_voices(draw, count):
    """Synthesize `count` voices, 12 s of speech of each."""
    session = draw_session(draw)
    voices = []
    for i in range(count):
        speech = synthesize(draw, draw_speaker(draw, i % 2 == 1), session, SECONDS + 1)
        voices.append(record(draw, session, speech)[:SAMPLES])
    return voices


def write_files(folder, extension, speech=False):
    """Write 200 files of 12 s, and their list. Returns the utterances.

    The files contain noise, or with `speech` synthetic speech of 8 voices.
    """
    draw = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    voices = synthetic_voices(draw, 8 if speech else 0)
    utterances = []
    for i in range(FILES):
        x = voices[i % 8] if speech else 0.1 * draw.standard_normal(SAMPLES)
        name = f"{i:05d}.{extension}"
        sf.write(folder / name, x, SAMPLE_RATE, subtype="PCM_16")
        utterances.append(Utterance(str(i), name))
    lines = [f"{utterance.speaker} {utterance.path}\n" for utterance in utterances]
    (folder / "list").write_text("".join(lines))
    return utterances


def noise_files(folder, suffix, seconds, files):
    """Write files of noise, which is the worst case for FLAC."""
    draw = np.random.default_rng(0)
    for i in range(files):
        x = 0.1 * draw.standard_normal(seconds * SAMPLE_RATE)
        sf.write(folder / f"{i:05d}.{suffix}", x, SAMPLE_RATE, subtype="PCM_16")


def forget(folder):
    """Remove the files from the page cache, so that they are read from the disk again."""
    os.sync()
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def pack_folder(folder, lists=()):
    """Pack the files below a folder. Returns the folder of the pack."""
    pack = folder.with_name(f"{folder.name}_pack")
    make_pack(PackOptions([folder / name for name in lists], folder, pack, PACK_BYTES, 4))
    return pack


# ---------------------------------------------------------------------- loading
def single_groups(first, end):
    """Return the groups of a batch with one utterance in each group."""
    return [[i] for i in range(first, end)]


def crop_maker(data):
    """Return a function that makes a crop of each of 200 files, in two batches of 100.

    Each call makes the crops of another epoch.
    """
    groups = [single_groups(0, 100), single_groups(100, 200)]
    epoch = itertools.count()

    def make():
        return [data[next(epoch), group] for group in groups]

    return make


def loader(folder, kind, cold=False):
    """Measure the crops of 2 s per second that one core reads from files of 12 s.

    kind: wav, flac or pack. cold: the files are not in the page cache.
    """
    wav = folder / "wav"
    utterances = write_files(wav, "flac" if kind == "flac" else "wav")
    root = pack_folder(wav, ["list"]) if kind == "pack" else wav
    make = crop_maker(TrainDataset(utterances, str(root), max_frames=200, seed=0))
    return FILES / median(make, before=functools.partial(forget, root) if cold else None)


class UsualAugmentation:
    """Augmented crops as trainers usually make them.

    Files are read whole, in double precision, and are then cut. Rooms use scipy.signal.convolve.
    """

    def __init__(self, utterances, root, augment):
        self.utterances = utterances
        self.root = root
        self.augment = augment
        self.length = 200 * 160 + 240

    def __getitem__(self, item):
        epoch, groups = item
        crops = [self.crop(i, np.random.default_rng((epoch, i))) for (i,) in groups]
        return torch.from_numpy(np.stack(crops).astype(np.float32))

    def read(self, path, rng):
        """Read a file and cut a random part."""
        x = sf.read(path)[0]
        start = rng.integers(len(x) - self.length + 1)
        return x[start : start + self.length]

    def draw(self, kind, rng):
        """Draw a file with noise or a room."""
        return Path(self.augment.roots[kind].path, self.augment.draw_file(kind, rng))

    def crop(self, i, rng):
        """Make an augmented crop of utterance i."""
        x = self.read(self.root / self.utterances[i].path, rng)
        kind = ("none", "rir", *Augment.NOISE_KINDS)[rng.integers(5)]
        if kind == "none":
            return x
        if kind == "rir":
            rir = sf.read(self.draw("rir", rng))[0]
            return scipy.signal.convolve(x, rir / np.sqrt(np.sum(rir**2)))[: self.length]
        fewest, most, low, high = Augment.NOISE_KINDS[kind]
        noises = []
        level = decibels(x)
        for _ in range(rng.integers(fewest, most + 1)):
            noise = self.read(self.draw(kind, rng), rng)
            gain = level - decibels(noise) - rng.uniform(low, high)
            noises.append(10 ** (gain / 20) * noise)
        return x + np.sum(noises, 0)


def decibels(x):
    """Compute the level of a wave in dB."""
    return 10 * np.log10(np.mean(x**2) + 1e-4)


def speech_and_noise(folder, suffix):
    """Make data sets of synthetic speech, with noise of 5 s and rooms of 1 s.

    Returns {kind: data set}. "plain" has no augmentation. "usual" is UsualAugmentation. Augment
    reads from "files" or from "packs". "--gpu_augment" reads the noise and leaves the sums to the
    device.
    """
    wav = folder / "wav"
    musan = folder / "musan"
    rir = folder / "rir"
    utterances = write_files(wav, suffix, speech=True)
    noise_corpus(folder, rooms=100, seconds=1)

    def data(root, *noise, later=False):
        return TrainDataset(
            utterances,
            str(root),
            max_frames=200,
            seed=0,
            augment=noise and Augment(*map(str, noise)),
            augment_later=later,
        )

    return {
        "plain": data(wav),
        "usual": UsualAugmentation(utterances, wav, Augment(str(musan), str(rir))),
        "files": data(wav, musan, rir),
        "packs": data(pack_folder(wav, ["list"]), pack_folder(musan), pack_folder(rir)),
        "--gpu_augment": data(wav, musan, rir, later=True),
    }


def augmented(suffix):
    """Measure the augmented crops per second of one core: {kind: crops per second}."""
    with tempfile.TemporaryDirectory() as folder:
        kinds = speech_and_noise(Path(folder), suffix)
        kinds.pop("plain")
        works = {kind: crop_maker(data) for kind, data in kinds.items()}
        return {kind: FILES / seconds for kind, seconds in medians(works).items()}


def changed_crops(frames):
    """Measure the milliseconds of RawBoost and codecs for a crop of synthetic speech.

    Returns {option: milliseconds}. frames: length of the crop, in frames of 10 ms.
    """
    voices = synthetic_voices(np.random.default_rng(0), 8)
    crops = [voice[: 160 * frames + 240].astype(np.float32) for voice in voices]
    effects = {f"--rawboost {number}": RawBoost([number]) for number in ALGORITHMS if number}
    for name in CODECS:
        effects[f"--codec_augment {name}"] = CodecAugment([name], 1)

    def change(effect):
        rng = np.random.default_rng(0)
        for crop in crops:
            effect(crop, rng)

    works = {name: functools.partial(change, effect) for name, effect in effects.items()}
    return {name: 1000 * seconds / len(crops) for name, seconds in medians(works, 5).items()}


def changed_by_workers(count):
    """Measure the crops of 2 s per second that loader processes change and hand over.

    count: number of processes. Returns {options: crops per second}.
    """
    kinds = {
        "plain": [],
        "--rawboost 4": [RawBoost([4])],
        "--codec_augment mulaw alaw gsm": [CodecAugment(["mulaw", "alaw", "gsm"])],
        "--codec_augment all": [CodecAugment(["all"])],
        "--codec_augment all --rawboost 4": [CodecAugment(["all"]), RawBoost([4])],
    }
    items = [(epoch, single_groups(20 * i, 20 * i + 20)) for epoch in range(4) for i in range(10)]
    with tempfile.TemporaryDirectory() as folder:
        utterances = write_files(Path(folder), "wav", speech=True)
        works = {}
        for name, effects in kinds.items():
            data = TrainDataset(utterances, folder, max_frames=200, seed=0, effects=effects)
            loader = train_loader(data, items, workers=count)
            works[name] = functools.partial(
                lambda loader: collections.deque(batches(loader), 0), loader
            )
        return {name: 800 / seconds for name, seconds in medians(works, 3).items()}


def by_workers(count, batch=100, steps=40):
    """Measure the crops of WAV files per second that `count` loader processes hand over.

    Returns {kind: crops per second}. The crops arrive in batches.
    """
    items = []
    for epoch in range(steps // 2):
        for first in (0, batch):
            items.append((epoch, single_groups(first, first + batch)))
    with tempfile.TemporaryDirectory() as folder:
        kinds = speech_and_noise(Path(folder), "wav")

        def load_epoch(loader):
            # As in training, a batch is freed when it is used.
            collections.deque(batches(loader), 0)

        works = {}
        for kind in ("plain", "files", "packs", "--gpu_augment"):
            loader = train_loader(kinds[kind], items, workers=count)
            works[kind] = functools.partial(load_epoch, loader)
        return {kind: batch * steps / seconds for kind, seconds in medians(works, 5).items()}


# ---------------------------------------------------------------------- corpora
def packing(folder, extension):
    """Measure the MB of samples per second that all cores pack from files.

    The files are not in the page cache.
    """
    write_files(folder, extension)

    def before():
        shutil.rmtree(folder / "pack", ignore_errors=True)
        forget(folder)

    before()
    workers = 2 * os.cpu_count()
    options = PackOptions([folder / "list"], folder, folder / "pack", PACK_BYTES, workers)
    megabytes_of_samples = FILES * SAMPLES * 2 / 1e6
    return megabytes_of_samples / median(lambda: make_pack(options), 5, before)


def opening(folder, recordings=1_100_000, shards=130):
    """Measure the seconds until a pack of the size of VoxCeleb2 can be read.

    Its shards are sparse files.
    """
    names = [f"id{i // 183:05d}/{i // 7:011x}/{i % 7:05d}.wav" for i in range(recordings)]
    table = {}
    for number, part in enumerate(np.array_split(np.array(names), shards)):
        table[number] = Shard([(name, 130_000, 16) for name in part.tolist()], 0)
    begin_record(folder / "pack" / MARK, SETTINGS)
    write_index(folder / "pack", table)
    for number, shard in table.items():
        with open(shard_file(folder / "pack", number), "wb") as file:
            file.truncate(shard.bytes)
    return median(lambda: Pack(str(folder / "pack")))


def conversion(folder, kind, files=256, seconds=8):
    """Measure the .m4a files of 8 s per second that are converted.

    kind: wav or flac on two cores, or loop for one ffmpeg process after the other.
    """
    ffmpeg = find_ffmpeg()
    quiet = [ffmpeg, "-v", "error", "-nostdin"]
    out = folder / "out"
    noise_files(folder, "wav", seconds, 1)
    first = folder / "00000.m4a"
    subprocess.run([*quiet, "-i", folder / "00000.wav", first], check=True)
    for i in range(1, files):
        shutil.copyfile(first, folder / f"{i:05d}.m4a")
    to_wav = ["-ac", "1", "-vn", "-acodec", "pcm_s16le", "-ar", "16000"]

    def work():
        shutil.rmtree(out, ignore_errors=True)
        if kind != "loop":
            convert(folder, out, kind, 2)
            return
        out.mkdir()
        for path in folder.glob("*.m4a"):
            target = out / f"{path.stem}.wav"
            subprocess.run([*quiet, "-y", "-i", path, *to_wav, target], check=True)

    return files / median(work, 3)


def checking(folder, suffix, files=400, seconds=SECONDS):
    """Measure the hours of audio per second that --check of a train list reads on two cores."""
    noise_files(folder, suffix, seconds, files)
    list_file = folder / "list.txt"
    list_file.write_text("".join(f"id{i % 9} {i:05d}.{suffix}\n" for i in range(files)))
    options = CheckOptions([list_file], [folder], None, 200, 2)
    return files * seconds / 3600 / median(lambda: check_lists(options, 2), 3)


# ---------------------------------------------------------------------- evaluation
def whole_files(model, files=48):
    """Measure the seconds of speech per second from whole files to embeddings: {how: rate}.

    The lengths of the files are distributed as the lengths in speechocean762.
    """
    names = [f"{i}.wav" for i in range(files)]
    seconds = 3 + np.random.default_rng(0).gamma(2, 1, files)

    def make_work(folder, bucket, mixedprec):
        data = EvalDataset(names, folder, eval_frames=0, num_eval=1, bucket_frames=bucket)
        scorer = Scorer(SpeakerNet(model, Loss()), mixedprec=mixedprec)
        return lambda: list(scorer.represent(batches(eval_loader(data, workers=0))))

    with tempfile.TemporaryDirectory() as folder:
        for i, (name, length) in enumerate(zip(names, seconds, strict=True)):
            x = 0.1 * np.random.default_rng(i).standard_normal(int(length * SAMPLE_RATE))
            sf.write(f"{folder}/{name}", x, SAMPLE_RATE)
        works = {
            "one by one": make_work(folder, 0, False),
            "buckets of 0.5 s": make_work(folder, 50, False),
            "one by one, --mixedprec": make_work(folder, 0, True),
            "buckets of 0.5 s, --mixedprec": make_work(folder, 50, True),
        }
        return {how: seconds.sum() / each for how, each in medians(works).items()}


def random_trials(trials, files):
    """Draw trials at random. Returns the names of the files, and the trials."""
    names = [str(i) for i in range(files)]
    enrol, test = np.random.default_rng(0).integers(0, files, (2, trials))
    return names, Trials(
        lines=[],
        models=[(name,) for name in names],
        files=names,
        enrol=enrol,
        test=test,
        label=None,
    )


def random_reps(names, crops, dim):
    """Draw the embeddings of files: {name: [crops, dim]}."""
    draw = torch.Generator().manual_seed(0)
    return dict(zip(names, torch.randn(len(names), crops, dim, generator=draw), strict=True))


def make_scorer(dim):
    """Make a Scorer for embeddings with `dim` numbers, which are compared by their cosine."""
    return Scorer(SpeakerNet(build_model("ResNetSE34L"), LossFunction(dim, 10)))


def write_trials(path, trials):
    """Write random trials as a list of trials."""
    with path.open("w") as file:
        # In parts, because lists of numbers need much more memory than arrays.
        for first in range(0, len(trials.enrol), 2**16):
            part = slice(first, first + 2**16)
            pairs = zip(trials.enrol[part].tolist(), trials.test[part].tolist(), strict=True)
            for a, b in pairs:
                label = (a ^ b) & 1
                file.write(f"{label} id{a % 100:05d}/{a:05d}.wav id{b % 100:05d}/{b:05d}.wav\n")


def ten_million(trials=10_000_000, files=5_000, crops=10, dim=512):
    """Measure each step from a list of trials to metrics once: {step: seconds}.

    The embeddings are noise.
    """
    _, drawn = random_trials(trials, files)
    seconds = {}

    def timed(step, work, *arguments):
        begin = time.perf_counter()
        result = work(*arguments)
        seconds[step] = time.perf_counter() - begin
        return result

    with tempfile.TemporaryDirectory() as folder:
        path, scores_path = Path(folder, "trials.txt"), Path(folder, "scores.txt")
        write_trials(path, drawn)
        listed = timed("reading them", read_trials, path)
        draw = torch.Generator().manual_seed(0)
        reps = {name: torch.randn(crops, dim, generator=draw) for name in listed.paths()}
        scores = timed("scoring", make_scorer(dim).score, listed, reps)
        timed("writing the scores", write_scores, scores_path, listed.lines, scores)
        timed("EER + minDCF", summarize, scores, listed.label)
        timed("reading the scores", read_scores, scores_path)
    return seconds


def every_pair(files=5_000, crops=10, dim=512):
    """Measure the seconds from cached embeddings to the scores and the metrics of all pairs.

    The figure is for two cores and includes the writing of the scores file.
    """
    names = [str(i) for i in range(files)]
    bank = list(torch.randn(files, crops, dim, generator=torch.Generator().manual_seed(0)))
    listed = all_pairs.PairedFiles(names, names, np.arange(files) // 10)
    options = argparse.Namespace(
        scoring="similarity",
        dcf_p_target=0.05,
        dcf_c_miss=1.0,
        dcf_c_fa=1.0,
        far=[0.1],
        eer="interpolated",
    )
    scorer = make_scorer(dim)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "all.txt")
        return median(lambda: all_pairs.write_pairs(scorer, listed, bank, options, path), 1)


def scoring(trials, files, crops=10, dim=512):
    """Measure the trials per second that one core scores from cached embeddings of all crops."""
    names, listed = random_trials(trials, files)
    reps = random_reps(names, crops, dim)
    net = SpeakerNet(build_model("ResNetSE34L"), LossFunction(512, 10))
    return trials / median(lambda: Scorer(net).score(listed, reps))


def adaptive_norm(trials, files, members, crops=10, dim=512):
    """Measure the seconds from cached embeddings to raw and AS-normed scores, on two cores.

    members: number of embeddings in the cohort.
    """
    names, listed = random_trials(trials, files)
    draw = torch.Generator().manual_seed(0)
    reps = dict(zip(names, torch.randn(files, crops, dim, generator=draw), strict=True))
    cohort = torch.randn(members, crops, dim, generator=draw)
    scorer = make_scorer(512)

    def work():
        scores = scorer.score(listed, reps)
        moments = scorer.cohort_moments(listed, reps, cohort, top_n=300)
        return normalise_scores(scores, *moments, "asnorm")

    return median(work)


def pairwise_scoring(trials, files, crops=10, frames=89):
    """Measure the trials per second that cross attentive pooling scores.

    The frames of all crops of a file attend to the frames of all crops of the other file.
    """
    names, listed = random_trials(trials, files)
    net = SpeakerNet(
        build_model("ResNetSE34L", encoder_type="CAP"), proto.LossFunction(512, 10, global_clf=True)
    )
    with torch.no_grad():
        reps = {name: net.model.pooling(torch.randn(crops, 128, frames)) for name in names}
    return trials / median(lambda: Scorer(net).score(listed, reps), 3)


# ---------------------------------------------------------------------- metrics
def metrics(trials=581_480):
    """Measure the seconds of EER and minDCF of a list like VoxCeleb1-E, on one core."""
    draw = np.random.default_rng(0)
    label = draw.random(trials) < 0.5
    scores = (draw.standard_normal(trials) + 2 * label).astype(np.float32)
    return median(lambda: summarize(scores, label))


def resampling(trials=37_720, speakers=40, repeats=1000):
    """Measure the seconds of the intervals and the DET band from 1,000 resamples of the speakers.

    The list is like VoxCeleb1-O, and the figure is for one core.
    """
    draw = np.random.default_rng(0)
    label = draw.random(trials) < 0.5
    read = Scores([], draw.standard_normal(trials) + 2 * label, label, None, None)
    first = draw.integers(0, speakers, trials)
    second = (first + draw.integers(1, speakers, trials)) % speakers
    # A target trial has only one speaker.
    pairs = np.stack([first, np.where(label, -1, second)], 1)
    args = argparse.Namespace(
        p_target=[0.05],
        c_miss=1.0,
        c_fa=1.0,
        eer="interpolated",
        far=[],
        bootstrap=repeats,
        seed=0,
        confidence=0.95,
    )

    def work():
        summary = tuneThreshold.summary_of(read, args)
        return tuneThreshold.with_intervals(summary, read, pairs, args)

    return median(work, 3)


def spoofing_aware(trials=102_579, files=71_237, speakers=48, dim=192):
    """Measure the seconds from cached embeddings to SASV-EERs and a-DCF, on one core.

    The list is like ASVspoof 2019 LA, with 19 enrolment files for each speaker.
    """
    draw = np.random.default_rng(0)
    kinds = np.repeat(["target", "nontarget", "spoof"], (5_370, 33_327, trials - 38_697))
    spoof_names = np.char.add("A", draw.integers(7, 20, trials).astype(str))
    attacks = np.where(kinds == "spoof", spoof_names, "bonafide")
    models = []
    for speaker in range(speakers):
        models.append(tuple(f"e{speaker}-{i}" for i in range(19)))
    listed = Trials(
        lines=[],
        models=models,
        files=[str(i) for i in range(files)],
        enrol=draw.integers(0, speakers, trials),
        test=draw.integers(0, files, trials),
        label=kinds == "target",
        attacks=attacks,
        kinds=kinds,
    )
    reps = random_reps(listed.paths(), 1, dim)
    scorer = make_scorer(dim)
    return median(lambda: summarize_sasv(scorer.score(listed, reps), kinds, attacks))


# ---------------------------------------------------------------------- the table
NETWORKS = {
    "ResNetSE34L": functools.partial(build_model, "ResNetSE34L"),
    "ECAPA_TDNN, 512 channels": functools.partial(build_model, "ECAPA_TDNN", eca_c=512),
}


def rows_of_loading(table):
    """Add the rows of the start-up and of the loaders."""
    for copies, factors in (("", ()), (" and two copies of each", (0.9, 1.1))):
        seconds, memory = start_up(factors)
        table.row(f"start-up, list of 1,100,000 lines{copies}", "s CPU", 1, seconds)
        table.row(f"its memory without the imports{copies}", "MB", 1, memory)
    for kind in ("wav", "flac", "pack"):
        name = f"loader, 2 s crops of 12 s files, {kind}"
        table.row_of_files(name, "crops/s", 1, loader, kind)
    for kind in ("wav", "flac", "pack"):
        name = f"the same not in the page cache, {kind}"
        table.row_of_files(name, "crops/s", 1, loader, kind, True)
    torch.set_num_threads(1)
    for suffix in ("wav", "flac"):
        for kind, speed in augmented(suffix).items():
            table.row(f"loader, augmented speech, {suffix}, {kind}", "crops/s", 1, speed)
    for frames in (200, 400):
        for name, milliseconds in changed_crops(frames).items():
            table.row(f"crop of {frames / 100:g} s, {name}", "ms", 1, milliseconds)
    for name, speed in changed_by_workers(1).items():
        table.row(f"1 loader process, crops of 2 s, {name}", "crops/s", 1, speed)
    for workers in (1, 2, 4, 8, 16):
        if workers <= os.cpu_count():
            for kind, speed in by_workers(workers).items():
                shown = "plain" if kind == "plain" else f"augmented, {kind}"
                table.row(f"{workers} loader processes, {shown}", "crops/s", workers, speed)


def rows_of_corpora(table):
    """Add the rows of packing, conversion and checks."""
    for kind in ("wav", "flac"):
        name = f"packing 12 s files not in the page cache, {kind}"
        table.row_of_files(name, "MB/s", 2, packing, kind)
    table.row_of_files("opening a pack of 1,100,000 recordings", "s", 1, opening)
    for kind, name, cores in (
        ("loop", "one ffmpeg each", 1),
        ("wav", "wav", 2),
        ("flac", "flac", 2),
    ):
        title = f"conversion, .m4a of 8 s, {name}"
        table.row_of_files(title, "files/s", cores, conversion, kind)
    for kind in ("wav", "flac"):
        table.row_of_files(f"check of 12 s files, {kind}", "hours/s", 2, checking, kind)


def rows_of_evaluation(table):
    """Add the rows of embeddings, scores and metrics."""
    for name, network in NETWORKS.items():
        for cores in (1, 2):
            torch.set_num_threads(cores)
            for how, speed in whole_files(network()).items():
                table.row(f"whole files, {name}, {how}", "s/s", cores, speed)
    torch.set_num_threads(2)
    for step, seconds in ten_million().items():
        table.row(f"10,000,000 trials of 5,000 files x 10 crops, {step}", "s", 2, seconds)
    name = "all pairs of 5,000 files x 10 crops, scores file and metrics"
    table.row(name, "s", 2, every_pair)
    for trials in (37_720, 581_480):
        name = f"scoring, {trials:,} trials of 4,708 files x 10 crops"
        table.row(name, "trials/s", 1, scoring, trials, 4_708)
    name = "AS-norm, 37,720 trials of 4,708 files, cohort 6,000 x 512"
    table.row(name, "s", 2, adaptive_norm, 37_720, 4_708, 6_000)
    name = "scoring by CAP, 1,000 trials of 10 x 10 crops of 3.5 s"
    table.row(name, "trials/s", 2, pairwise_scoring, 1_000, 200)
    table.row("EER + minDCF of 581,480 trials", "s", 1, metrics)
    table.row("EER + minDCF of 1,000 resamples of 37,720 trials", "s", 1, resampling)
    name = "scoring + SASV metrics of 102,579 trials of ASVspoof 2019"
    table.row(name, "s", 1, spoofing_aware)


def rows_of_training(table):
    """Add the rows of updates on two cores."""
    for name, network in NETWORKS.items():
        kinds = ["", "--mixedprec", "--mixedprec --compile"]
        if name == "ResNetSE34L":
            kinds.insert(0, "modules")
        for kind, speed in training_speeds(network, kinds, 16, 15).items():
            table.row(f"training step {name}, 32 x 2 s, {kind or 'float32'}", "utt/s", 2, speed)


def ratio(value, unit, before):
    """Compare a figure with an earlier run; above 1 if the figure is better now.

    Seconds and memory are better if they are smaller.
    """
    smaller_is_better = unit in ("s", "s CPU", "ms", "MB")
    return f"{before / value if smaller_is_better else value / before:6.2f} x"


class Table:
    """Prints rows as soon as they are measured, and keeps them.

    bar: a progress bar. earlier: {name of a row: figure of an earlier run}.
    """

    def __init__(self, bar, earlier):
        self.bar = bar
        self.earlier = earlier
        self.rows = []

    def row(self, name, unit, cores, value, *arguments):
        """Add a row. value: the figure, or a function that measures the figure of `arguments`."""
        torch.set_num_threads(cores)
        self.bar.set_description(name)
        if callable(value):
            value = value(*arguments)
        self.rows.append({"name": name, "value": value, "unit": unit, "cores": cores})
        number = f"{value:12,.3f}" if value < 10 else f"{value:12,.0f}"
        cores_text = "1 core" if cores == 1 else f"{cores} cores"
        compared = ratio(value, unit, self.earlier[name]) if name in self.earlier else ""
        self.bar.write(f"{name:63s} {number} {unit:9s} {cores_text} {compared}")
        self.bar.update()

    def row_of_files(self, name, unit, cores, measure, *arguments):
        """Add a row. measure: a function of an empty folder and `arguments`."""
        with tempfile.TemporaryDirectory() as folder:
            self.row(name, unit, cores, measure, Path(folder), *arguments)


def make_parser():
    """Declare the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--device",
        default="cpu",
        help="of the models: cpu (two cores) or cuda, which leaves out what the CPU does alone",
    )
    parser.add_argument("--only", choices=("models", "rest"), help="one half of the table")
    parser.add_argument("--json", help="write the figures to this file too")
    parser.add_argument(
        "--compare",
        metavar="FILE",
        help="JSON of an earlier run: adds a column of ratios to it, above 1 = better now",
    )
    return parser


def main():
    """Measure and print the table."""
    args = make_parser().parse_args()
    keep_freed_memory()
    earlier = {}
    if args.compare:
        for row in json.loads(Path(args.compare).read_text()):
            earlier[row["name"]] = row["value"]
    machine = platform.processor() or platform.machine()
    if args.device != "cpu":
        machine += f", {torch.cuda.get_device_name()}"
    print(
        f"medians of {REPEATS} (updates of all models: 1 on a CPU, 25 on a GPU; "
        f"conversion and check: 3) repetitions; {machine}, torch {torch.__version__}"
    )
    with tqdm(unit="row", disable=None) as bar:
        table = Table(bar, earlier)
        if args.device == "cpu" and args.only != "models":
            rows_of_loading(table)
            rows_of_corpora(table)
            rows_of_evaluation(table)
            rows_of_training(table)
        if args.only != "rest":
            rows_of_models(table.row, args.device, 2)
    if args.json:
        Path(args.json).write_text(json.dumps(table.rows, indent=1))


if __name__ == "__main__":
    main()
