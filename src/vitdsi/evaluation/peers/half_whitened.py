"""The space of signed square roots on half-whitened principal axes, a strong projection without any training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vitdsi.evaluation.peers.base import Floats, Given
from vitdsi.evaluation.peers.spaces import normalised

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["HalfWhitened"]

_WIDTH = 512  # numbers of a vector, as many as an embedding of the product has by default


class HalfWhitened:
    """Signed square roots (Perronnin et al. 2010) on principal axes that are divided by the fourth root of their
    variances."""

    name = "half-whitened"
    needs_labels = False

    def fit(self, given: Given) -> Self:
        import torch

        from vitdsi.model.axes import principal_axes
        from vitdsi.model.pictures import signed_root

        roots = signed_root(torch.from_numpy(given.indexed).float())
        mean = roots.mean(0)
        variances, axes = principal_axes(roots - mean, min(_WIDTH, roots.shape[1]))
        scale = torch.where(variances > 0, variances.clamp(min=1e-12) ** -0.25, 0.0)
        self._mean = mean.numpy()
        self._projection = (axes * scale[:, None]).T.numpy()
        return self

    def embed(self, vectors: Floats) -> Floats:
        roots = np.sign(vectors) * np.sqrt(np.abs(vectors))
        return normalised((roots - self._mean) @ self._projection)
