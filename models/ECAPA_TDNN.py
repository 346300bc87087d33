"""ECAPA-TDNN (Desplanques et al., arXiv:2005.07143) as in the SASV 2022 baseline.

It has 15.4 million parameters with 1024 channels, 7.0 million with 512.

    python trainSpeakerNet.py --model ECAPA_TDNN --eca_c 1024 ...
"""

from models._ecapa import DEFAULTS, ECAPA, ECAPAOptions
from pooling import PoolingMaker


class MainModel(ECAPA):
    """ECAPA-TDNN on mel features. ECAPAOptions declares its options."""

    def __init__(self, *, pooling: PoolingMaker, options: ECAPAOptions = DEFAULTS) -> None:
        super().__init__(pooling, options, inputs=options.n_mels)
