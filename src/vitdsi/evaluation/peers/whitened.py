"""The space of whitened features, whose covariance is shrunk where images are few."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vitdsi.evaluation.peers.base import Floats, Given
from vitdsi.evaluation.peers.spaces import normalised

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Whitened"]


class Whitened:
    """PCA whitening of unit vectors, and unit length again (Jegou and Chum, ECCV 2012).

    Whitening divides by the deviation along each principal axis, which is unknown along most axes if there are fewer
    images than features. The covariance is therefore shrunk towards a multiple of the identity by the share that
    minimises the expected error (Ledoit and Wolf 2004), and no axis is left out.
    """

    name = "whitened"
    needs_labels = False

    def fit(self, given: Given) -> Self:
        from sklearn.covariance import ledoit_wolf

        unit = normalised(given.indexed).astype(np.float64)
        self._mean = unit.mean(0)
        covariance = np.eye(unit.shape[1])  # of a single image nothing is known
        if given.count > 1:
            covariance, _ = ledoit_wolf(unit - self._mean, assume_centered=True)
        variances, axes = np.linalg.eigh(covariance)
        self._projection = axes / np.sqrt(np.maximum(variances, 1e-12))
        return self

    def embed(self, vectors: Floats) -> Floats:
        return normalised(((normalised(vectors) - self._mean) @ self._projection).astype(np.float32))
