"""Evaluation: metrics with their chance levels, and simple methods to compare an index with."""
