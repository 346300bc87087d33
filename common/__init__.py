"""What every other package may import.

errors: the error of everything that a user can correct. writing: files that are complete or absent.
constants: sample rate and frames. trial_kinds: names of real and spoofed speech and of trials.
normalisation: features over time. text: files of millions of lines.
"""
