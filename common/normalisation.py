"""Normalisation of spectral coefficients over time, of features that are read and of those that a network makes."""


def normalise(x, normalization):
    """Spectral coefficients [..., T, n_mels], over time in each band: "cmn" (mean 0), "cmvn" (deviation 1 too) or "none"."""
    if normalization == "none":
        return x
    x = x - x.mean(-2, keepdim=True)
    if normalization == "cmvn":
        deviation = x.std(-2, correction=0, keepdim=True)
        # a silent band stays 0
        x = x / deviation.masked_fill(deviation <= 0.01, 1.0)
    return x
