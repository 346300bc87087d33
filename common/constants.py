"""The audio that the program works on, and the frames that front ends cut it into."""

# Hz
SAMPLE_RATE = 16_000
# samples from one frame to the next, 10 ms
HOP = 160
# samples of a frame, 25 ms
WINDOW = 400
# size of the Fourier transform of a frame
N_FFT = 512
# samples beyond frames * HOP that complete the last window
CROP_MARGIN = WINDOW - HOP
