"""Query expansion: the query is searched again together with its best results."""

from __future__ import annotations

import math

import numpy as np

from vitdsi.evaluation.peers.base import Floats, Given, Ids, Peer, Scores, best
from vitdsi.evaluation.peers.spaces import Space, normalised

__all__ = ["QueryExpansion"]


class QueryExpansion(Peer):
    """Alpha query expansion (Radenovic et al., PAMI 2018): q + sum_i max(cos_i, 0)^alpha x_i over the first n results.

    The sum is scaled to unit length and searched by cosine. With alpha = 0 it is average query expansion (Chum et al.,
    ICCV 2007). n is `share` times the root of the number of images, at least 3, so that a small collection is not
    averaged as a whole.

    Args:
        space: the space in which images are compared.
        alpha: the power of the cosine. The paper uses 3.
        share: n over the root of the number of images.
        augment: replace each image by the expansion of itself first (database-side augmentation, Arandjelovic and
            Zisserman, CVPR 2012).
    """

    def __init__(
        self, space: Space, *, alpha: float = 3.0, share: float = 0.5, augment: bool = False
    ) -> None:
        self.space, self.alpha, self.share, self.augment = space, alpha, share, augment
        self.name = f"{space.name} + {'database and ' if augment else ''}query expansion"
        self.needs_labels = space.needs_labels

    def _fit(self, given: Given) -> None:
        vectors = self.space.fit(given).embed(given.indexed)
        self._results = min(given.count, max(3, round(self.share * math.sqrt(given.count))))
        if self.augment:
            # The first result of an image is the image itself, so the sum need not name it.
            ids, cosines = best(vectors @ vectors.T, self._results)
            vectors = normalised(self._sum(vectors, ids, cosines))
        self._vectors = vectors
        self.bytes_per_image = vectors.itemsize * vectors.shape[1]

    def _scores(self, queries: Floats) -> Scores:
        embedded = self.space.embed(queries)
        ids, cosines = best(embedded @ self._vectors.T, self._results)
        expanded = normalised(embedded + self._sum(self._vectors, ids, cosines))
        scores: Scores = expanded @ self._vectors.T
        return scores

    def _sum(self, vectors: Floats, ids: Ids, cosines: Scores) -> Floats:
        """Sum the vectors (N, D) of ids (Q, n), weighted by the power of their cosines (Q, n)."""
        weights = np.zeros((len(ids), len(vectors)), dtype=np.float32)
        np.put_along_axis(weights, ids, np.maximum(cosines, 0) ** self.alpha, axis=1)
        total: Floats = weights @ vectors
        return total
