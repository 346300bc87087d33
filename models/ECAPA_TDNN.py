"""ECAPA-TDNN (Desplanques et al., arXiv:2005.07143) as in the SASV 2022 baseline: 15.4 million parameters with
1024 channels, 7.0 million with 512.

    python trainSpeakerNet.py --model ECAPA_TDNN --eca_c 1024 ...
"""

from models._ecapa import ECAPA
from models._pooling import Encoder


class MainModel(ECAPA):
    """nOut: size of the embedding
    encoder_type: pooling over time, see models/_pooling.py; ASP means ECA here, as published
    n_mels: mel bands of the input
    log_input: logarithm of the mel powers
    heads_number: heads of MHA and DoubleMHA pooling
    mask_prob: share of the heads that DoubleMHA leaves out of a training step
    eca_c: channels of the blocks
    eca_s: groups of channels in a Res2Net block
    spec_augment: zero a random run of frames and of mel bands of every training input
    """

    def __init__(
        self,
        *,
        nOut: int = 192,
        encoder_type: Encoder = "ASP",
        n_mels: int = 80,
        log_input: bool = True,
        heads_number: int = 32,
        mask_prob: float = 0.3,
        eca_c: int = 1024,
        eca_s: int = 8,
        spec_augment: bool = False,
    ):
        super().__init__(
            inputs=n_mels,
            nOut=nOut,
            encoder_type=encoder_type,
            n_mels=n_mels,
            log_input=log_input,
            heads_number=heads_number,
            mask_prob=mask_prob,
            eca_c=eca_c,
            eca_s=eca_s,
            spec_augment=spec_augment,
        )
