"""What the options choose: the device, the network, what reads lists and files."""
import torch

from corpus import InputError
from DatasetLoader import SOURCES
from options.parser import build, find
from SpeakerNet import SpeakerNet


def the_device(name):
    """The device to compute on: by name, which is tried out, or the best there is."""
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name}: {str(error).splitlines()[0]} (CUDA devices here: {torch.cuda.device_count()})") from None
    return torch.device(name)


def build_net(options, num_classes):
    model = build("model", options)
    return SpeakerNet(model, build("trainfunc", options, dim=model.dim, num_classes=options.nClasses or num_classes))


def source_of(options):
    """What reads lists and files for the chosen model."""
    return SOURCES[find("model", options.model).takes]
