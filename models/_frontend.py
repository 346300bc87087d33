"""Mel front end of all the models, and SpecAugment (Park et al., arXiv:1904.08779).

    self.torchfb = FrontEnd(n_mels=40, norm="instance")      # the attribute has the name that published checkpoints use
    features = self.torchfb(x)                               # waves [N, T] -> [N, n_mels, 1 + T // HOP], float32, without gradient
"""
import torch
import torchaudio
from torch.nn import functional as F

SAMPLE_RATE = 16000
HOP = 160
WINDOW = 400
PRE_EMPHASIS = 0.97
LONGEST_TIME_MASK, LONGEST_MEL_MASK = 9, 7                                       # frames and bands, of SASV2
WINDOWS = {"hamming": torch.hamming_window, "hann": torch.hann_window}


class FrontEnd(torchaudio.transforms.MelSpectrogram):
    """Power mel spectrogram, 25 ms windows every 10 ms, normalised over time.

    window: "hamming" or "hann". log: natural logarithm of the powers. norm: "instance" (mean 0, deviation 1 over time in each band)
    or "mean" (mean 0). augment: SpecAugment while training.
    """

    def __init__(self, n_mels=40, *, f_min=0.0, f_max=SAMPLE_RATE / 2, window="hamming", pre_emphasis=False, log=True, norm="instance",
                 augment=False):
        super().__init__(SAMPLE_RATE, n_fft=512, win_length=WINDOW, hop_length=HOP, f_min=f_min, f_max=f_max, n_mels=n_mels,
                         window_fn=WINDOWS[window], power=None)
        self.log, self.norm, self.augment = log, norm, augment
        self.register_buffer("flipped_filter", pre_emphasis_filter() if pre_emphasis else None)

    @torch.compiler.disable                                                      # complex numbers are beyond it
    @torch.no_grad()
    def forward(self, x):
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            if self.flipped_filter is not None:
                x = pre_emphasise(x, self.flipped_filter).squeeze(1)
            x = self.spectrogram(x)                                              # [N, 257, T'] complex
            x = self.mel_scale(x.real.square() + x.imag.square()) + 1e-6         # [N, n_mels, T']; abs() is five times slower
            if self.log:
                x = x.log()
            x = F.instance_norm(x) if self.norm == "instance" else x - x.mean(-1, keepdim=True)
            return spec_augment(x) if self.augment and self.training else x


def pre_emphasis_filter():
    """[1, 1, 2], to be a buffer, because published checkpoints store it."""
    return torch.tensor([[[-PRE_EMPHASIS, 1.0]]])


def pre_emphasise(x, flipped_filter):
    """y[t] = x[t] - 0.97 x[t - 1] with x[-1] = x[1]: waves [N, T] -> [N, 1, T]."""
    return F.conv1d(F.pad(x.unsqueeze(1), (1, 0), "reflect"), flipped_filter)


def spec_augment(x, longest_time=LONGEST_TIME_MASK, longest_mel=LONGEST_MEL_MASK):
    """features [N, n_mels, T] -> the same with a run of frames and a run of bands of every row set to 0, lengths uniform from 0.

    The draws are the CPU generator's whatever the device, so that a seed means the same everywhere.
    """
    for axis, longest in ((2, longest_time), (1, longest_mel)):
        size = x.shape[axis]
        length = torch.randint(longest + 1, (len(x), 1))                         # [N, 1]
        start = torch.randint(max(1, size - int(length.max())), (len(x), 1))
        place = torch.arange(size)
        mask = (place >= start) & (place < start + length)                       # [N, size]
        x = x.masked_fill(mask.to(x.device).unsqueeze(3 - axis), 0.0)
    return x
