"""Names of the vocoders. This module imports nothing, so that a help text can show them."""

# Names of the vocoders: the name of the attack in protocols, and a description.
VOCODERS = {
    "world": ("W01", "WORLD analysis and synthesis"),
    "world_coded": ("W02", "WORLD every 10 ms with 24 mel-cepstral coefficients"),
    "world_drawn": ("W03", "WORLD every 2.5 to 20 ms; pitch and breath are disturbed"),
    "world_voice": ("W04", "WORLD with another pitch and other formants"),
    "world_convert": ("W05", "WORLD with the pitch of another speaker, formants moved with it"),
    "griffin_lim": ("G01", "Griffin-Lim from the magnitude spectrogram"),
    "griffin_lim_mel": ("G02", "Griffin-Lim from 80 mel bands"),
    "griffin_lim_drawn": ("G03", "Griffin-Lim, 1 to 16 iterations, frames of 16 to 64 ms"),
    "phase": ("P01", "other phases, with the mel powers of the original"),
    "formants": ("F01", "formants moved, with pitch and phases of the original"),
    "voice_griffin_lim": ("M01", "world_voice, then griffin_lim_drawn"),
    "segments": ("M02", "every second part of 0.2 to 0.8 s copied, by Griffin-Lim or phase"),
    "vocos": ("N01", "neural vocoder Vocos, with the package vocos"),
    "hifigan": ("N02", "neural vocoder HiFi-GAN, with the package speechbrain"),
}
# The vocoders of a command without --vocoders. A new vocoder is not added here, because then a
# command of last year would make other data.
DEFAULT_VOCODERS = ("world", "world_coded", "griffin_lim", "griffin_lim_mel")
