"""VGG4L, 8 convolutions with double multi-head attention (India et al., arXiv:2007.13199).

It has 19.0 million parameters.

    python trainSpeakerNet.py --model VGG4L --encoder_type DoubleMHA --trainfunc amsoftmax \\
        --pre_layer --margin 0.4 ...
"""

from models._vgg import DEFAULTS, VGG, VGGOptions
from pooling import PoolingMaker


class MainModel(VGG):
    """Four blocks of two convolutions. VGGOptions declares the options."""

    def __init__(self, *, pooling: PoolingMaker, options: VGGOptions = DEFAULTS) -> None:
        super().__init__(pooling, options, blocks=4)
