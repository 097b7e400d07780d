"""Category embeddings: what kind of thing a photo shows, learned in closed form from neighbours or from classes.

Two photos can be alike in two ways: they show the same picture, or they show the same kind of thing. No single
embedding ranks by both, so the model keeps one of each. This module learns the second: a vector for each indexed image,
and a linear map that takes the features of any photo to these vectors.

Without classes, the vectors of images are diffused over the graph of their neighbours (Iscen et al., "Efficient
diffusion on region manifolds", 2017): with the features X on their first principal axes, which are whitened a little,
and the normalised affinity S,

    Y = (I - c S)^-1 X,

centred and scaled to unit length. A ridge regression from X to Y distils into the map what the diffusion knows, so that
a search needs neither the graph nor the vectors of other images. In the sums that normalise S, each image has a small
weight itself, so that one that is like no other keeps its own vector. With classes, the map joins a linear discriminant
analysis and a ridge regression to codes of the classes, and the vector of an image is that of its class.

In large collections the graph is that of a random sample. The vector of any other image is what the same equation gives
it, as one more node that is connected with its nearest images of the sample:

    y = x + c sum_j s_j Y_j.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vitdsi.model.axes import BLOCK, mean_of, principal_axes, sampled
from vitdsi.neighbours import affinity_with, neighbour_weights, normalised

# Constants of the closed form. EXPERIMENTS.md has the evidence: none of them is sensitive.
_NEIGHBOURS = 10  # of each image in the graph, at most
_NEIGHBOURS_PER_ROOT = 0.5  # of the square root of the number of images, at most
_FEWEST_NEIGHBOURS = 3  # even if that is less, where there are enough images
_LARGEST_NEIGHBOUR_SHARE = 8  # at most one in eight of all images is a neighbour
_POWER = 3.0  # of the cosines in the graph
_DIFFUSION = 0.95  # c
_DISTILLED = 0.5  # share of the distilled map in the embedding of a photo; the rest is its own principal axes
_WHITENING = 0.25  # 0 leaves the variances of the principal axes as they are, 1 makes them equal.
_RIDGE, _RIDGE_OF_CLASSES = 0.3, 1.0  # added to the diagonal of the Gram matrix of unit vectors
_OWN_WEIGHT = 0.003  # of an image in the sum of the weights of its neighbours
_SHRINKING = 0.25  # power of the share by which Ledoit and Wolf shrink a covariance; 1 is theirs
_LEAST_WITHIN = 1e-3  # share of the variance of all photos that is added to that within classes


@dataclass(frozen=True)
class Categories:
    """A linear map to category embeddings, and the vectors of the indexed images.

    The embedding of features x is W (x - mean), scaled to unit length.

    Attributes:
        mean: (F,) mean of the features.
        weight: (C, F), W.
        rows: (N, C) unit vectors of the indexed images.
    """

    mean: Tensor
    weight: Tensor
    rows: Tensor


def categories_from_neighbours(features: Tensor, dim: int) -> Categories:
    """Learn category embeddings of `dim` numbers from the features (N, F) of the indexed images, without classes.

    The features may be of any floating-point type, and mapped from a file: they are read in blocks.
    """
    sample = sampled(features)
    known = features[sample].float()
    mean = known.mean(0)
    variances, axes = principal_axes(known - mean, dim)
    scale = torch.where(variances > 0, variances.clamp(min=1e-12).pow(-_WHITENING / 2), 0.0)
    axes = axes * (scale / scale.max().clamp(min=1e-12))[:, None]
    vectors = F.normalize((known - mean) @ axes.T, dim=1)
    neighbours = _neighbours(len(vectors))
    if not neighbours:
        return Categories(mean, axes, vectors)
    weights = neighbour_weights(vectors, neighbours, _POWER)
    diffused = _diffused(vectors, normalised(weights, _OWN_WEIGHT))
    unit = F.normalize(diffused, dim=1)
    centre = unit.mean(0)
    rows = F.normalize(unit - centre, dim=1)
    fitted = _ridge(vectors, rows, _RIDGE)
    length = (vectors @ fitted).norm(dim=1).mean().clamp(min=1e-6)
    to_rows = _DISTILLED * fitted / length + (1 - _DISTILLED) * torch.eye(dim)
    if len(sample) < len(features):
        of_sample, rows = rows, torch.empty(len(features), dim)
        for block in torch.split(torch.arange(len(features)), BLOCK):
            some = F.normalize((features[block].float() - mean) @ axes.T, dim=1)
            ids, affinities = affinity_with(some, vectors, weights, neighbours, _POWER, _OWN_WEIGHT)
            some = some + _DIFFUSION * (affinities[..., None] * diffused[ids]).sum(1)
            rows[block] = F.normalize(F.normalize(some, dim=1) - centre, dim=1)
        rows[sample] = of_sample
    return Categories(mean, to_rows.T @ axes, rows)


def categories_from_classes(features: Tensor, classes: Sequence[str], count: int, dim: int) -> Categories:
    """Learn category embeddings of `dim` numbers from photos with classes, of which the first `count` are indexed.

    Two linear maps of the features (Q, F) of all photos, centred and scaled to unit length, compare a photo with the
    classes: a linear discriminant analysis (Fisher 1936), where the vector of a class is its mean, and a ridge
    regression to codes of the classes. The embedding holds both, so that its cosine is the mean of theirs, on the `dim`
    axes along which the vectors of classes vary most: up to `dim` classes lose nothing.
    """
    names = sorted(set(classes))
    number = {name: i for i, name in enumerate(names)}
    numbers = torch.tensor([number[name] for name in classes])
    mean = mean_of(features)
    sums = torch.zeros(len(names), len(mean), dtype=torch.float64)
    scatter = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    for vectors, their_numbers in _unit_vectors(features, mean, numbers):
        sums.index_add_(0, their_numbers, vectors.double())
        scatter += (vectors.T @ vectors).double()
    sizes = torch.bincount(numbers)[:, None]
    means = sums / sizes
    fourth_powers = sum(
        float((vectors - means[their_numbers]).square().sum(1).square().sum())
        for vectors, their_numbers in _unit_vectors(features, mean, numbers)
    )
    discriminant = _discriminant(means, sizes, scatter, fourth_powers / len(numbers), dim)
    codes = _codes(sizes, dim)
    regression = _solved(scatter, sums.T @ codes, _RIDGE_OF_CLASSES).double().T
    weights, rows = [], []
    for weight, of_classes in ((discriminant, means @ discriminant.T), (regression, codes)):
        squares = ((weight @ scatter) * weight).sum()  # of the lengths of all photos
        length = (squares / len(numbers)).sqrt()
        weights.append(weight / length.clamp(min=1e-12))
        rows.append(F.normalize(of_classes, dim=1))
    joined = torch.cat(rows, dim=1)
    values, axes = torch.linalg.eigh(joined.T @ (joined * sizes))
    notable = (axes.flip(1)[:, :dim] * (values.flip(0)[:dim] > 1e-9 * values[-1])).T
    found = F.normalize((joined @ notable.T).float(), dim=1)
    return Categories(mean, (notable @ torch.cat(weights)).float(), found[numbers[:count]])


def _discriminant(means: Tensor, sizes: Tensor, scatter: Tensor, fourth_power: float, dim: int) -> Tensor:
    """Return a linear discriminant analysis: `dim` axes (dim, F), scaled by what varies within classes.

    Args:
        means: (K, F) the mean of the unit vectors of each class.
        sizes: (K, 1) how many there are.
        scatter: (F, F) the sum of the outer products of all n of them.
        fourth_power: the mean of the fourth powers of their distances from the means of their classes.
    """
    photos = int(sizes.sum())
    within = (scatter - means.T @ (means * sizes)) / photos
    share = _ledoit_wolf(within, fourth_power, photos) ** _SHRINKING
    added = share * within.diagonal().mean() + _LEAST_WITHIN * scatter.diagonal().mean() / photos
    within *= 1 - share
    within.diagonal().add_(added + 1e-12)
    lower = torch.linalg.cholesky(within)
    apart = (means - (means * sizes).sum(0) / photos) * (sizes / photos).sqrt()
    whitened = torch.linalg.solve_triangular(lower, apart.T, upper=False)
    values, axes = torch.linalg.eigh(whitened @ whitened.T)
    notable = axes.flip(1)[:, :dim] * (values.flip(0)[:dim] > 1e-9 * values[-1])
    axes_of_features: Tensor = torch.linalg.solve_triangular(lower.T, notable, upper=True)
    return axes_of_features.T


def _codes(sizes: Tensor, dim: int) -> Tensor:
    """Return centred codes (K, dim) of classes of `sizes` (K, 1): an axis for each, or random directions if K > dim."""
    if len(sizes) <= dim:
        codes = torch.eye(len(sizes), dim, dtype=torch.float64)
    else:
        generator = torch.Generator().manual_seed(0)
        codes = F.normalize(torch.randn(len(sizes), dim, generator=generator).double(), dim=1)
    return codes - (codes * sizes).sum(0) / sizes.sum()


def _unit_vectors(features: Tensor, mean: Tensor, numbers: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield features (Q, F) in blocks, centred and scaled to unit length, with the numbers (Q,) of their classes."""
    for some, their_numbers in zip(torch.split(features, BLOCK), torch.split(numbers, BLOCK), strict=True):
        yield F.normalize(some.float() - mean, dim=1), their_numbers


