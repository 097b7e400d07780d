"""Exact nearest neighbours by cosine, in any space."""

from __future__ import annotations

from vitdsi.evaluation.peers.base import Floats, Given, Peer, Scores
from vitdsi.evaluation.peers.spaces import Space

__all__ = ["Cosine"]


class Cosine(Peer):
    """Exact search by cosine. Features of zeros have cosine 0 with all others.

    Args:
        space: the space in which images are compared.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.name = f"{space.name} cosine"
        self.needs_labels = space.needs_labels

    def _fit(self, given: Given) -> None:
        self._vectors = self.space.fit(given).embed(given.indexed)
        self.bytes_per_image = self._vectors.itemsize * self._vectors.shape[1]

    def _scores(self, queries: Floats) -> Scores:
        scores: Scores = self.space.embed(queries) @ self._vectors.T
        return scores
