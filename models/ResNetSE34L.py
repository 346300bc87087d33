"""ResNetSE34L, "Fast ResNet-34" (Chung et al., arXiv:2003.11982), as in voxceleb_trainer: 1.4 million parameters.

python trainSpeakerNet.py --model ResNetSE34L --encoder_type SAP --n_mels 40 ...
"""

from typing import Literal

from models._pooling import Encoder
from models._resnet import ThinResNet


class MainModel(ThinResNet):
    """nOut: size of the embedding
    encoder_type: pooling over time, see models/_pooling.py; CAP pools the frames of two utterances together
    n_mels: mel bands of the input
    log_input: logarithm of the mel powers
    window: analysis window (hamming in voxceleb_trainer's checkpoints, hann in those of cross attentive pooling)
    norm: of each band over time: instance (mean 0, deviation 1, as published) or mean (mean 0)
    wave_scale: factor of the samples; 32768 in checkpoints of cross attentive pooling, which takes 16-bit integers as they are
    spec_augment: zero a random run of frames and of mel bands of every training input
    heads_number: heads of MHA and DoubleMHA pooling
    mask_prob: share of the heads that DoubleMHA leaves out of a training step
    """

    def __init__(
        self,
        *,
        nOut: int = 512,
        encoder_type: Encoder = "SAP",
        n_mels: int = 40,
        log_input: bool = True,
        window: Literal["hamming", "hann"] = "hamming",
        norm: Literal["instance", "mean"] = "instance",
        wave_scale: float = 1.0,
        spec_augment: bool = False,
        heads_number: int = 32,
        mask_prob: float = 0.3,
    ):
        super().__init__(
            strides=(1, 2, 2, 1),
            stem_pool=False,
            nOut=nOut,
            encoder_type=encoder_type,
            n_mels=n_mels,
            log_input=log_input,
            window=window,
            norm=norm,
            wave_scale=wave_scale,
            spec_augment=spec_augment,
            heads_number=heads_number,
            mask_prob=mask_prob,
        )
