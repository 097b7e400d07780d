"""Diffusion: an image is as similar to a query as its neighbours in the collection are."""

from __future__ import annotations

from typing import Any

import numpy as np

from vitdsi.evaluation.peers.base import Floats, Given, Peer, Scores
from vitdsi.evaluation.peers.graph import affinity, neighbours_for
from vitdsi.evaluation.peers.spaces import Space

__all__ = ["Diffusion", "DiffusionStep"]


class DiffusionStep(Peer):
    """One step of diffusion over the graph of nearest neighbours.

    The score of an image is the mean of the similarities of its neighbours to the query, weighted by affinity: s P^T,
    where s are the similarities max(cos, 0)^power of the query and P is the affinity with rows that sum to 1.

    Args:
        space: the space in which images are compared.
        power: the power of the cosine, in the graph and for the query.
        share: neighbours of an image over the root of the number of images.
    """

    def __init__(self, space: Space, *, power: float = 3.0, share: float = 1.0) -> None:
        self.space, self.power, self.share = space, power, share
        self.name = f"{space.name} + diffusion step"
        self.needs_labels = space.needs_labels

    def _fit(self, given: Given) -> None:
        from scipy.sparse import diags_array, eye_array

        self._vectors = self.space.fit(given).embed(given.indexed)
        graph = affinity(self._vectors, neighbours_for(given.count, self.share), self.power)
        total = graph.sum(axis=1)
        # An image that is like no other keeps its own similarity.
        alone = diags_array((total == 0).astype(np.float32)) @ eye_array(given.count, dtype=np.float32)
        self._step: Any = (diags_array(1 / np.where(total > 0, total, 1)) @ graph + alone).tocsr()
        self.bytes_per_image = self._vectors.itemsize * self._vectors.shape[1] + _bytes(self._step)

    def _scores(self, queries: Floats) -> Scores:
        similarities = np.maximum(self.space.embed(queries) @ self._vectors.T, 0) ** self.power
        scores: Scores = (self._step @ similarities.T).T
        return scores


class Diffusion(Peer):
    """Diffusion to convergence (Iscen et al., CVPR 2017): f = y (I - alpha S)^-1.

    y holds the similarities max(cos, 0)^power of the query to its nearest images and 0 elsewhere, and S is the affinity
    normalised by the roots of its row and column sums. The inverse is computed when the peer is fitted (Yang et al.,
    AAAI 2019). Images that no path reaches come last, by cosine.

    Args:
        space: the space in which images are compared.
        power: the power of the cosine, in the graph and for the query.
        share: neighbours of an image over the root of the number of images.
        alpha: how far similarities spread. The paper uses .99 for collections of 5,000 images and more; .8 was best for
            hundreds.
        starts: images that the similarity spreads from.
    """

    def __init__(
        self, space: Space, *, power: float = 3.0, share: float = 0.5, alpha: float = 0.8, starts: int = 10
    ) -> None:
        self.space, self.power, self.share, self.alpha, self.starts = space, power, share, alpha, starts
        self.name = f"{space.name} + diffusion"
        self.needs_labels = space.needs_labels

    def _fit(self, given: Given) -> None:
        from scipy.linalg import cho_solve, cholesky
        from scipy.sparse import diags_array

        self._vectors = self.space.fit(given).embed(given.indexed)
        graph = affinity(self._vectors, neighbours_for(given.count, self.share), self.power)
        total = graph.sum(axis=1)
        scale = diags_array(np.where(total > 0, 1 / np.sqrt(np.where(total > 0, total, 1)), 0))
        system = np.eye(given.count, dtype=np.float32)
        system -= self.alpha * (scale @ graph @ scale).toarray()
        factor = cholesky(system, lower=True, overwrite_a=True)
        inverse = cho_solve((factor, True), np.eye(given.count, dtype=np.float32))
        self._inverse: Floats = inverse.astype(np.float32)
        self.bytes_per_image = self._vectors.itemsize * (self._vectors.shape[1] + given.count)

    def _scores(self, queries: Floats) -> Scores:
        cosines = self.space.embed(queries) @ self._vectors.T
        similarities = np.maximum(cosines, 0) ** self.power
        starts = min(self.starts, cosines.shape[1])
        least = np.partition(similarities, -starts, axis=1)[:, -starts, None]
        spread = np.where(similarities >= least, similarities, 0) @ self._inverse
        unreached: Scores = np.minimum(cosines, 1) * 1e-6
        return np.where(spread > 1e-6, spread, unreached)


def _bytes(matrix: Any) -> float:
    """Bytes of the entries of a sparse matrix, a row."""
    total: float = (matrix.data.nbytes + matrix.indices.nbytes) / matrix.shape[0]
    return total
