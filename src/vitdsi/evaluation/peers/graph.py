"""The graph of nearest neighbours, on which diffusion spreads the similarities of a query."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vitdsi.evaluation.peers.base import Floats, best

__all__ = ["affinity", "neighbours_for"]

_CHUNK = 1024


def neighbours_for(count: int, share: float) -> int:
    """Return how many neighbours an image has in the graph of `count` images: `share` times the root of the count."""
    return min(count - 1, max(3, round(share * math.sqrt(count))))


def affinity(vectors: Floats, neighbours: int, power: float) -> Any:
    """Return the affinities of unit vectors (N, D) as a symmetric sparse matrix (N, N) with an empty diagonal.

    The affinity of two images is max(cos, 0)^power where one is among the nearest neighbours of the other, and 0
    elsewhere (Iscen et al., CVPR 2017, who use power 3 and mutual neighbours; in small collections mutual neighbours
    leave many images alone).
    """
    from scipy.sparse import csr_array

    count = len(vectors)
    if count == 1:
        return csr_array((1, 1), dtype=np.float32)
    columns, values = [], []
    for start in range(0, count, _CHUNK):
        cosines = vectors[start : start + _CHUNK] @ vectors.T
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -np.inf
        ids, nearest = best(cosines, neighbours)
        columns.append(ids)
        values.append(np.maximum(nearest, 0) ** power)
    rows = np.repeat(np.arange(count), neighbours)
    entries = (np.concatenate(values).ravel(), (rows, np.concatenate(columns).ravel()))
    graph = csr_array(entries, shape=(count, count))
    return graph.maximum(graph.T).tocsr()
