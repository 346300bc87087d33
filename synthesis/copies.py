"""The vocoders of copy synthesis, and the optional packages that some of them need."""

import importlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from common.errors import InputError
from synthesis import conversion, neural
from synthesis.names import VOCODERS
from synthesis.vocoders import griffin_lim, world


class Package(NamedTuple):
    """An optional package: the name of its module, and what `pip install` takes."""

    module: str
    requirement: str


class Vocoder(NamedTuple):
    """A vocoder of copy synthesis.

    `attack` is its name in protocols, and `text` describes it in --help. `copy` is a function of a
    random generator and speech [T] that returns speech [T]. `needs` is an optional package that
    the vocoder requires, and `load` loads its network.
    """

    attack: str
    text: str
    copy: Callable[[np.random.Generator, np.ndarray], np.ndarray]
    needs: Package | None = None
    load: Callable[[], Any] | None = None


PYWORLD = Package("pyworld", "pyworld==0.3.5")
VOCOS = Package("vocos", "vocos==0.1.0")
SPEECHBRAIN = Package("speechbrain", "speechbrain==1.1.2")


def vocoder_of(name: str, copy: Callable, *needs: Any) -> Vocoder:
    """Returns the vocoder with the attack and the text of this name."""
    return Vocoder(*VOCODERS[name], copy, *needs)


def neural_vocoder(name: str, package: Package, load: Callable[[], neural.Network]) -> Vocoder:
    """Returns the vocoder of a neural network that `load` loads."""
    return vocoder_of(name, lambda rng, x: neural.copy_by(load, x), package, load)


COPIES = {
    "world": vocoder_of("world", lambda rng, x: world(x), PYWORLD),
    "world_coded": vocoder_of("world_coded", lambda rng, x: world(x, 10.0, 24), PYWORLD),
    "world_drawn": vocoder_of("world_drawn", conversion.world_drawn, PYWORLD),
    "world_voice": vocoder_of("world_voice", conversion.world_voice, PYWORLD),
    "world_convert": vocoder_of("world_convert", conversion.world_convert, PYWORLD),
    "griffin_lim": vocoder_of("griffin_lim", lambda rng, x: griffin_lim(rng, x, 32)),
    "griffin_lim_mel": vocoder_of("griffin_lim_mel", lambda rng, x: griffin_lim(rng, x, 32, 80)),
    "griffin_lim_drawn": vocoder_of("griffin_lim_drawn", conversion.griffin_lim_drawn),
    "phase": vocoder_of("phase", conversion.randomise_phase),
    "formants": vocoder_of("formants", conversion.move_formants),
    "voice_griffin_lim": vocoder_of("voice_griffin_lim", conversion.voice_griffin_lim, PYWORLD),
    "segments": vocoder_of("segments", conversion.mix_segments),
    "vocos": neural_vocoder("vocos", VOCOS, neural.load_vocos),
    "hifigan": neural_vocoder("hifigan", SPEECHBRAIN, neural.load_hifigan),
}


def prepare_vocoders(names: Iterable[str]) -> None:
    """Imports the packages of the named vocoders and loads their networks.

    Processes that are started later have them too. Raises InputError with a remedy if a package is
    not installed or cannot be loaded, or if the weights of a network cannot be loaded.
    """
    names = list(names)
    for name in names:
        package = COPIES[name].needs
        if package:
            import_package(package, names)
    for name in names:
        load = COPIES[name].load
        if load:
            load_network(name, load)


def import_package(package: Package, names: list[str]) -> None:
    """Imports an optional package. Raises InputError with a remedy. `names` are of --vocoders."""
    try:
        importlib.import_module(package.module)
    except ImportError as error:
        users = [name for name in names if COPIES[name].needs == package]
        need = "needs" if len(users) == 1 else "need"
        others = [name for name in names if not COPIES[name].needs]
        others = others or [name for name in COPIES if not COPIES[name].needs]
        raise InputError(
            f"--vocoders: {' and '.join(users)} {need} the package {package.module} ({error}). "
            f"Install it with 'pip install {package.requirement}', or choose --vocoders "
            f"{' '.join(others)}."
        ) from None


def load_network(name: str, load: Callable[[], Any]) -> None:
    """Loads the network of a neural vocoder. Raises InputError with a remedy."""
    try:
        load()
    # A package has errors of its own for a missing file, a missing network and an old version.
    except Exception as error:
        package = COPIES[name].needs
        raise InputError(
            f"--vocoders: {name} cannot load its network "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no text'}). "
            f"Its package {package.module} downloads the weights once, so check the connection to "
            f"the internet. The plug-in was written for {package.requirement}."
        ) from None
