"""Names of the vocoders. This module imports nothing, so that a help text can show them."""

# Names of the vocoders: the name of the attack in protocols, and a description.
VOCODERS = {
    "world": ("W01", "WORLD analysis and synthesis"),
    "world_coded": ("W02", "WORLD every 10 ms with 24 mel-cepstral coefficients"),
    "griffin_lim": ("G01", "Griffin-Lim from the magnitude spectrogram"),
    "griffin_lim_mel": ("G02", "Griffin-Lim from 80 mel bands"),
}
