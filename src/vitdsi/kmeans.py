"""K-means clustering with a fixed seed, on one thread."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

_SAMPLED_PER_CLUSTER = 256  # vectors that the centres are computed from
_BLOCK = 16_384  # vectors that are compared with the centres at a time


def kmeans(vectors: npt.NDArray[Any], count: int, seed: int, max_iterations: int) -> tuple[Vectors, Labels]:
    """Cluster vectors by Lloyd's algorithm, from one k-means++ initialisation.

    The centres of more than 256 vectors for each cluster are those of a random sample of that size, and each vector
    then belongs to the nearest centre. The vectors may be mapped from a file; only the sample is copied.

    Args:
        vectors: (N, D), N >= 1, of any floating-point type.
        count: the number of clusters. Vectors with fewer distinct rows get one cluster for each of these.
        seed: the same non-negative seed gives the same clusters; it is taken modulo 2**32.
        max_iterations: the most iterations of Lloyd's algorithm.

    Returns:
        The cluster centres (K', D) with K' = min(count, distinct rows of the sample), and the cluster (N,) of each
        vector. A cluster may be empty where vectors differ only by rounding errors.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    sample = vectors
    if len(vectors) > _SAMPLED_PER_CLUSTER * count:
        rows = np.random.default_rng(seed).choice(len(vectors), _SAMPLED_PER_CLUSTER * count, replace=False)
        sample = vectors[np.sort(rows)]
    sample = np.asarray(sample, dtype=np.float32)
    clusters = KMeans(
        count_distinct(sample, count), n_init=1, max_iter=max_iterations, random_state=seed % 2**32
    )
    # Once started, scikit-learn's threads compete with those of torch and slow it down.
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Number of distinct clusters", ConvergenceWarning)
        clusters.fit(sample)
    centres = np.asarray(clusters.cluster_centers_, dtype=np.float32)
    if len(sample) == len(vectors):
        return centres, clusters.labels_.astype(np.int64)
    return centres, nearest_centres(vectors, centres)


def nearest_centres(vectors: npt.NDArray[Any], centres: Vectors) -> Labels:
    """Return the nearest of the centres (K, D) for each vector (N, D), by Euclidean distance."""
    halves = (centres**2).sum(1) / 2
    labels = np.empty(len(vectors), dtype=np.int64)
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK].astype(np.float32)
        labels[start : start + _BLOCK] = (block @ centres.T - halves).argmax(1)
    return labels


def count_distinct(rows: npt.NDArray[Any], limit: int) -> int:
    """Count the distinct rows of (N, D), up to `limit`.

    Rows are compared by their bytes, since sums over equal rows may differ in the last bit.
    """
    width = rows.dtype.itemsize * rows.shape[1]
    found = np.empty(0, dtype=f"V{width}")
    start, size = 0, 2 * limit  # most rows are distinct, so that the first block is usually enough
    while start < len(rows) and len(found) < limit:
        block = np.ascontiguousarray(rows[start : start + size]).view(found.dtype).ravel()
        found = np.unique(np.concatenate([found, block]))
        start, size = start + size, 2 * size
    return min(len(found), limit)
