"""Scores and results: scores files, what is made of scores (norms, calibration, fusion), metrics, summaries, plots. Needs nothing of the rest of the
program but its errors and its way of writing files."""
