"""How the files of a data set are read: audio in samples, or features in frames."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from common.constants import HOP, WINDOW
from corpus.audio import Recording
from corpus.features import SUFFIXES, FeatureInput
from corpus.roots import open_root
from corpus.waves import Waves


class AudioSpec(NamedTuple):
    """How the files of a data set are read. Units of length are samples of audio, or frames.

    open: opens the file of a name. units_per_frame: units in a frame of 10 ms. margin: units of a
    crop beyond its frames. shortest: least number of units of a complete file; shorter files are
    repeated. unit_shape: shape of one unit, () for audio and (F,) for features.
    """

    open: Callable[[str], Recording]
    units_per_frame: int
    margin: int
    shortest: int
    unit_shape: tuple[int, ...]

    def length(self, frames: int) -> int:
        """Returns the number of units in a crop of `frames` frames."""
        return frames * self.units_per_frame + self.margin


def audio_spec(
    root: str | Waves, paths: Sequence[str], crop_margin: int, features: FeatureInput | None
) -> AudioSpec:
    """Returns the AudioSpec of the files of a list below root, or of recordings in memory.

    The first path decides.

    features: the features that the network expects. crop_margin: samples of a crop of audio beyond
    its frames.
    """
    recordings = root if isinstance(root, Waves) else open_root(root)
    if paths and paths[0].endswith(SUFFIXES):
        assert features is not None
        open_features = partial(recordings.open, expected=features)
        return AudioSpec(
            open_features, units_per_frame=1, margin=0, shortest=1, unit_shape=(features.bands,)
        )
    # A front end needs at least one window.
    return AudioSpec(
        recordings.open,
        units_per_frame=HOP,
        margin=crop_margin,
        shortest=WINDOW,
        unit_shape=(),
    )
