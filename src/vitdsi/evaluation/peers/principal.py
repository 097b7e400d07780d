"""The space of the first principal axes: unit vectors without what all images of the collection have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vitdsi.evaluation.peers.base import Floats, Given
from vitdsi.evaluation.peers.spaces import normalised

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Principal"]

_WIDTH = 128
_LEAST = 1e-4  # singular value of an axis along which the images differ


class Principal:
    """PCA (Jegou and Chum, ECCV 2012): unit vectors minus their mean, on at most 128 axes, and unit length again."""

    name = "PCA"
    needs_labels = False

    def fit(self, given: Given) -> Self:
        unit = normalised(given.indexed)
        self._mean = unit.mean(0)
        _, sizes, axes = np.linalg.svd(unit - self._mean, full_matrices=False)
        self._axes = axes[sizes > _LEAST][:_WIDTH].T
        return self

    def embed(self, vectors: Floats) -> Floats:
        return normalised((normalised(vectors) - self._mean) @ self._axes)
