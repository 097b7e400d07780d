"""Nearest neighbours by cosine, exact or in a large collection approximate, and the graph that they form."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Neighbours", "affinity", "affinity_with", "nearest", "neighbour_weights", "normalised"]

_SMALLEST_DEGREE = 1e-12
_CHUNK = 1024  # queries that are compared at a time
_MOST_COMPARISONS = 50_000**2  # for exact neighbours
_LISTS_PER_ROOT = 4  # inverted lists of an approximate search, times the square root of the number of vectors
_SAMPLED_PER_LIST = 64  # vectors that the lists are learned from
_PROBED = 32  # lists that a search looks through
_MEASURED = 200  # queries that the recall is measured with


def nearest(queries: Tensor, features: Tensor, k: int, *, chunk: int = _CHUNK) -> tuple[Tensor, Tensor]:
    """Find the k nearest rows of `features` (N, F) by cosine for each query (Q, F).

    Returns:
        Row numbers (Q, k') and cosines (Q, k'), nearest first, with k' = min(k, N).
    """
    return _nearest(queries, F.normalize(features.float(), dim=-1), k, chunk)


def _nearest(queries: Tensor, unit: Tensor, k: int, chunk: int) -> tuple[Tensor, Tensor]:
    """The same for unit vectors (N, F)."""
    k = min(k, len(unit))
    ids = torch.empty(len(queries), k, dtype=torch.long)
    cosines = torch.empty(len(queries), k)
    for start in range(0, len(queries), chunk):
        similarity = F.normalize(queries[start : start + chunk].float(), dim=-1) @ unit.T
        top = similarity.topk(k, dim=1)
        ids[start : start + chunk], cosines[start : start + chunk] = top.indices, top.values
    return ids, cosines


class Neighbours:
    """The vectors of a collection, among which the nearest ones to queries are found by cosine.

    As long as a few billion comparisons suffice, all vectors are compared with all queries. Otherwise a search looks
    through the nearest of about 4 sqrt(N) inverted lists (IVF in FAISS; Johnson et al., "Billion-scale similarity
    search with GPUs", 2017), and `recall` says how much of the exact answer it finds.

    Args:
        vectors: (N, D) vectors of any floating-point type and length.
        queries: how many queries are expected.
        seed: the seed of the lists.

    Attributes:
        exact: whether all vectors are compared.
    """

    def __init__(self, vectors: Tensor, queries: int, seed: int = 0) -> None:
        self.exact = len(vectors) * queries <= _MOST_COMPARISONS
        self._vectors = F.normalize(vectors.float(), dim=-1)
        self._index: Any = None if self.exact else _inverted_lists(self._vectors, seed)

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Find the k nearest vectors for each query (Q, D), as `nearest` does.

        Where the lists hold fewer than k vectors, the nearest one is repeated.
        """
        if self._index is None:
            return _nearest(queries, self._vectors, k, _CHUNK)
        import faiss

        faiss.omp_set_num_threads(torch.get_num_threads())
        unit = F.normalize(queries.float(), dim=-1).numpy()
        cosines, rows = self._index.search(unit, min(k, len(self._vectors)))
        missing = rows < 0
        rows, cosines = np.where(missing, rows[:, :1], rows), np.where(missing, cosines[:, :1], cosines)
        return torch.from_numpy(rows), torch.from_numpy(cosines)

    def recall(self, k: int) -> float:
        """Measure which share of the k nearest vectors of 200 of the vectors a search finds: 1 if it is exact."""
        if self.exact:
            return 1.0
        generator = torch.Generator().manual_seed(0)
        some = self._vectors[torch.randperm(len(self._vectors), generator=generator)[:_MEASURED]]
        found, (exact, _) = self.search(some, k)[0], _nearest(some, self._vectors, k, _MEASURED)
        common = [len(set(a) & set(b)) for a, b in zip(found.tolist(), exact.tolist(), strict=True)]
        return sum(common) / exact.numel()


def _inverted_lists(unit: Tensor, seed: int) -> Any:
    """Return a FAISS index of unit vectors (N, D)."""
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    width, count = unit.shape[1], round(_LISTS_PER_ROOT * len(unit) ** 0.5)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, count, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed, index.cp.max_points_per_centroid = seed % 2**31, _SAMPLED_PER_LIST
    index.nprobe = min(_PROBED, count)
    rows = np.random.default_rng(seed).permutation(len(unit))[: count * _SAMPLED_PER_LIST]
    index.train(unit[torch.from_numpy(np.sort(rows))].numpy())
    index.add(unit.numpy())
    return index


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


def normalised(weight: Any, own: float = 0.0) -> Any:
    """Return D^-1/2 W D^-1/2 for the weights W of a graph, where D holds the sums of its rows plus `own`.

    With `own` above zero, what is connected weakly with all others takes over little from them.
    """
    scale = 1 / np.sqrt(np.maximum(weight.sum(axis=1) + own, _SMALLEST_DEGREE))
    return weight.multiply(scale[:, None]).multiply(scale[None, :]).tocsr()


def affinity_with(
    new: Tensor, vectors: Tensor, weight: Any, k: int, power: float, own: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Return how each new vector would be connected with a neighbour graph, if it alone were one more vector of it.

    Args:
        new: (n, D) new vectors.
        vectors: (N, D) the vectors of the graph.
        weight: (N, N) what `neighbour_weights` returns for them.
        k, power: those of the graph.
        own: as for `normalised`.

    Returns:
        The k nearest vectors of the graph (n, k), and the normalised affinity with each of them (n, k).
    """
    ids, cosines = nearest(new, vectors, k)
    weights = cosines.clamp(min=0).double().pow(power) / 2
    degrees = torch.from_numpy(weight.sum(axis=1) + own).clamp(min=_SMALLEST_DEGREE)
    own_degrees = (weights.sum(1, keepdim=True) + own).clamp(min=_SMALLEST_DEGREE)
    return ids, (weights / (own_degrees * degrees[ids]).sqrt()).float()
