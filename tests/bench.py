"""Speed of the parts that a run waits for. One table of medians; every figure on the cores it names.

python tests/bench.py [--json FILE]        (make bench)
"""
import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import trainSpeakerNet  # noqa: E402, I001 - first: what it sets is read when torch is loaded
import numpy as np  # noqa: E402
import soundfile as sf  # noqa: E402
import torch  # noqa: E402
from tqdm import tqdm  # noqa: E402

import tuneThreshold  # noqa: E402
from corpus.augment import Augment  # noqa: E402
from corpus.lists import Trials, Utterance  # noqa: E402
from DatasetLoader import TrainDataset  # noqa: E402
from loss import proto  # noqa: E402
from loss.softmaxproto import LossFunction  # noqa: E402
from models._resnet import Block  # noqa: E402
from models.ResNetSE34L import MainModel  # noqa: E402
from optimizer.adam import Optimizer  # noqa: E402
from report.score_norm import normalise  # noqa: E402
from scheduler.steplr import Scheduler  # noqa: E402
from SpeakerNet import SpeakerNet, Trainer  # noqa: E402

REPEATS = 9


def median(work, repeats=REPEATS):
    """Median seconds of work(), after one call that is not counted."""
    work()
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def loader(folder, kind):
    """Two-second crops a second from 12 s files through the data set, in batches of 100, one core."""
    draw, files = np.random.default_rng(0), []
    for i in range(200):
        path = folder / f"{i:05d}.{'flac' if kind == 'flac' else 'wav'}"
        sf.write(path, 0.1 * draw.standard_normal(12 * 16000), 16000, subtype="PCM_16")
        files.append(Utterance(str(i), str(path)))
    augment = None
    if kind == "augmented":
        from kill_resume import noise_corpus
        noise_corpus(folder)
        augment = Augment(str(folder / "musan"), str(folder / "rir"))
    data = TrainDataset(files, "", max_frames=200, seed=0, augment=augment)
    groups = [[[i] for i in range(b * 100, b * 100 + 100)] for b in range(2)]
    epoch = iter(range(10**6))
    return 200 / median(lambda: [data[next(epoch), g] for g in groups])


def some_trials(trials, files):
    """Drawn at random, and the names of the files."""
    names = [str(i) for i in range(files)]
    enrol, test = np.random.default_rng(0).integers(0, files, (2, trials))
    return names, Trials(lines=[], models=[(name,) for name in names], files=names, enrol=enrol, test=test, label=None)


def scoring(trials, files, crops=10, dim=512):
    """Trials a second from cached embeddings of all the crops of all the files, one core."""
    names, listed = some_trials(trials, files)
    reps = dict(zip(names, torch.randn(files, crops, dim, generator=torch.Generator().manual_seed(0)), strict=True))
    net = SpeakerNet(MainModel(), LossFunction(512, 10))
    return trials / median(lambda: Trainer(net).score(listed, reps))


def adaptive_norm(trials, files, members, crops=10, dim=512):
    """Seconds from cached embeddings of trials and cohort to raw and AS-normed scores, two cores."""
    names, listed = some_trials(trials, files)
    draw = torch.Generator().manual_seed(0)
    reps = dict(zip(names, torch.randn(files, crops, dim, generator=draw), strict=True))
    cohort = torch.randn(members, crops, dim, generator=draw)
    trainer = Trainer(SpeakerNet(MainModel(), LossFunction(512, 10)))
    return median(lambda: normalise(trainer.score(listed, reps), *trainer.cohort_moments(listed, reps, cohort, top_n=300), "asnorm"))


def pairwise_scoring(trials, files, crops=10, frames=89):
    """Trials a second of cross attentive pooling: the frames of all the crops of the one file meet those of the other."""
    names, listed = some_trials(trials, files)
    net = SpeakerNet(MainModel(encoder_type="CAP"), proto.LossFunction(512, 10, global_clf=True))
    with torch.no_grad():
        reps = {name: net.model.pooling(torch.randn(crops, 128, frames)) for name in names}
    return trials / median(lambda: Trainer(net).score(listed, reps), 3)


def metrics(trials=581_480):
    """Seconds for EER and minDCF of a VoxCeleb1-E list, one core."""
    draw = np.random.default_rng(0)
    label = draw.random(trials) < 0.5
    scores = (draw.standard_normal(trials) + 2 * label).astype(np.float32)
    return median(lambda: tuneThreshold.summarize(scores, label))


