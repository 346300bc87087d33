"""The lines that state what a command has assumed: model, front end, device, and so on."""

import argparse
import logging
from collections.abc import Iterable

import torch

import distributed
from common.constants import HOP, SAMPLE_RATE, WINDOW
from network.devices import make_autocast
from options.plugins import find, takes_pooling
from SpeakerNet import SpeakerNet

log = logging.getLogger("trainSpeakerNet")
# Name of a line, and its text.
Row = tuple[str, str]


def log_rows(rows: Iterable[Row]) -> None:
    """Prints lines in two columns."""
    for name, text in rows:
        log.info("%-12s%s", name, text)


def with_origin(options: argparse.Namespace, name: str) -> str:
    """Returns the value of an option, and "(default)" if neither user nor checkpoint chose it."""
    value = str(getattr(options, name))
    return value if name in options.given else f"{value} (default)"


def number_of_parameters(module: torch.nn.Module) -> str:
    """Returns the number of parameters of a module in words, such as "1.4 million parameters"."""
    number = sum(parameter.numel() for parameter in module.parameters())
    if number < 1_000_000:
        return f"{number:,} parameters"
    return f"{number / 1e6:.1f} million parameters"


def plural(number: int, noun: str) -> str:
    """Returns a number and its noun, such as "1 process" and "1,251 speakers"."""
    ending = "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}{ending}"


def network_rows(options: argparse.Namespace, net: SpeakerNet) -> list[Row]:
    """Returns the lines about model and front end."""
    parts = [with_origin(options, "model")]
    if takes_pooling(find("model", options.model)):
        pooling, *default = with_origin(options, "encoder_type").split(" ")
        parts.append(" ".join([pooling, "pooling", *default]))
    parts.append(number_of_parameters(net.model))
    return [("Model", ", ".join(parts)), ("Front end", front_end_text(options, net))]


def front_end_text(options: argparse.Namespace, net: SpeakerNet) -> str:
    """Describes what the network computes from a waveform at first."""
    if net.model.takes != "waves":
        return "none: the model reads embeddings"
    bands = getattr(options, "n_mels", net.model.bands)
    if not bands:
        return "part of the model, which reads the waveform"
    window = 1000 * WINDOW / SAMPLE_RATE
    hop = 1000 * HOP / SAMPLE_RATE
    return f"{bands} mel bands, a window of {window:g} ms every {hop:g} ms"


def device_rows(options: argparse.Namespace, device: torch.device) -> list[Row]:
    """Returns the line about device, processes and precision."""
    autocast = make_autocast(device, options.mixedprec)
    precision = "float32"
    if options.mixedprec:
        precision = f"{autocast.fast_dtype}".removeprefix("torch.") + " (--mixedprec)"
    name = str(device)
    if device.type == "cuda":
        name = f"{device} ({torch.cuda.get_device_name(device)})"
    parts = [
        name,
        plural(distributed.world_size(), "process"),
        plural(torch.get_num_threads(), "thread"),
        plural(options.nDataLoaderThread, "loader process"),
        precision,
    ]
    return [("Device", ", ".join(parts))]


def log_use(options: argparse.Namespace, net: SpeakerNet, device: torch.device) -> None:
    """Prints what the use of a checkpoint has assumed."""
    rows = network_rows(options, net)
    rows.append(("Checkpoint", str(options.initial_model)))
    log_rows([*rows, *device_rows(options, device)])
