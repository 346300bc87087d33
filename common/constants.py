"""The audio that the program works on, and the frames that front ends cut it into."""

SAMPLE_RATE = 16_000  # Hz
HOP = 160  # samples from one frame to the next, 10 ms
WINDOW = 400  # samples of a frame, 25 ms
N_FFT = 512  # size of the Fourier transform of a frame
CROP_MARGIN = WINDOW - HOP  # samples beyond frames * HOP that complete the last window
