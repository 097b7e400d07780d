"""Category embeddings: what kind of thing a photo shows, learned in closed form from neighbours or from classes.

Two photos can be alike in two ways: they show the same picture, or they show the same kind of thing. No single
embedding ranks by both, so the model keeps one of each. This module learns the second: a vector for each indexed image,
and a linear map that takes the features of any photo to these vectors.

Without classes, the vectors of images are diffused over the graph of their neighbours (Iscen et al., "Efficient
diffusion on region manifolds", 2017): with the features X on their first principal axes, which are whitened a little,
and the normalised affinity S,

    Y = (I - c S)^-1 X,

centred and scaled to unit length. A ridge regression from X to Y distils into the map what the diffusion knows, so that
a search needs neither the graph nor the vectors of other images. With classes, Y is a code of the class of each image.

In large collections the graph is that of a random sample. The vector of any other image is what the same equation gives
it, as one more node that is connected with its nearest images of the sample:

    y = x + c sum_j s_j Y_j.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vitdsi.model.axes import BLOCK, mean_of, principal_axes, sampled
from vitdsi.neighbours import affinity_with, neighbour_weights, normalised

# Constants of the closed form. EXPERIMENTS.md has the evidence: none of them is sensitive.
_NEIGHBOURS = 10  # of each image in the graph, at most one in eight of all images
_LARGEST_NEIGHBOUR_SHARE = 8
_POWER = 3.0  # of the cosines in the graph
_DIFFUSION = 0.95  # c
_DISTILLED = 0.5  # share of the distilled map in the embedding of a photo; the rest is its own principal axes
_WHITENING = 0.25  # 0 leaves the variances of the principal axes as they are, 1 makes them equal.
_RIDGE, _RIDGE_OF_CLASSES = 0.3, 1.0  # added to the diagonal of the Gram matrix of unit vectors
_CODE_SEED = 0


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
    neighbours = min(_NEIGHBOURS, len(vectors) // _LARGEST_NEIGHBOUR_SHARE)
    if not neighbours:
        return Categories(mean, axes, vectors)
    weights = neighbour_weights(vectors, neighbours, _POWER)
    diffused = _diffused(vectors, normalised(weights))
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
            ids, affinities = affinity_with(some, vectors, weights, neighbours, _POWER)
            some = some + _DIFFUSION * (affinities[..., None] * diffused[ids]).sum(1)
            rows[block] = F.normalize(F.normalize(some, dim=1) - centre, dim=1)
        rows[sample] = of_sample
    return Categories(mean, to_rows.T @ axes, rows)


def categories_from_classes(features: Tensor, classes: Sequence[str], count: int, dim: int) -> Categories:
    """Learn category embeddings of `dim` numbers from photos with classes, of which the first `count` are indexed.

    The code of a class is an axis of its own; more than `dim` classes share random directions. The map is a ridge
    regression from the features (Q, F) of all photos to the centred codes of their classes: a linear classifier by
    least squares.
    """
    names = sorted(set(classes))
    number = {name: i for i, name in enumerate(names)}
    numbers = torch.tensor([number[name] for name in classes])
    if len(names) <= dim:
        codes = torch.eye(len(names), dim)
    else:
        generator = torch.Generator().manual_seed(_CODE_SEED)
        codes = F.normalize(torch.randn(len(names), dim, generator=generator), dim=1)
    codes = codes - codes[numbers].mean(0)
    mean = mean_of(features)
    gram, products = torch.zeros(len(mean), len(mean)), torch.zeros(len(mean), dim)
    for some, their_codes in zip(
        torch.split(features, BLOCK), torch.split(codes[numbers], BLOCK), strict=True
    ):
        vectors = F.normalize(some.float() - mean, dim=1)
        gram += vectors.T @ vectors
        products += vectors.T @ their_codes
    weight = _solved(gram, products, _RIDGE_OF_CLASSES)
    return Categories(mean, weight.T.contiguous(), F.normalize(codes[numbers[:count]], dim=1))


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
    gram = gram.double()
    gram.diagonal().add_(strength)
    weights: Tensor = torch.linalg.solve(gram, products.double()).float()
    return weights
