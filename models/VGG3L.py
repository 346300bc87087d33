"""VGG3L, 6 convolutions with double multi-head attention (India et al., arXiv:2007.13199).

It has 18.6 million parameters.

    python trainSpeakerNet.py --model VGG3L --encoder_type DoubleMHA --trainfunc amsoftmax \\
        --pre_layer --margin 0.4 ...
"""

from models._vgg import DEFAULTS, VGG, VGGOptions
from pooling import PoolingMaker


class MainModel(VGG):
    """Three blocks of two convolutions. VGGOptions declares the options."""

    def __init__(self, *, pooling: PoolingMaker, options: VGGOptions = DEFAULTS) -> None:
        super().__init__(pooling, options, blocks=3)
