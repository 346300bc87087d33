"""The options of the networks that contain WavLM, and the file from which its weights come.

A model with WavLM has a parameter that is typed as WavLMOptions, and an attribute `ssl`:

    class MainModel(SpeakerModel):
        pretrained = WAVLM_PART
        training_options = TRAINING_OPTIONS

        def __init__(self, *, wavlm: WavLMOptions = WAVLM_OPTIONS) -> None:
            self.ssl = wavlm.build()
"""

import functools
from dataclasses import dataclass
from typing import Literal

from models import PretrainedPart
from models._wavlm import BUNDLES, SIZES, WavLM, download, size_of, torchaudio_names


@dataclass(frozen=True)
class WavLMOptions:
    """ssl_weights: file of WavLM's weights from which a new run starts: the authors' or
        torchaudio's, or a bundle of torchaudio to download (WAVLM_BASE, WAVLM_BASE_PLUS,
        WAVLM_LARGE)
    ssl_size: size of WavLM: base (also of Base+), large, or tiny for tests; the file decides
    ssl_freeze_cnn: never train the convolutions at the start of WavLM
    ssl_normalize: shift and scale each recording to mean 0 and variance 1
    ssl_dropout: share of numbers in WavLM that training sets to zero
    ssl_layer_drop: probability with which an update skips a layer of WavLM

    Raises ValueError for values without a meaning.
    """

    ssl_weights: str = ""
    ssl_size: Literal["base", "large", "tiny"] = "base"
    ssl_freeze_cnn: bool = True
    ssl_normalize: bool = False
    ssl_dropout: float = 0.1
    ssl_layer_drop: float = 0.05

    def __post_init__(self) -> None:
        for name in ("ssl_dropout", "ssl_layer_drop"):
            share = getattr(self, name)
            if not 0 <= share < 1:
                raise ValueError(f"--{name}: expected a number from 0 to below 1, found {share:g}.")

    def build(self) -> WavLM:
        """Returns WavLM with random weights."""
        return WavLM(
            SIZES[self.ssl_size],
            dropout=self.ssl_dropout,
            layer_drop=self.ssl_layer_drop,
            freeze_cnn=self.ssl_freeze_cnn,
            normalise=self.ssl_normalize,
        )


WAVLM_OPTIONS = WavLMOptions()
WAVLM_PART = PretrainedPart(
    option="ssl_weights",
    name="ssl",
    renamed=torchaudio_names,
    decides={"ssl_size": size_of},
    downloads={name: functools.partial(download, name) for name in BUNDLES},
)
TRAINING_OPTIONS = ("ssl_weights", "ssl_freeze_cnn", "ssl_dropout", "ssl_layer_drop")
