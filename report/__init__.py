"""Results for readers: scores files as they are read back, summaries, DET plots. Needs nothing of the rest of the program."""
