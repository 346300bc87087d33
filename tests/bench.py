"""Speed of the parts that a run waits for. One table of medians, a line as soon as it is measured; every figure on the cores it names.

python tests/bench.py [--json FILE] [--compare FILE]        (make bench)
python tests/bench.py --device cuda                         the models on a GPU
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

import trainSpeakerNet  # noqa: E402, F401, I001 - first: what it sets is read when torch is loaded
import numpy as np  # noqa: E402
import scipy.signal  # noqa: E402
import soundfile as sf  # noqa: E402
import torch  # noqa: E402
from bench_models import rows_of_models, training_in_turns  # noqa: E402
from kill_resume import noise_corpus  # noqa: E402
from timing import REPEATS, median, medians  # noqa: E402
from tqdm import tqdm  # noqa: E402

import tuneThreshold  # noqa: E402
from corpus.augment import Augment  # noqa: E402
from prep.check import CheckOptions  # noqa: E402
from prep.check import check_lists  # noqa: E402
from prep.conversion import convert, find_ffmpeg  # noqa: E402
from corpus.lists import (
    Trials,
    Utterance,
    classes_of,
    described,
    read_train_list,
    read_trials,
    speed_copies,
)  # noqa: E402
from corpus.records import begin_record  # noqa: E402
from prep.pack import PackOptions, Shard, make_pack, write_index  # noqa: E402
from corpus.roots import MARK, SETTINGS, Pack, shard_file  # noqa: E402
from prep.synthesis import draw_session, draw_speaker, record, synthesize  # noqa: E402
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


def start(list_file, factors):
    """From a train list to the rows of the first batch -> (seconds of CPU time, MB above what the imports take). No file of the list is looked at."""
    before, begun = megabytes("VmRSS"), time.process_time()
    utterances = speed_copies(read_train_list(list_file), factors)
    described(utterances)
    TrainDataset(utterances, "", classes_of(utterances), max_frames=200, seed=0)
    next(iter(GroupSampler(utterances, batch_size=200, nPerSpeaker=2, max_seg_per_spk=500, seed=0)))
    return time.process_time() - begun, megabytes("VmHWM") - before


def start_up(factors, lines=1_100_000, speakers=6_000, repeats=3):
    """Medians of start() in new processes, which have done nothing before but the imports; names as long as VoxCeleb2's."""
    with tempfile.TemporaryDirectory() as folder:
        list_file = Path(folder, "train_list.txt")
        list_file.write_text(
            "".join(
                f"id{s:05d} id{s:05d}/{i // 7:011x}/{i % 7:05d}.wav\n"
                for i in range(lines)
                for s in [i * speakers // lines]
            )
        )
        results = []
        for _ in range(repeats):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                results.append(pool.apply(start, (list_file, factors)))
    return map(statistics.median, zip(*results, strict=True))


def write_files(folder, extension, speech=False):
    """200 files of 12 s, of noise or of synthetic speech of 8 voices, and the list of them."""
    draw = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    session = draw_session(draw)
    voices = [
        record(draw, session, synthesize(draw, draw_speaker(draw, i % 2 == 1), session, 13))[
            : 12 * 16000
        ]
        for i in range(8 * speech)
    ]
    for i in range(200):
        x = voices[i % 8] if speech else 0.1 * draw.standard_normal(12 * 16000)
        sf.write(folder / f"{i:05d}.{extension}", x, 16000, subtype="PCM_16")
    (folder / "list").write_text("".join(f"{i} {i:05d}.{extension}\n" for i in range(200)))
    return [Utterance(str(i), f"{i:05d}.{extension}") for i in range(200)]


def forget(folder):
    """Takes the files off the page cache (posix_fadvise), so that they are read from the disk again."""
    os.sync()
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def in_pack(folder, lists=()):
    """What lies below a folder as a pack -> its folder."""
    pack = folder.with_name(f"{folder.name}_pack")
    make_pack(PackOptions([folder / name for name in lists], folder, pack, 2 * 10**9, 4))
    return pack


def crops_of(data):
    """-> function that makes a crop of each of 200 files, in batches of 100, every time those of another epoch."""
    groups = [[[i] for i in range(b * 100, b * 100 + 100)] for b in range(2)]
    epoch = itertools.count()
    return lambda: [data[next(epoch), g] for g in groups]


def loader(folder, kind, cold=False):
    """Two-second crops a second from 12 s files through the data set, one core."""
    wav = folder / "wav"
    files = write_files(wav, "flac" if kind == "flac" else "wav")
    root = in_pack(wav, ["list"]) if kind == "pack" else wav
    return 200 / median(
        crops_of(TrainDataset(files, str(root), max_frames=200, seed=0)),
        before=(lambda: forget(root)) if cold else None,
    )


class Usual:
    """Augmented crops as they are usually made: files are read whole, in double precision, and then cut; rooms by scipy.signal.convolve."""

    def __init__(self, files, root, augment):
        self.files, self.root, self.augment, self.length = files, root, augment, 200 * 160 + 240

    def __getitem__(self, item):
        epoch, groups = item
        return torch.from_numpy(
            np.stack([self.crop(i, np.random.default_rng((epoch, i))) for (i,) in groups]).astype(
                np.float32
            )
        )

    def read(self, path, rng):
        x = sf.read(path)[0]
        start = rng.integers(len(x) - self.length + 1)
        return x[start : start + self.length]

    def draw(self, kind, rng):
        return Path(self.augment.roots[kind].path, self.augment.draw(kind, rng))

    def crop(self, i, rng):
        x = self.read(self.root / self.files[i].path, rng)
        kind = ("none", "rir", *Augment.ADDED)[rng.integers(5)]
        if kind == "none":
            return x
        if kind == "rir":
            rir = sf.read(self.draw("rir", rng))[0]
            return scipy.signal.convolve(x, rir / np.sqrt(np.sum(rir**2)))[: self.length]
        fewest, most, low, high = Augment.ADDED[kind]
        noises, level = [], 10 * np.log10(np.mean(x**2) + 1e-4)
        for _ in range(rng.integers(fewest, most + 1)):
            noise = self.read(self.draw(kind, rng), rng)
            noises.append(
                10
                ** ((level - 10 * np.log10(np.mean(noise**2) + 1e-4) - rng.uniform(low, high)) / 20)
                * noise
            )
        return x + np.sum(noises, 0)


def speech_and_noise(folder, suffix):
    """-> {kind: data set} of synthetic speech, with noise of 5 s and rooms of 1 s: "plain", augmented in the "usual" way, by Augment from "files" or from
    "packs", read for "--gpu_augment"."""
    wav, musan, rir = folder / "wav", folder / "musan", folder / "rir"
    files = write_files(wav, suffix, speech=True)
    noise_corpus(folder, rooms=100, seconds=1)

    def data(root, *noise, later=False):
        return TrainDataset(
            files,
            str(root),
            max_frames=200,
            seed=0,
            augment=noise and Augment(*map(str, noise)),
            augment_later=later,
        )

    return {
        "plain": data(wav),
        "usual": Usual(files, wav, Augment(str(musan), str(rir))),
        "files": data(wav, musan, rir),
        "packs": data(in_pack(wav, ["list"]), in_pack(musan), in_pack(rir)),
        "--gpu_augment": data(wav, musan, rir, later=True),
    }


def augmented(suffix):
    """-> {kind: crops a second}."""
    with tempfile.TemporaryDirectory() as folder:
        kinds = speech_and_noise(Path(folder), suffix)
        return {
            kind: 200 / seconds
            for kind, seconds in medians(
                {kind: crops_of(kinds[kind]) for kind in kinds if kind != "plain"}
            ).items()
        }


def by_workers(count, at_once=100, steps=40):
    """-> {kind: crops a second that so many loader processes hand over} in batches, WAV files."""
    with tempfile.TemporaryDirectory() as folder:
        kinds = speech_and_noise(Path(folder), "wav")
        items = [
            (epoch, [[i] for i in range(first, first + at_once)])
            for epoch in range(steps // 2)
            for first in (0, at_once)
        ]

        def epoch_of(kind):
            loader = train_loader(kinds[kind], items, workers=count)
            # as in training, batches go when they are used
            return lambda: collections.deque(batches(loader), 0)

        works = {kind: epoch_of(kind) for kind in ("plain", "files", "packs", "--gpu_augment")}
        return {kind: at_once * steps / seconds for kind, seconds in medians(works, 5).items()}


def packing(folder, extension):
    """MB of samples a second that go into a pack from files that are not in the page cache, all cores."""
    write_files(folder, extension)

    def before():
        shutil.rmtree(folder / "pack", ignore_errors=True)
        forget(folder)

    before()
    options = PackOptions([folder / "list"], folder, folder / "pack", 2 * 10**9, 2 * os.cpu_count())
    return 200 * 12 * 16000 * 2 / 1e6 / median(lambda: make_pack(options), 5, before)


def opening(folder, recordings=1_100_000, shards=130):
    """Seconds until a pack the size of VoxCeleb2 can be read; its shards are holes."""
    names = [f"id{i // 183:05d}/{i // 7:011x}/{i % 7:05d}.wav" for i in range(recordings)]
    table = {
        n: Shard([(name, 130_000, 16) for name in part.tolist()], 0)
        for n, part in enumerate(np.array_split(np.array(names), shards))
    }
    begin_record(folder / "pack" / MARK, SETTINGS)
    write_index(folder / "pack", table)
    for n, shard in table.items():
        with open(shard_file(folder / "pack", n), "wb") as file:
            file.truncate(shard.bytes)
    return median(lambda: Pack(str(folder / "pack")))


def noise_files(folder, suffix, seconds, files):
    """Noise: the worst of cases for FLAC."""
    draw = np.random.default_rng(0)
    for i in range(files):
        sf.write(
            folder / f"{i:05d}.{suffix}",
            0.1 * draw.standard_normal(seconds * 16000),
            16000,
            subtype="PCM_16",
        )


def conversion(folder, kind, files=256, seconds=8):
    """Files a second of so long .m4a, made WAV or FLAC on two cores, or by one ffmpeg after the other in a loop."""
    ffmpeg, out = find_ffmpeg(), folder / "out"
    noise_files(folder, "wav", seconds, 1)
    subprocess.run(
        [ffmpeg, "-v", "error", "-nostdin", "-i", folder / "00000.wav", folder / "00000.m4a"],
        check=True,
    )
    for i in range(1, files):
        shutil.copyfile(folder / "00000.m4a", folder / f"{i:05d}.m4a")

    def work():
        shutil.rmtree(out, ignore_errors=True)
        if kind != "loop":
            return convert(folder, out, kind, 2)
        out.mkdir()
        for path in folder.glob("*.m4a"):
            subprocess.run(
                [
                    ffmpeg,
                    "-v",
                    "error",
                    "-nostdin",
                    "-y",
                    "-i",
                    path,
                    "-ac",
                    "1",
                    "-vn",
                    "-acodec",
                    "pcm_s16le",
                    "-ar",
                    "16000",
                    out / f"{path.stem}.wav",
                ],
                check=True,
            )

    return files / median(work, 3)


def checking(folder, suffix, files=400, seconds=12):
    """Hours of audio a second by --check of a train list, on two cores."""
    noise_files(folder, suffix, seconds, files)
    (folder / "list.txt").write_text("".join(f"id{i % 9} {i:05d}.{suffix}\n" for i in range(files)))
    return (
        files
        * seconds
        / 3600
        / median(
            lambda: check_lists(CheckOptions([folder / "list.txt"], [folder], None, 200, 2), 2), 3
        )
    )


def whole_files(model, files=48):
    """-> {how: seconds of speech a second} from whole files to embeddings; lengths like those of speechocean762."""
    seconds = 3 + np.random.default_rng(0).gamma(2, 1, files)

    def work(bucket, mixedprec):
        data = EvalDataset(
            [f"{i}.wav" for i in range(files)],
            folder,
            eval_frames=0,
            num_eval=1,
            bucket_frames=bucket,
        )
        trainer = Scorer(SpeakerNet(model, Loss()), mixedprec=mixedprec)
        return lambda: list(trainer.represent(batches(eval_loader(data, workers=0))))

    with tempfile.TemporaryDirectory() as folder:
        for i, length in enumerate(seconds):
            sf.write(
                f"{folder}/{i}.wav",
                0.1 * np.random.default_rng(i).standard_normal(int(length * 16000)),
                16000,
            )
        works = {
            "one by one": work(0, False),
            "buckets of 0.5 s": work(50, False),
            "one by one, --mixedprec": work(0, True),
            "buckets of 0.5 s, --mixedprec": work(50, True),
        }
        return {how: seconds.sum() / taken for how, taken in medians(works).items()}


def ten_million(trials=10_000_000, files=5_000, crops=10, dim=512):
    """From a list of trials to metrics, once -> {what: seconds}. The embeddings are noise."""
    names, drawn = some_trials(trials, files)
    taken = {}

    def timed(what, work, *args):
        begun = time.perf_counter()
        result = work(*args)
        taken[what] = time.perf_counter() - begun
        return result

    with tempfile.TemporaryDirectory() as folder:
        path, scores_path = Path(folder, "trials.txt"), Path(folder, "scores.txt")
        with path.open("w") as file:
            for i in range(0, trials, 2**16):
                file.writelines(
                    f"{(a ^ b) & 1} id{a % 100:05d}/{a:05d}.wav id{b % 100:05d}/{b:05d}.wav\n"
                    for a, b in zip(
                        drawn.enrol[i : i + 2**16].tolist(),
                        drawn.test[i : i + 2**16].tolist(),
                        strict=True,
                    )
                )
        listed = timed("reading them", read_trials, path)
        draw = torch.Generator().manual_seed(0)
        reps = {name: torch.randn(crops, dim, generator=draw) for name in listed.paths()}
        scores = timed(
            "scoring",
            Scorer(SpeakerNet(build_model("ResNetSE34L"), LossFunction(dim, 10))).score,
            listed,
            reps,
        )
        timed("writing the scores", write_scores, scores_path, listed.lines, scores)
        timed("EER + minDCF", summarize, scores, listed.label)
        timed("reading the scores", read_scores, scores_path)
    return taken


def every_pair(files=5_000, crops=10, dim=512):
    """Seconds from cached embeddings to the scores file and the metrics of all pairs, two cores."""
    names, _ = some_trials(1, files)
    bank = list(torch.randn(files, crops, dim, generator=torch.Generator().manual_seed(0)))
    listed = all_pairs.Files(names, names, np.arange(files) // 10)
    options = argparse.Namespace(
        scoring="similarity",
        dcf_p_target=0.05,
        dcf_c_miss=1.0,
        dcf_c_fa=1.0,
        far=[0.1],
        eer="interpolated",
    )
    trainer = Scorer(SpeakerNet(build_model("ResNetSE34L"), LossFunction(dim, 10)))
    with tempfile.TemporaryDirectory() as folder:
        return median(
            lambda: all_pairs.write_pairs(trainer, listed, bank, options, Path(folder, "all.txt")),
            1,
        )


def some_trials(trials, files):
    """Drawn at random, and the names of the files."""
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


def scoring(trials, files, crops=10, dim=512):
    """Trials a second from cached embeddings of all the crops of all the files, one core."""
    names, listed = some_trials(trials, files)
    reps = dict(
        zip(
            names,
            torch.randn(files, crops, dim, generator=torch.Generator().manual_seed(0)),
            strict=True,
        )
    )
    net = SpeakerNet(build_model("ResNetSE34L"), LossFunction(512, 10))
    return trials / median(lambda: Scorer(net).score(listed, reps))


def adaptive_norm(trials, files, members, crops=10, dim=512):
    """Seconds from cached embeddings of trials and cohort to raw and AS-normed scores, two cores."""
    names, listed = some_trials(trials, files)
    draw = torch.Generator().manual_seed(0)
    reps = dict(zip(names, torch.randn(files, crops, dim, generator=draw), strict=True))
    cohort = torch.randn(members, crops, dim, generator=draw)
    trainer = Scorer(SpeakerNet(build_model("ResNetSE34L"), LossFunction(512, 10)))
    return median(
        lambda: normalise_scores(
            trainer.score(listed, reps),
            *trainer.cohort_moments(listed, reps, cohort, top_n=300),
            "asnorm",
        )
    )


def pairwise_scoring(trials, files, crops=10, frames=89):
    """Trials a second of cross attentive pooling: the frames of all the crops of the one file meet those of the other."""
    names, listed = some_trials(trials, files)
    net = SpeakerNet(
        build_model("ResNetSE34L", encoder_type="CAP"), proto.LossFunction(512, 10, global_clf=True)
    )
    with torch.no_grad():
        reps = {name: net.model.pooling(torch.randn(crops, 128, frames)) for name in names}
    return trials / median(lambda: Scorer(net).score(listed, reps), 3)


def metrics(trials=581_480):
    """Seconds for EER and minDCF of a VoxCeleb1-E list, one core."""
    draw = np.random.default_rng(0)
    label = draw.random(trials) < 0.5
    scores = (draw.standard_normal(trials) + 2 * label).astype(np.float32)
    return median(lambda: summarize(scores, label))


def resampling(trials=37_720, speakers=40, repeats=1000):
    """Seconds for intervals and DET band of a list like VoxCeleb1's from 1,000 resamples of its speakers, one core."""
    draw = np.random.default_rng(0)
    label = draw.random(trials) < 0.5
    read = Scores([], draw.standard_normal(trials) + 2 * label, label, None, None)
    a = draw.integers(0, speakers, trials)
    who = np.stack([a, np.where(label, -1, (a + draw.integers(1, speakers, trials)) % speakers)], 1)
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
    return median(
        lambda: tuneThreshold.with_intervals(tuneThreshold.summary_of(read, args), read, who, args),
        3,
    )


def spoofing_aware(trials=102_579, files=71_237, speakers=48, dim=192):
    """Seconds from cached embeddings to SASV-EERs and a-DCF of a list like ASVspoof 2019 LA's, with 19 enrolment files a speaker, one core."""
    draw = np.random.default_rng(0)
    kinds = np.repeat(["target", "nontarget", "spoof"], (5_370, 33_327, trials - 38_697))
    attacks = np.where(
        kinds == "spoof", np.char.add("A", draw.integers(7, 20, trials).astype(str)), "bonafide"
    )
    models = [tuple(f"e{s}-{i}" for i in range(19)) for s in range(speakers)]
    listed = Trials(
        [],
        models,
        [str(i) for i in range(files)],
        draw.integers(0, speakers, trials),
        draw.integers(0, files, trials),
        kinds == "target",
        attacks,
        kinds,
    )
    reps = dict(
        zip(
            listed.paths(),
            torch.randn(len(listed.paths()), 1, dim, generator=torch.Generator().manual_seed(0)),
            strict=True,
        )
    )
    trainer = Scorer(SpeakerNet(build_model("ResNetSE34L"), LossFunction(dim, 10)))
    return median(lambda: summarize_sasv(trainer.score(listed, reps), kinds, attacks))


def rows_of_the_rest(row, row_of_files):
    for copies, factors in (("", ()), (" and two copies of each", (0.9, 1.1))):
        seconds, memory = start_up(factors)
        row(f"start-up, list of 1,100,000 lines{copies}", "s CPU", 1, seconds)
        row(f"its memory above that of the imports{copies}", "MB", 1, memory)
    for kind in ("wav", "flac", "pack"):
        row_of_files(f"loader, 2 s crops of 12 s files, {kind}", "crops/s", 1, loader, kind)
    for kind in ("wav", "flac", "pack"):
        row_of_files(f"the same not in the page cache, {kind}", "crops/s", 1, loader, kind, True)
    torch.set_num_threads(1)
    for suffix in ("wav", "flac"):
        for kind, speed in augmented(suffix).items():
            row(f"loader, augmented speech, {suffix}, {kind}", "crops/s", 1, speed)
    for workers in [n for n in (1, 2, 4, 8, 16) if n <= os.cpu_count()]:
        for kind, speed in by_workers(workers).items():
            row(
                f"{workers} loader processes, {'plain' if kind == 'plain' else f'augmented, {kind}'}",
                "crops/s",
                workers,
                speed,
            )
    for kind in ("wav", "flac"):
        row_of_files(f"packing 12 s files not in the page cache, {kind}", "MB/s", 2, packing, kind)
    row_of_files("opening a pack of 1,100,000 recordings", "s", 1, opening)
    for kind in ("loop", "wav", "flac"):
        name, cores = ("one ffmpeg each", 1) if kind == "loop" else (kind, 2)
        row_of_files(f"conversion, .m4a of 8 s, {name}", "files/s", cores, conversion, kind)
    for kind in ("wav", "flac"):
        row_of_files(f"check of 12 s files, {kind}", "hours/s", 2, checking, kind)
    networks = {
        "ResNetSE34L": functools.partial(build_model, "ResNetSE34L"),
        "ECAPA_TDNN, 512 channels": functools.partial(build_model, "ECAPA_TDNN", eca_c=512),
    }
    for (name, network), cores in itertools.product(networks.items(), (1, 2)):
        torch.set_num_threads(cores)
        for how, speed in whole_files(network()).items():
            row(f"whole files, {name}, {how}", "s/s", cores, speed)
    torch.set_num_threads(2)
    for what, seconds in ten_million().items():
        row(f"10,000,000 trials of 5,000 files x 10 crops, {what}", "s", 2, seconds)
    row("all pairs of 5,000 files x 10 crops, scores file and metrics", "s", 2, every_pair)
    row("scoring, 37,720 trials of 4,708 files x 10 crops", "trials/s", 1, scoring, 37_720, 4_708)
    row("scoring, 581,480 trials of 4,708 files x 10 crops", "trials/s", 1, scoring, 581_480, 4_708)
    row(
        "AS-norm, 37,720 trials of 4,708 files, cohort 6,000 x 512",
        "s",
        2,
        adaptive_norm,
        37_720,
        4_708,
        6_000,
    )
    row(
        "scoring by CAP, 1,000 trials of 10 x 10 crops of 3.5 s",
        "trials/s",
        2,
        pairwise_scoring,
        1_000,
        200,
    )
    row("EER + minDCF of 581,480 trials", "s", 1, metrics)
    row("EER + minDCF of 1,000 resamples of 37,720 trials", "s", 1, resampling)
    row("scoring + SASV metrics of 102,579 trials of ASVspoof 2019", "s", 1, spoofing_aware)
    for name, network in networks.items():
        kinds = (
            *(("modules",) if name == "ResNetSE34L" else ()),
            "",
            "--mixedprec",
            "--mixedprec --compile",
        )
        for kind, speed in training_in_turns(network, kinds, 16, 15).items():
            row(f"training step {name}, 32 x 2 s, {kind or 'float32'}", "utt/s", 2, speed)


def ratio(value, unit, before):
    """To the figure of an earlier run, above 1 if it is better now, which is lower for seconds and memory."""
    return f"{(before / value if unit in ('s', 's CPU', 'MB') else value / before):6.2f} x"


def main():
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
    args = parser.parse_args()
    keep_freed_memory()
    rows = []
    before = (
        {row["name"]: row["value"] for row in json.loads(Path(args.compare).read_text())}
        if args.compare
        else {}
    )
    print(
        f"medians of {REPEATS} (updates of all models: 1 on a CPU, 25 on a GPU; conversion and check: 3) repetitions; "
        f"{platform.processor() or platform.machine()}"
        f"{f', {torch.cuda.get_device_name()}' if args.device != 'cpu' else ''}, torch {torch.__version__}"
    )

    def row(name, unit, cores, value, *more):
        """value: the figure, or the function of `more` that measures it on so many cores."""
        torch.set_num_threads(cores)
        bar.set_description(name)
        value = value(*more) if callable(value) else value
        rows.append({"name": name, "value": value, "unit": unit, "cores": cores})
        bar.write(
            f"{name:63s} {value:12,.{3 if value < 10 else 0}f} {unit:9s} {cores} core{'s' * (cores > 1)} "
            f"{ratio(value, unit, before[name]) if name in before else ''}"
        )
        bar.update()

    def row_of_files(name, unit, cores, measure, *more):
        with tempfile.TemporaryDirectory() as folder:
            row(name, unit, cores, measure, Path(folder), *more)

    with tqdm(unit="row", disable=None) as bar:
        if args.device == "cpu" and args.only != "models":
            rows_of_the_rest(row, row_of_files)
        if args.only != "rest":
            rows_of_models(row, args.device, 2)
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
