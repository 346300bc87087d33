"""What dataprep.py does: downloads, conversion, checks, lists, packs and synthetic speech."""
