"""Metrics of scores, and the format of scores files. The package uses NumPy and SciPy, no torch."""
