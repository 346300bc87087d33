"""Speed and memory of every model: updates, extraction, and how much of the device's arithmetic they get. Part of bench.py."""

import torch
from timing import median, medians
from torch.utils.flop_counter import FlopCounterMode

from common.constants import HOP
from inference.scorer import Scorer
from loss.softmaxproto import LossFunction
from models._resnet import Block
from network.components import build_model
from optimizer.adam import Optimizer
from options import components
from options.parser import find
from scheduler.steplr import Scheduler
from SpeakerNet import SpeakerNet, Trainer
from training.memory import taken


def block_of_modules(self, x):
    """A residual block as it is usually written, module after module."""
    y = self.bn2(self.conv2(self.bn1(torch.relu(self.conv1(x)))))
    if self.downsample is not None:
        x = self.downsample[1](
            torch.nn.functional.conv2d(x, self.downsample[0].weight, stride=self.stride)
        )
    return torch.relu(y * self.se.fc(y.mean((2, 3)))[:, :, None, None] + x)


def trainer_of(model, kind, device):
    """A Trainer of a model with softmaxproto and Adam; kind: the options of the step."""
    torch.manual_seed(0)
    trainer = Trainer(
        SpeakerNet(model, LossFunction(model.dim, 1000)),
        device=device,
        mixedprec="--mixedprec" in kind,
    )
    if kind == "modules":
        trainer.net.to(memory_format=torch.contiguous_format)
        for module in model.modules():
            if isinstance(module, Block):
                module.forward = block_of_modules.__get__(module)
    if "--compile" in kind:
        trainer.compile()
    trainer.optimizer = Optimizer(trainer.net.parameters())
    trainer.scheduler = Scheduler(trainer.optimizer, 1000, 10)
    return trainer


def batch_of(speakers):
    """Two crops of 2 s of each."""
    return {
        "x": 0.1 * torch.randn(speakers, 2, 200 * HOP + 240),
        "label": torch.arange(speakers),
        "spoof": torch.zeros(speakers, dtype=torch.bool),
        "index": torch.zeros(speakers, 2, dtype=torch.int64),
    }


def training_in_turns(make_model, kinds, speakers, repeats):
    """-> {kind: utterances a second of whole updates on the CPU, 2 utterances of 2 s a speaker}. "modules" is the yardstick of slow machines."""
    batch = batch_of(speakers)

    def updates(kind):
        trainer = trainer_of(make_model(), kind, "cpu")
        return lambda: list(trainer.train_epoch([batch]))

    return {
        kind: 2 * speakers / seconds
        for kind, seconds in medians({kind: updates(kind) for kind in kinds}, repeats).items()
    }


def training(model, kind, device, speakers, repeats=25):
    """-> (utterances a second of whole updates, 2 utterances of 2 s a speaker; MB that they take at most)."""
    trainer, batch = trainer_of(model, kind, device), batch_of(speakers)

    def update():
        # an epoch ends when the device is done
        list(trainer.train_epoch([batch]))

    # makes gradients and the optimizer's state, which stay
    update()
    memory = taken(trainer.device, update)
    return 2 * speakers / median(update, repeats), memory


def extraction(model, device, files, repeats=9):
    """Crops of 2 s that are embedded a second, in float32."""
    trainer, x = (
        Trainer(SpeakerNet(model, LossFunction(model.dim, 2)), device=device),
        0.1 * torch.randn(files, 1, 200 * HOP),
    )
    return files / median(
        lambda: list(Scorer(trainer.net, device=device).represent([([*range(files)], x)])), repeats
    )


def arithmetic(model, device):
    """Floating-point operations of an update, a crop of 2 s: forward and backward, those of convolutions and products of matrices."""
    trainer = trainer_of(model, "", device)
    with FlopCounterMode(display=False) as counter:
        trainer.net(trainer.on_device(batch_of(2)))["loss"].backward()
    return counter.get_total_flops() / 4


def matrix_rate(device, dtype, size):
    """Floating-point operations a second of a product of square matrices."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))

    def product():
        a @ b
        if device != "cpu":
            torch.cuda.synchronize()

    return 2 * size**3 / median(product)


def rows_of_models(row, device, cores):
    """Of every model that takes waves, with its own defaults: rates of updates, the most memory, the share of the device's rate of products; extraction.
    On a GPU batches are of 200 utterances, on a CPU of 4, and few networks are compiled, so that it takes minutes."""
    gpu = device != "cpu"
    speakers, repeats, rates = (
        (100, 25, {"bf16": torch.bfloat16, "float32": torch.float32})
        if gpu
        else (2, 1, {"float32": torch.float32})
    )
    rates = {
        name: matrix_rate(device, dtype, 8192 if gpu else 2048) for name, dtype in rates.items()
    }
    for name, rate in rates.items():
        row(f"products of matrices, {name}", "GFLOP/s", cores, rate / 1e9)
    for name in components("model"):
        if find("model", name).takes != "waves":
            continue
        compiled = (
            ("--mixedprec --compile",) if gpu or name in ("ResNetSE34L", "ECAPA_TDNN") else ()
        )
        work = arithmetic(build_model(name), device)
        row(f"{name}, arithmetic of an update, a crop of 2 s", "GFLOP", cores, work / 1e9)
        for kind in ("", "--mixedprec", *compiled):
            speed, memory = training(build_model(name), kind, device, speakers, repeats)
            row(f"{name}, training step {kind or 'float32'}", "utt/s", cores, speed)
            row(f"{name}, its memory {kind or 'float32'}", "MB", cores, memory)
            rate = rates["bf16" if gpu and kind else "float32"]
            row(
                f"{name}, its share of that rate {kind or 'float32'}",
                "",
                cores,
                speed * work / rate,
            )
        row(
            f"{name}, extraction",
            "crops/s",
            cores,
            extraction,
            build_model(name),
            device,
            200 if gpu else 8,
            repeats,
        )