def spoofing_aware(trials=102_579, files=71_237, speakers=48, dim=192):
    """Seconds from cached embeddings to SASV-EERs and a-DCF of a list like ASVspoof 2019 LA's, with 19 enrolment files a speaker, one core."""
    draw = np.random.default_rng(0)
    kinds = np.repeat(["target", "nontarget", "spoof"], (5_370, 33_327, trials - 38_697))
    attacks = np.where(kinds == "spoof", np.char.add("A", draw.integers(7, 20, trials).astype(str)), "bonafide")
    models = [tuple(f"e{s}-{i}" for i in range(19)) for s in range(speakers)]
    listed = Trials([], models, [str(i) for i in range(files)], draw.integers(0, speakers, trials), draw.integers(0, files, trials), kinds == "target",
                    attacks, kinds)
    reps = dict(zip(listed.paths(), torch.randn(len(listed.paths()), 1, dim, generator=torch.Generator().manual_seed(0)), strict=True))
    trainer = Trainer(SpeakerNet(MainModel(), LossFunction(dim, 10)))
    return median(lambda: tuneThreshold.summarize_sasv(trainer.score(listed, reps), kinds, attacks))


def block_of_modules(self, x):
    """A residual block as it is usually written, module after module."""
    y = self.bn2(self.conv2(self.bn1(torch.relu(self.conv1(x)))))
    if self.downsample is not None:
        x = self.downsample[1](torch.nn.functional.conv2d(x, self.downsample[0].weight, stride=self.stride))
    return torch.relu(y * self.se.fc(y.mean((2, 3)))[:, :, None, None] + x)


def training(kind, speakers=16, frames=200):
    """Utterances a second of whole updates: ResNetSE34L, softmaxproto, 32 x 2 s. kind "modules" is the yardstick of slow machines."""
    torch.manual_seed(0)
    model = MainModel()
    trainer = Trainer(SpeakerNet(model, LossFunction(model.dim, 1000)), mixedprec="--mixedprec" in kind)
    if kind == "modules":
        trainer.net.to(memory_format=torch.contiguous_format)
        for module in model.modules():
            if isinstance(module, Block):
                module.forward = block_of_modules.__get__(module)
    if "--compile" in kind:
        trainer.compile()
    trainer.optimizer = Optimizer(trainer.net.parameters())
    trainer.scheduler = Scheduler(trainer.optimizer, 1000, 10)
    batch = {"x": 0.1 * torch.randn(speakers, 2, frames * 160 + 240), "label": torch.arange(speakers), "spoof": torch.zeros(speakers, dtype=torch.bool),
             "index": torch.zeros(speakers, 2, dtype=torch.int64)}
    return 2 * speakers / median(lambda: list(trainer.train_epoch([batch])), 25)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="write the figures to this file too")
    args = parser.parse_args()
    trainSpeakerNet.keep_freed_memory()
    rows = []

    def row(name, unit, cores, measure, *more):
        torch.set_num_threads(cores)
        bar.set_description(name)
        rows.append((name, measure(*more), unit, cores))
        bar.update()

    with tqdm(total=13, disable=None) as bar:
        for kind in ("wav", "flac", "augmented"):
            with tempfile.TemporaryDirectory() as folder:
                row(f"loader, 2 s crops of 12 s files, {kind}", "crops/s", 1, loader, Path(folder), kind)
        row("scoring, 37,720 trials of 4,708 files x 10 crops", "trials/s", 1, scoring, 37_720, 4_708)
        row("scoring, 581,480 trials of 4,708 files x 10 crops", "trials/s", 1, scoring, 581_480, 4_708)
        row("AS-norm, 37,720 trials of 4,708 files, cohort 6,000 x 512", "s", 2, adaptive_norm, 37_720, 4_708, 6_000)
        row("scoring by CAP, 1,000 trials of 10 x 10 crops of 3.5 s", "trials/s", 2, pairwise_scoring, 1_000, 200)
        row("EER + minDCF of 581,480 trials", "s", 1, metrics)
        row("scoring + SASV metrics of 102,579 trials of ASVspoof 2019", "s", 1, spoofing_aware)
        for kind in ("modules", "float32", "--mixedprec", "--mixedprec --compile"):
            row(f"training step ResNetSE34L, 32 x 2 s, {kind}", "utt/s", 2, training, kind)
    print(f"medians of {REPEATS} (training: 25) repetitions")
    for name, value, unit, cores in rows:
        print(f"{name:63s} {value:12,.{3 if value < 10 else 0}f} {unit:9s} {cores} core{'s' * (cores > 1)}")
    if args.json:
        Path(args.json).write_text(json.dumps([dict(zip(("name", "value", "unit", "cores"), r, strict=True)) for r in rows], indent=1))


if __name__ == "__main__":
    main()
