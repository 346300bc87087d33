"""Neural vocoders as plug-ins. Each is used when its package is installed.

To add one, write a function that loads its network and returns a function of a wave. Then add one
line to synthesis/names.py and one line to COPIES in synthesis/copies.py. The packages download the
released weights when they are used for the first time.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from common.constants import SAMPLE_RATE

# A function of a wave [T] that returns a wave of about the same length.
Network = Callable[[np.ndarray], np.ndarray]
VOCOS_WEIGHTS = "charactr/vocos-mel-24khz"
VOCOS_RATE = 24000
HIFIGAN_WEIGHTS = "speechbrain/tts-hifigan-libritts-16kHz"
# The mel bands that this HiFi-GAN was trained with.
HIFIGAN_FFT = 1024
HIFIGAN_SHIFT = 256
HIFIGAN_BANDS = 80
HIFIGAN_FLOOR = 1e-5


def as_float(wave: Any) -> np.ndarray:
    """Returns a tensor of any shape as samples [T]."""
    return wave.detach().cpu().numpy().astype(float).ravel()


@functools.cache
def load_vocos() -> Network:
    """Loads Vocos (Siuzdak 2023), which was trained on mel bands of speech at 24 kHz."""
    import torch
    import torchaudio
    from vocos import Vocos

    # Every process of copy synthesis has one core.
    torch.set_num_threads(1)
    network = Vocos.from_pretrained(VOCOS_WEIGHTS).eval()

    def copy(x: np.ndarray) -> np.ndarray:
        resample = torchaudio.functional.resample
        wave = torch.from_numpy(x.astype(np.float32))[None]
        with torch.inference_mode():
            high = network(resample(wave, SAMPLE_RATE, VOCOS_RATE))
            return as_float(resample(high, VOCOS_RATE, SAMPLE_RATE))

    return copy


@functools.cache
def load_hifigan() -> Network:
    """Loads HiFi-GAN (Kong et al. 2020) of speechbrain, trained on LibriTTS at 16 kHz."""
    import torch
    import torchaudio
    from speechbrain.inference.vocoders import HIFIGAN

    torch.set_num_threads(1)
    network = HIFIGAN.from_hparams(source=HIFIGAN_WEIGHTS)
    mel = torchaudio.transforms.MelSpectrogram(
        SAMPLE_RATE,
        n_fft=HIFIGAN_FFT,
        hop_length=HIFIGAN_SHIFT,
        f_min=0.0,
        f_max=SAMPLE_RATE / 2,
        n_mels=HIFIGAN_BANDS,
        power=1.0,
        norm="slaney",
        mel_scale="slaney",
    )

    def copy(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            bands = mel(torch.from_numpy(x.astype(np.float32)))[None]  # [1, bands, n]
            wave = as_float(network.decode_batch(bands.clamp(min=HIFIGAN_FLOOR).log()))
        # The network gives more frames than it gets, equally many before and after.
        surplus = max(0, len(wave) - bands.shape[2] * HIFIGAN_SHIFT)
        return wave[surplus // 2 :]

    return copy


def copy_by(load: Callable[[], Network], x: np.ndarray) -> np.ndarray:
    """Returns the copy [T] of speech x [T] by the network of `load`.

    A network gives whole frames. The copy is cut or filled with silence to the length of x.
    """
    y = load()(x)[: len(x)]
    return np.pad(y, (0, len(x) - len(y)))
