"""Speech taken apart and put together again: what spoofed copies are made with."""
import numpy as np
import scipy.fft
import scipy.signal

from corpus.synthesis import FFT, SHIFT, frames_of, overlap_add
from models._frontend import SAMPLE_RATE


def vocode(x, pitch, order=18):
    """Attack A01: a monotone vocoder. Envelopes by linear prediction from x [T], driven by pulses of constant pitch (Hz) -> [T]."""
    x = x[:len(x) // SHIFT * SHIFT]
    power = np.abs(frames_of(x)) ** 2
    r = scipy.fft.irfft(power, FFT)[:, :order + 1].astype(float)              # [n, order + 1] autocorrelation
    r[:, 0] = r[:, 0] * 1.0001 + 1e-9
    a, error = np.ones((len(r), 1)), r[:, 0]
    for i in range(1, order + 1):                                             # Levinson-Durbin, all frames at once
        k = -np.sum(a * r[:, i:0:-1], 1) / error
        a = np.pad(a, [(0, 0), (0, 1)])
        a = a + k[:, None] * a[:, ::-1]
        error = error * (1 - k**2)
    pulses = np.diff(np.floor(np.arange(len(x) + 1) * (pitch / SAMPLE_RATE)))
    excitation = frames_of(pulses)
    excitation[:, :2] = 0                                                     # no sound below 45 Hz
    energy = np.maximum(np.mean(np.abs(excitation) ** 2, 1), 1e-6)
    return overlap_add(excitation * np.sqrt(error / energy)[:, None] / scipy.fft.rfft(a, FFT))


def griffin_lim(rng, x, iterations=8):
    """Attack A02: x [T] rebuilt from its magnitude spectrogram alone, from random phases (Griffin & Lim 1984) -> [T]."""
    window = {"nperseg": FFT, "noverlap": FFT - SHIFT}
    magnitude = np.abs(scipy.signal.stft(x, **window)[2])
    phase = np.exp(2j * np.pi * rng.random(magnitude.shape))
    for _ in range(iterations):
        spectrum = scipy.signal.stft(scipy.signal.istft(magnitude * phase, **window)[1], **window)[2][:, :magnitude.shape[1]]
        phase = spectrum / np.maximum(np.abs(spectrum), 1e-12)
    return scipy.signal.istft(magnitude * phase, **window)[1][:len(x)]