def _ledoit_wolf(covariance: Tensor, fourth_power: float, count: int) -> float:
    """Return the share of a multiple of the identity with which a covariance (F, F) of `count` vectors errs least.

    Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices" (2004).

    Args:
        fourth_power: the mean of the fourth powers of the lengths of the vectors.
    """
    width = len(covariance)
    squares = float(covariance.square().sum())
    spread = (squares - float(covariance.trace()) ** 2 / width) / width
    error = (fourth_power - squares) / (width * count)
    return min(max(error, 0.0) / spread, 1.0) if spread > 0 else 1.0


def _neighbours(count: int) -> int:
    """Return how many neighbours each of `count` images has in the graph."""
    wanted = max(_FEWEST_NEIGHBOURS, round(_NEIGHBOURS_PER_ROOT * math.sqrt(count)))
    return min(wanted, _NEIGHBOURS, count // _LARGEST_NEIGHBOUR_SHARE)


def _diffused(vectors: Tensor, graph: Any) -> Tensor:
    """Return (I - c S)^-1 X for vectors X (N, D) and the affinity S, column by column with conjugate gradients."""
    from scipy.sparse import eye_array
    from scipy.sparse.linalg import cg

    system = eye_array(len(vectors)) - _DIFFUSION * graph
    columns = [cg(system, column, rtol=1e-4)[0] for column in vectors.T.double().numpy()]
    return torch.from_numpy(np.stack(columns, axis=1)).float()


def _ridge(vectors: Tensor, targets: Tensor, strength: float) -> Tensor:
    """Return the matrix (D, T) of the ridge regression from vectors (N, D) to targets (N, T)."""
    return _solved(vectors.T @ vectors, vectors.T @ targets, strength)


def _solved(gram: Tensor, products: Tensor, strength: float) -> Tensor:
    """Return (G + strength I)^-1 P for the Gram matrix G (D, D) and the products P (D, T) of vectors and targets."""
    gram = gram.double().clone()
    gram.diagonal().add_(strength)
    weights: Tensor = torch.linalg.solve(gram, products.double()).float()
    return weights
