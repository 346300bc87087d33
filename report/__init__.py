"""What is made of results for readers: plots. Needs nothing of the rest of the program."""
