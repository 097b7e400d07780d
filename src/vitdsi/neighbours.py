"""Exact nearest neighbours by cosine, and the graph that they form."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["affinity", "affinity_with", "nearest", "neighbour_weights", "normalised"]

_SMALLEST_DEGREE = 1e-12


def nearest(queries: Tensor, features: Tensor, k: int, *, chunk: int = 1024) -> tuple[Tensor, Tensor]:
    """Find the k nearest rows of `features` (N, F) by cosine for each query (Q, F).

    Returns:
        Row numbers (Q, k') and cosines (Q, k'), nearest first, with k' = min(k, N).
    """
    database = F.normalize(features.float(), dim=-1)
    k = min(k, len(features))
    ids, cosines = [], []
    for start in range(0, len(queries), chunk):
        similarity = F.normalize(queries[start : start + chunk].float(), dim=-1) @ database.T
        top = similarity.topk(k, dim=1)
        ids.append(top.indices)
        cosines.append(top.values)
    return torch.cat(ids), torch.cat(cosines)


def affinity(vectors: Tensor, k: int, power: float) -> Any:
    """Return the normalised affinity of a neighbour graph, D^-1/2 W D^-1/2, a sparse symmetric (N, N) array of SciPy.

    W is that of `neighbour_weights`, and D holds the sums of its rows (Zhou et al., "Learning with local and global
    consistency", 2004; Iscen et al., "Efficient diffusion on region manifolds", 2017).

    Args:
        vectors: (N, D) float vectors.
        k: neighbours of each vector, fewer than N.
        power: the power of the cosines.
    """
    return normalised(neighbour_weights(vectors, k, power))


def neighbour_weights(vectors: Tensor, k: int, power: float) -> Any:
    """Return the weights of a neighbour graph, a sparse symmetric (N, N) array of SciPy.

    Each vector is connected with its k nearest others; a pair weighs max(cosine, 0) ** power, half of that if only one
    of the two is a neighbour of the other. The arguments are those of `affinity`.
    """
    from scipy.sparse import coo_array

    count = len(vectors)
    ids, cosines = nearest(vectors, vectors, k + 1)
    rows = np.repeat(np.arange(count), ids.shape[1])
    columns = ids.numpy().ravel()
    weights = cosines.clamp(min=0).double().pow(power).numpy().ravel()
    others = rows != columns
    weight = coo_array((weights[others], (rows[others], columns[others])), shape=(count, count)).tocsr()
    return (weight + weight.T) / 2


def normalised(weight: Any) -> Any:
    """Return D^-1/2 W D^-1/2 for the weights W of a graph, where D holds the sums of its rows."""
    scale = 1 / np.sqrt(np.maximum(weight.sum(axis=1), _SMALLEST_DEGREE))
    return weight.multiply(scale[:, None]).multiply(scale[None, :]).tocsr()


def affinity_with(new: Tensor, vectors: Tensor, weight: Any, k: int, power: float) -> tuple[Tensor, Tensor]:
    """Return how each new vector would be connected with a neighbour graph, if it alone were one more vector of it.

    Args:
        new: (n, D) new vectors.
        vectors: (N, D) the vectors of the graph.
        weight: (N, N) what `neighbour_weights` returns for them.
        k, power: those of the graph.

    Returns:
        The k nearest vectors of the graph (n, k), and the normalised affinity with each of them (n, k).
    """
    ids, cosines = nearest(new, vectors, k)
    weights = cosines.clamp(min=0).double().pow(power) / 2
    degrees = torch.from_numpy(weight.sum(axis=1)).clamp(min=_SMALLEST_DEGREE)
    own = weights.sum(1, keepdim=True).clamp(min=_SMALLEST_DEGREE)
    return ids, (weights / (own * degrees[ids]).sqrt()).float()
