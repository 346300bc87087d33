"""Inference: evaluation, scoring, embedding, verification, averaging and export."""
