"""The audio that the program works on, and the frames that front ends cut it into."""

# Samples per second.
SAMPLE_RATE = 16_000
# Samples from the start of one frame to the start of the next: 10 ms.
HOP = 160
# Samples of a frame: 25 ms.
WINDOW = 400
# Size of the Fourier transform of a frame.
N_FFT = 512
# Extensions of compressed audio that ffmpeg converts.
COMPRESSED_SUFFIXES = (
    ".m4a", ".m4b", ".mp4", ".aac", ".mp3", ".opus", ".wma",
    ".amr", ".ac3", ".3gp", ".mov", ".mkv", ".mka", ".webm",
)  # fmt: skip
# Root mean square in dB relative to full scale below which a file is silent. Speech has -45 to
# -15 dB.
SILENT = -70.0
# Seconds of speech that a decision about its speaker needs.
SHORTEST_SPEECH = 0.5
# Samples beyond frames * HOP that complete the last window of a crop.
CROP_MARGIN = WINDOW - HOP
