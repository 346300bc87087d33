"""WavLM with multi-head factorised attentive pooling (Peng et al., SLT 2022, arXiv:2210.01273).

    python trainSpeakerNet.py --model WavLM_MHFA --ssl_weights WavLM-Base+.pt

WavLM is a transformer that its authors trained on speech without labels (arXiv:2110.13900).
"""

from collections.abc import Mapping

import torch
from torch import nn

from common.parameter_groups import Group
from models import Backbone
from models._fine_tuning import FINE_TUNING, UPDATE_OPTIONS, FineTuning
from models._published import WHOLE_FILES, Published, PublishedFile
from models._wavlm import size_of_width, torchaudio_names
from models._wavlm_options import TRAINING_OPTIONS, WAVLM_OPTIONS, WAVLM_PART, WavLMOptions
from pooling import PoolingMaker
from pooling._layers import layer_weights, sum_of_layers

# Projects, and the beginnings of the names of WavLM and of MHFA in their checkpoints.
PUBLISHED_NAMES = (
    ("SLT 2022", "model.", "backend."),
    ("BUT", "speaker_extractor.model.", "speaker_extractor.back_end."),
)
SSL_PREFIXES = [ssl for _, ssl, _ in PUBLISHED_NAMES]


class MainModel(Backbone):
    """nOut: size of the embedding"""

    default_pooling = "MHFA"
    old_names = {
        "backend.pooling_fc.": "pooling_fc.",
        "backend.": "pooling.",
        "speaker_extractor.back_end.pooling_fc.": "pooling_fc.",
        "speaker_extractor.back_end.": "pooling.",
        "projection.": "loss.",
    }
    training_options = TRAINING_OPTIONS
    update_options = UPDATE_OPTIONS
    pretrained = WAVLM_PART

    def __init__(
        self,
        *,
        pooling: PoolingMaker,
        nOut: int = 256,
        wavlm: WavLMOptions = WAVLM_OPTIONS,
        fine_tuning: FineTuning = FINE_TUNING,
    ) -> None:
        super().__init__()
        self.dim = nOut
        self.fine_tuning = fine_tuning
        self.ssl = wavlm.build()
        self.pooling = pooling(self.ssl.width, self.ssl.layers)
        self.layer_weights = None
        if not self.pooling.takes_layers:
            self.layer_weights = layer_weights(self.ssl.layers)
        # The authors count this layer as the last part of the pooling.
        self.pooling_fc = nn.Linear(self.pooling.size, nOut)

    @classmethod
    def recognise(cls, file: PublishedFile) -> Published | None:
        """Recognises the checkpoints of SLT 2022 and of BUT."""
        for project, ssl, back_end in PUBLISHED_NAMES:
            if file.has(f"{back_end}att_head.weight", f"{back_end}pooling_fc.weight"):
                options = {
                    "ssl_size": size_of_width(file.size(f"{ssl}encoder.layer_norm.weight")),
                    "nOut": file.size(f"{back_end}pooling_fc.weight"),
                    "encoder_type": "MHFA",
                    "heads_number": file.size(f"{back_end}att_head.weight"),
                    "compression_dim": file.size(f"{back_end}cmp_linear_k.weight"),
                }
                return Published(project, options, WHOLE_FILES)
        return None

    def new_weights(self, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Translates WavLM in the checkpoints of SLT 2022 and of BUT too."""
        others = {}
        ssl = {}
        for name, value in weights.items():
            start = next(filter(name.startswith, SSL_PREFIXES), None)
            if start:
                ssl[name.removeprefix(start)] = value
            else:
                others[name] = value
        named = super().new_weights(others)
        return named | {f"ssl.{name}": value for name, value in torchaudio_names(ssl).items()}

    def parameter_groups(self) -> list[Group]:
        """WavLM has its own learning rates, see FineTuning."""
        return self.fine_tuning.groups(self.ssl.parts())

    def frames(self, x: torch.Tensor) -> torch.Tensor:
        """Maps waves [N, T] to the frames of all layers [N, L, C, T'], or to their sum [N, C, T'].

        The first frame needs 400 samples, and each further one 320.
        """
        layers = self.ssl(x)
        if self.layer_weights is None:
            return layers
        return sum_of_layers(layers, self.layer_weights)

    def head(self, pooled: torch.Tensor) -> torch.Tensor:
        return self.pooling_fc(pooled)
