"""ResNetSE34, "Thin ResNet-34", of cross attentive pooling (Kye et al., arXiv:2008.05983).

It has 1.4 million parameters.

    python trainSpeakerNet.py --model ResNetSE34 --encoder_type SAP ...
"""

from models._resnet import ThinOptions, ThinResNet
from pooling import PoolingMaker

DEFAULTS = ThinOptions(n_mels=64, window="hann")


class MainModel(ThinResNet):
    """The thin residual network. ThinOptions declares its options."""

    def __init__(self, *, pooling: PoolingMaker, options: ThinOptions = DEFAULTS) -> None:
        super().__init__(pooling, options, strides=(1, 2, 2, 2), stem_pool=True)
