"""MyLinearNet for speaker embedding enhancement (github.com/Dorika0203/proj_2022NC).

It has five layers with dropout, up to 4 times as wide as the embedding.

    python trainSpeakerNet.py --model MyLinearNet --trainfunc MSE_CS --activation ELU ...
"""

from models._linear import Activation, LinearNet


class MainModel(LinearNet):
    """nOut: size of the embedding
    activation: activation after every layer
    """

    def __init__(self, *, nOut: int = 512, activation: Activation = "ReLU") -> None:
        super().__init__((2, 4, 4, 2), dropped=(2, 3, 4), nOut=nOut, activation=activation)
