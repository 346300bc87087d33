"""ECAPA-TDNN (Desplanques et al., arXiv:2005.07143) as in the SASV 2022 baseline.

It has 15.4 million parameters with 1024 channels, 7.0 million with 512.

    python trainSpeakerNet.py --model ECAPA_TDNN --eca_c 1024 ...
"""

from models._ecapa import DEFAULTS, ECAPA, ECAPAOptions
from models._published import Published, PublishedFile
from pooling import PoolingMaker


class MainModel(ECAPA):
    """ECAPA-TDNN on mel features. ECAPAOptions declares its options."""

    def __init__(self, *, pooling: PoolingMaker, options: ECAPAOptions = DEFAULTS) -> None:
        super().__init__(pooling, options, inputs=options.n_mels)

    @classmethod
    def recognise(cls, file: PublishedFile) -> Published | None:
        """Recognises the network of TaoRuijie and of the SASV 2022 baseline."""
        names = ("conv1.weight", "layer3.se.se.3.weight", "layer4.weight", "attention.4.weight")
        if not file.has(*names, "bn5.weight", "fc6.weight", "bn6.weight"):
            return None
        # SKA_TDNN has other layers before these.
        if any(name.startswith("frt_") for name in file.weights):
            return None
        options = {
            "eca_c": file.size("conv1.weight"),
            "eca_s": file.count("layer1.convs.") + 1,
            "n_mels": file.size("conv1.weight", 1),
            "nOut": file.size("fc6.weight"),
        }
        return Published("TaoRuijie or SASV 2022", options, {"log_input": True})
