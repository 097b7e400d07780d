"""Exact nearest neighbours by cosine, and the graph that they form."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["affinity", "nearest"]


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

    W connects each vector with its k nearest others; a pair weighs max(cosine, 0) ** power, half of that if only one of
    the two is a neighbour of the other. D holds the sums of the rows of W (Zhou et al., "Learning with local and global
    consistency", 2004; Iscen et al., "Efficient diffusion on region manifolds", 2017).

    Args:
        vectors: (N, D) float vectors.
        k: neighbours of each vector, fewer than N.
        power: the power of the cosines.
    """
    from scipy.sparse import coo_array

    count = len(vectors)
    ids, cosines = nearest(vectors, vectors, k + 1)
    rows = np.repeat(np.arange(count), ids.shape[1])
    columns = ids.numpy().ravel()
    weights = cosines.clamp(min=0).double().pow(power).numpy().ravel()
    others = rows != columns
    weight = coo_array((weights[others], (rows[others], columns[others])), shape=(count, count)).tocsr()
    weight = (weight + weight.T) / 2
    scale = 1 / np.sqrt(np.maximum(weight.sum(axis=1), 1e-12))
    return weight.multiply(scale[:, None]).multiply(scale[None, :]).tocsr()
