"""Spaces: maps from the features of a backbone to the unit vectors that a peer compares by cosine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from vitdsi.evaluation.peers.base import Floats, Given

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Raw", "Space", "Standardised", "normalised"]


class Space(Protocol):
    """A map from features to unit vectors, fitted on a collection.

    Attributes:
        name: the first part of the names of the peers that compare in this space.
        needs_labels: whether it learns from classes.
    """

    name: str
    needs_labels: bool

    def fit(self, given: Given) -> Self:
        """Learn the map."""
        ...

    def embed(self, vectors: Floats) -> Floats:
        """Map features (n, F) to vectors (n, D) of length 1, or 0 for features that say nothing."""
        ...


class Raw:
    """The features as they are, scaled to unit length."""

    name = "raw"
    needs_labels = False

    def fit(self, given: Given) -> Self:
        return self

    def embed(self, vectors: Floats) -> Floats:
        return normalised(vectors)


class Standardised:
    """The features minus their means over the training photos, over their deviations, scaled to unit length."""

    name = "standardised"
    needs_labels = False

    def fit(self, given: Given) -> Self:
        self._mean = given.vectors.mean(0)
        deviation = given.vectors.std(0)
        # A feature that hardly varies would be all noise.
        self._deviation = deviation + 0.01 * deviation.mean() + np.float32(1e-12)
        return self

    def embed(self, vectors: Floats) -> Floats:
        return normalised((vectors - self._mean) / self._deviation)


def normalised(vectors: Floats) -> Floats:
    """Scale the rows of (n, D) to unit length; rows of zeros stay zeros."""
    # Scale first, because the squares of very large or small numbers overflow or underflow in float32.
    peak = np.abs(vectors).max(axis=1, keepdims=True, initial=0)
    scaled = vectors / np.where(peak > 0, peak, 1)
    length = np.linalg.norm(scaled, axis=1, keepdims=True)
    result: Floats = (scaled / np.where(length > 0, length, 1)).astype(np.float32)
    return result
