"""Synthetic speech: a source-filter synthesiser, and vocoders that make spoofed copies."""
