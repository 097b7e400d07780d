"""The space of linear discriminant analysis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vitdsi.errors import UsageError
from vitdsi.evaluation.peers.base import Floats, Given
from vitdsi.evaluation.peers.spaces import normalised

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Discriminant"]


class Discriminant:
    """Linear discriminant analysis of unit vectors: the axes along which classes differ most, over what varies in them.

    The covariance within classes is pooled and shrunk (Ledoit and Wolf 2004), because single classes have too few
    photos to estimate one each. There is one axis fewer than classes, and the mean of all photos is the origin.
    """

    name = "LDA"
    needs_labels = True

    def fit(self, given: Given) -> Self:
        from scipy.linalg import eigh
        from sklearn.covariance import ledoit_wolf

        vectors, classes = normalised(given.vectors).astype(np.float64), given.known_classes
        members = np.bincount(classes)
        if members.max() < 2:
            raise UsageError("LDA needs a class of at least two photos; give more photos of each class")
        means = np.stack([vectors[classes == c].mean(0) for c in range(len(members))])
        within, _ = ledoit_wolf(vectors - means[classes], assume_centered=True)
        within += 1e-9 * np.eye(len(within))  # keeps the covariance of very few photos invertible
        self._origin = vectors.mean(0)
        apart = (means - self._origin) * np.sqrt(members / len(vectors))[:, None]
        _, axes = eigh(apart.T @ apart, within)
        self._axes = axes[:, ::-1][:, : len(members) - 1]
        return self

    def embed(self, vectors: Floats) -> Floats:
        return normalised(((normalised(vectors) - self._origin) @ self._axes).astype(np.float32))
