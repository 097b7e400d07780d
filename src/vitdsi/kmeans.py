"""K-means clustering with a fixed seed, on one thread."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]


def kmeans(
    vectors: npt.NDArray[Any], count: int, seed: int, max_iterations: int
) -> tuple[Vectors, npt.NDArray[np.int64]]:
    """Cluster vectors by Lloyd's algorithm, from one k-means++ initialisation.

    Args:
        vectors: (N, D), N >= 1.
        count: the number of clusters. Vectors with fewer distinct rows get one cluster for each of these.
        seed: the same non-negative seed gives the same clusters; it is taken modulo 2**32.
        max_iterations: the most iterations of Lloyd's algorithm.

    Returns:
        The cluster centres (K', D) with K' = min(count, distinct rows), and the cluster (N,) of each vector. A
        cluster may be empty where vectors differ only by rounding errors.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    clusters = KMeans(
        count_distinct(vectors, count), n_init=1, max_iter=max_iterations, random_state=seed % 2**32
    )
    # Once started, scikit-learn's threads compete with those of torch and slow it down.
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Number of distinct clusters", ConvergenceWarning)
        clusters.fit(vectors)
    return np.asarray(clusters.cluster_centers_, dtype=np.float32), clusters.labels_.astype(np.int64)


def count_distinct(rows: npt.NDArray[Any], limit: int) -> int:
    """Count the distinct rows of (N, D), up to `limit`.

    Rows are compared by their bytes, since sums over equal rows may differ in the last bit.
    """
    seen: set[bytes] = set()
    for row in rows:
        seen.add(row.tobytes())
        if len(seen) >= limit:
            break
    return len(seen)
