"""Evaluation: metrics with their chance levels, and peers to compare an index with."""
