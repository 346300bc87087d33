"""VGG3L, 6 convolutions with double multi-head attention (India et al., arXiv:2007.13199): 18.6 million parameters.

python trainSpeakerNet.py --model VGG3L --encoder_type DoubleMHA --trainfunc amsoftmax --pre_layer --margin 0.4 ...
"""

from typing import Literal

from models._pooling import Encoder
from models._vgg import VGG


class MainModel(VGG):
    """nOut: size of the embedding
    encoder_type: pooling over time, see models/_pooling.py; CAP pools the frames of two utterances together
    kernel_size: channels of the last convolution; every block before has half as many
    heads_number: heads of MHA and DoubleMHA pooling
    mask_prob: share of the heads that DoubleMHA leaves out of a training step
    normalization: of each band over time: cmn (mean 0) or cmvn (mean 0, deviation 1); of a crop of audio, or of a whole file of features
    """

    def __init__(
        self,
        *,
        nOut: int = 400,
        encoder_type: Encoder = "DoubleMHA",
        kernel_size: int = 1024,
        heads_number: int = 32,
        mask_prob: float = 0.3,
        normalization: Literal["cmn", "cmvn"] = "cmn",
    ):
        super().__init__(
            blocks=3,
            nOut=nOut,
            encoder_type=encoder_type,
            kernel_size=kernel_size,
            heads_number=heads_number,
            mask_prob=mask_prob,
            normalization=normalization,
        )
