"""Speed and memory of every model, a part of bench.py.

The rows show updates, extraction, and the share of the device's arithmetic that an update uses.
"""

import functools

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
from options.plugins import find
from scheduler.steplr import Scheduler
from SpeakerNet import SpeakerNet, Trainer
from training.memory import peak_memory

# Published variants of models that also have rows: model and options.
VARIANTS = [
    ("ResNet", {"variant": "simam", "width": 64}),
    ("ReDimNet", {"variant": "b0"}),
    ("ReDimNet", {"variant": "b6"}),
]


def block_of_modules(self, x):
    """Compute a residual block as it is usually written, module after module."""
    y = self.bn2(self.conv2(self.bn1(torch.relu(self.conv1(x)))))
    if len(self.downsample):
        conv, bn = self.downsample
        x = bn(torch.nn.functional.conv2d(x, conv.weight, stride=self.downsample.stride))
    return torch.relu(y * self.se.fc(y.mean((2, 3)))[:, :, None, None] + x)


def make_trainer(model, kind, device):
    """Make a Trainer of a model with softmaxproto and Adam.

    kind: "modules" for plain residual blocks, or the options of the update such as "--mixedprec".
    """
    torch.manual_seed(0)
    net = SpeakerNet(model, LossFunction(model.dim, 1000))
    trainer = Trainer(net, device=device, mixedprec="--mixedprec" in kind)
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


def make_batch(speakers):
    """Make a batch with two crops of 2 s for each speaker."""
    return {
        "x": 0.1 * torch.randn(speakers, 2, 200 * HOP + 240),
        "label": torch.arange(speakers),
        "spoof": torch.zeros(speakers, dtype=torch.bool),
        "index": torch.zeros(speakers, 2, dtype=torch.int64),
    }


def training_speeds(make_model, kinds, speakers, repeats):
    """Measure whole updates on the CPU: {kind: utterances per second}.

    A batch has two utterances of 2 s for each speaker. The kind "modules" is a reference that does
    not depend on our code, for comparisons between machines.
    """
    batch = make_batch(speakers)

    def make_update(kind):
        trainer = make_trainer(make_model(), kind, "cpu")
        return lambda: list(trainer.train_epoch([batch]))

    seconds = medians({kind: make_update(kind) for kind in kinds}, repeats)
    return {kind: 2 * speakers / seconds[kind] for kind in kinds}


def training_cost(model, kind, device, speakers, repeats=25):
    """Measure whole updates with two utterances of 2 s for each speaker.

    Returns the utterances per second, and the largest memory of an update in MB.
    """
    trainer = make_trainer(model, kind, device)
    batch = make_batch(speakers)

    def update():
        # An epoch ends when the device has finished.
        list(trainer.train_epoch([batch]))

    # The first update makes the gradients and the state of the optimizer, which stay in memory.
    update()
    memory = peak_memory(trainer.device, update)
    return 2 * speakers / median(update, repeats), memory


def extraction_speed(model, device, files, repeats=9):
    """Measure how many crops of 2 s per second are embedded in float32."""
    trainer = Trainer(SpeakerNet(model, LossFunction(model.dim, 2)), device=device)
    x = 0.1 * torch.randn(files, 1, 200 * HOP)
    batches = [([*range(files)], x)]

    def extract():
        list(Scorer(trainer.net, device=device).represent(batches))

    return files / median(extract, repeats)


def operations_of_update(model, device):
    """Count the floating-point operations of an update for each crop of 2 s.

    Convolutions and products of matrices count. The backward pass has two products for each one of
    the forward pass. torch counts the backward pass of convolutions in groups as if they had none.
    """
    trainer = make_trainer(model, "", device)
    # The counter needs gradients of parameters that a module gets as an input, or none at all.
    trainer.net.requires_grad_(False)
    with FlopCounterMode(display=False) as counter:
        trainer.net(trainer.on_device(make_batch(2)))
    return 3 * counter.get_total_flops() / 4


def matrix_rate(device, dtype, size):
    """Measure the floating-point operations per second of a product of square matrices."""
    a = torch.randn(size, size, device=device).to(dtype)
    b = torch.randn(size, size, device=device).to(dtype)

    def product():
        torch.matmul(a, b)
        if device != "cpu":
            torch.cuda.synchronize()

    return 2 * size**3 / median(product)


def rate_of_matrices(device, kind):
    """Measure matrix_rate() in the precision that an update of a kind has on the device."""
    if device == "cpu":
        return matrix_rate(device, torch.float32, 2048)
    return matrix_rate(device, torch.bfloat16 if kind else torch.float32, 8192)


def rows_of_matrices(row, device, cores):
    """Add the rows of matrix products."""
    kinds = {"float32": ""} if device == "cpu" else {"bf16": "--mixedprec", "float32": ""}
    for name, kind in kinds.items():
        rate = rate_of_matrices(device, kind)
        row(f"products of matrices, {name}", "GFLOP/s", cores, rate / 1e9)


def rows_of_model(row, name, device, cores, **options):
    """Add the rows of one model. options: of the model."""
    make_model = functools.partial(build_model, name, **options)
    name = " ".join([name, *(f"--{option} {value}" for option, value in options.items())])
    gpu = device != "cpu"
    speakers, files, repeats = (100, 200, 25) if gpu else (2, 8, 1)
    kinds = ["", "--mixedprec"]
    if gpu or name in ("ResNetSE34L", "ECAPA_TDNN"):
        kinds.append("--mixedprec --compile")
    operations = operations_of_update(make_model(), device)
    row(f"{name}, arithmetic of an update, a crop of 2 s", "GFLOP", cores, operations / 1e9)
    for kind in kinds:
        # The rate of shared machines changes within minutes.
        before = rate_of_matrices(device, kind)
        speed, memory = training_cost(make_model(), kind, device, speakers, repeats)
        rate = (before + rate_of_matrices(device, kind)) / 2
        shown = kind or "float32"
        row(f"{name}, training step {shown}", "utt/s", cores, speed)
        row(f"{name}, its memory {shown}", "MB", cores, memory)
        row(f"{name}, its share of that rate {shown}", "", cores, speed * operations / rate)
    arguments = (make_model(), device, files, repeats)
    row(f"{name}, extraction", "crops/s", cores, extraction_speed, *arguments)


def rows_of_models(row, device, cores):
    """Add the rows of every model that reads waves, with the default options of the model.

    They show the speed of updates, their largest memory, their share of the device's rate of
    matrix products, and the speed of extraction. A batch has 200 utterances on a GPU. On a CPU a
    batch has 4 utterances and few networks are compiled, so that the rows take minutes.
    """
    rows_of_matrices(row, device, cores)
    for name in components("model"):
        if find("model", name).takes == "waves":
            rows_of_model(row, name, device, cores)
    for name, options in VARIANTS:
        rows_of_model(row, name, device, cores, **options)
