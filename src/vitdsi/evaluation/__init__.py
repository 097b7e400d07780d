"""Evaluation: metrics, and the chance level of each."""
