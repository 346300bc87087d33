"""Numbers computed from scores, and the format of scores files. NumPy and SciPy, no torch."""
