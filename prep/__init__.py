"""The work of dataprep.py: downloads, conversion, checks, lists, packs and synthetic speech."""
