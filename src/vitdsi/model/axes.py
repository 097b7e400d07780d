"""Statistics of the features of a collection, in blocks: means, a sample of the images, and principal axes."""

from __future__ import annotations

import torch
from torch import Tensor

SAMPLE = 20_000  # images that closed forms are computed from, at most
BLOCK = 4096  # images that are read together, to bound the memory


def principal_axes(centred: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return the first principal axes of centred features (N, F).

    They are computed from at most 20,000 images, in double precision: in single precision `eigh` returned NaN for a few
    images with a duplicate among them.

    Returns:
        The variances (dim,) along the axes in descending order, and the axes (dim, F), orthonormal. Features with fewer
        than `dim` axes of notable variance, such as those of few images, have zeros in the last places of both.
    """
    generator = torch.Generator().manual_seed(0)
    sample = centred[torch.randperm(len(centred), generator=generator)[:SAMPLE]]
    values, vectors = torch.linalg.eigh((sample.T @ sample / len(sample)).double())
    found = min(dim, centred.shape[1])
    values, vectors = values.flip(0)[:found].clamp(min=0).float(), vectors.flip(1)[:, :found].float()
    notable = values > values[0] * 1e-6
    variances, axes = torch.zeros(dim), torch.zeros(dim, centred.shape[1])
    variances[:found] = torch.where(notable, values, 0.0)
    axes[:found] = (vectors * notable).T
    return variances, axes


def sampled(features: Tensor, seed: int = 0) -> Tensor:
    """Return the sorted rows (n,) of at most 20,000 images of features (N, F): all, or a random sample of them."""
    if len(features) <= SAMPLE:
        return torch.arange(len(features))
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(len(features), generator=generator)[:SAMPLE].sort().values


def mean_of(features: Tensor) -> Tensor:
    """Return the mean (F,) of features (N, F) of any floating-point type, in single precision."""
    if len(features) <= BLOCK:
        return features.float().mean(0)
    sums = [block.float().sum(0).double() for block in torch.split(features, BLOCK)]
    return (torch.stack(sums).sum(0) / len(features)).float()
