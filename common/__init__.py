"""What every package uses: errors, atomic writing, constants of the audio, kinds of trials, text of many lines."""
