"""ResNetSE34L, "Fast ResNet-34" (Chung et al., arXiv:2003.11982), as in voxceleb_trainer.

It has 1.4 million parameters.

    python trainSpeakerNet.py --model ResNetSE34L --encoder_type SAP --n_mels 40 ...
"""

from models._resnet import ThinOptions, ThinResNet
from pooling import PoolingMaker

DEFAULTS = ThinOptions()


class MainModel(ThinResNet):
    """The thin residual network. ThinOptions declares its options."""

    def __init__(self, *, pooling: PoolingMaker, options: ThinOptions = DEFAULTS) -> None:
        super().__init__(pooling, options, strides=(1, 2, 2, 1), stem_pool=False)
