"""Principal axes of the features of a collection."""

from __future__ import annotations

import torch
from torch import Tensor

_SAMPLE = 20_000  # images that the principal axes are computed from, at most


def principal_axes(centred: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return the first principal axes of centred features (N, F).

    They are computed from at most 20,000 images, in double precision: in single precision `eigh` returned NaN for a few
    images with a duplicate among them.

    Returns:
        The variances (dim,) along the axes in descending order, and the axes (dim, F), orthonormal. Features with fewer
        than `dim` axes of notable variance, such as those of few images, have zeros in the last places of both.
    """
    generator = torch.Generator().manual_seed(0)
    sample = centred[torch.randperm(len(centred), generator=generator)[:_SAMPLE]]
    values, vectors = torch.linalg.eigh((sample.T @ sample / len(sample)).double())
    found = min(dim, centred.shape[1])
    values, vectors = values.flip(0)[:found].clamp(min=0).float(), vectors.flip(1)[:, :found].float()
    notable = values > values[0] * 1e-6
    variances, axes = torch.zeros(dim), torch.zeros(dim, centred.shape[1])
    variances[:found] = torch.where(notable, values, 0.0)
    axes[:found] = (vectors * notable).T
    return variances, axes
