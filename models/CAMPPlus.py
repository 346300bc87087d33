"""CAM++ (Wang et al., arXiv:2303.00332) as in 3D-Speaker and wespeaker.

It has 7.2 million parameters with embeddings of 512 numbers, 6.8 million with 192.

    python trainSpeakerNet.py --model CAMPPlus --nOut 192 ...
"""

import torch
from torch import nn

from models import Backbone
from models._campplus import STEM, Stem, Trunk
from models._kaldi import SPEAKER_3D, TRAINING_OPTIONS, FbankOptions, front_end, of_toolkit
from models._published import OF_WESPEAKER, Published, PublishedFile
from pooling import PoolingMaker


class MainModel(Backbone):
    """nOut: size of the embedding
    init_channels: channels of the first layer of frames
    growth_rate: channels that a dense layer adds
    bn_size: channels of the hidden layer of a dense layer, divided by growth_rate
    """

    default_pooling = "TSTP"
    # 3D-Speaker adds nothing to the variances. wespeaker does, as plain_TSTP.
    pooling_aliases = {"TSTP": "CAMPPlus_TSTP"}
    # "head" is the name of the last step of a model here.
    old_names = {
        "head.": "stem.",
        "xvector.stats.": "pooling.",
        "pool.": "pooling.",
        # The classifier of wespeaker.
        "projection.": "loss.",
    }
    training_options = TRAINING_OPTIONS

    def __init__(
        self,
        *,
        pooling: PoolingMaker,
        front: FbankOptions = SPEAKER_3D,
        nOut: int = 512,
        init_channels: int = 128,
        growth_rate: int = 32,
        bn_size: int = 4,
    ) -> None:
        super().__init__()
        self.dim = nOut
        self.torchfb = front_end(front)
        self.stem = Stem(front.n_mels)
        self.xvector = Trunk(
            self.stem.size, width=init_channels, growth=growth_rate, hidden=bn_size * growth_rate
        )
        self.pooling = pooling(self.xvector.size)
        self.xvector.add_head(self.pooling.size, nOut)
        for module in self.xvector.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @classmethod
    def recognise(cls, file: PublishedFile) -> Published | None:
        """Recognises the releases of 3D-Speaker and wespeaker, whose names are the same."""
        first = "xvector.tdnn.linear.weight"
        dense = "xvector.block1.tdnnd1"
        if not file.has("head.conv1.weight", first, "xvector.dense.linear.weight"):
            return None
        growth = file.size(f"{dense}.cam_layer.linear_local.weight")
        options = {
            "nOut": file.size("xvector.dense.linear.weight"),
            "init_channels": file.size(first),
            "growth_rate": growth,
            "bn_size": file.size(f"{dense}.linear1.weight") // growth,
            # The stem has an eighth of the bands.
            "n_mels": 8 * file.size(first, 1) // STEM,
        }
        found = of_toolkit(file.toolkit, options)
        if file.toolkit == OF_WESPEAKER:
            found.assumed["encoder_type"] = "plain_TSTP"
        return found

    def frames(self, x: torch.Tensor) -> torch.Tensor:
        return self.xvector(self.stem(self.torchfb(x)))

    def head(self, pooled: torch.Tensor) -> torch.Tensor:
        return self.xvector.dense(pooled.unsqueeze(-1)).squeeze(-1)
