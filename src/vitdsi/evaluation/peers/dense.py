"""Exact or approximate nearest neighbours by cosine over one vector for each image, with FAISS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from vitdsi.errors import UsageError
from vitdsi.evaluation.peers.base import Ids, Scores, pad

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["DenseIndex"]


class DenseIndex:
    """Nearest neighbours by cosine similarity, a `Retriever` of vectors (N, D).

    The vectors are L2-normalised and compared by inner product. A vector of zeros has similarity 0 to every vector.

    FAISS is Johnson, Douze and Jegou, "Billion-scale similarity search with GPUs", 2017. HNSW is Malkov and Yashunin,
    "Efficient and robust approximate nearest neighbor search using hierarchical navigable small world graphs", 2016.

    Args:
        kind: "flat" for exact search, "hnsw" for approximate search.
        neighbours: links of each node of the graph (M), for hnsw.
        ef_construction: candidates considered when a node is added, for hnsw.
        ef_search: candidates considered in a search, for hnsw; at least k are used.

    Raises:
        UsageError: if a value is not allowed.
    """

    def __init__(
        self,
        kind: Literal["flat", "hnsw"] = "flat",
        *,
        neighbours: int = 32,
        ef_construction: int = 200,
        ef_search: int = 128,
    ) -> None:
        if kind not in ("flat", "hnsw"):
            raise UsageError(f"kind={kind!r}: must be flat or hnsw")
        for name, value, minimum in (
            ("neighbours", neighbours, 2),
            ("ef_construction", ef_construction, 1),
            ("ef_search", ef_search, 1),
        ):
            if value < minimum:
                raise UsageError(f"{name}={value}: must be at least {minimum}")
        self.kind = kind
        self.neighbours = neighbours
        self.ef_construction = ef_construction
        self.ef_search = ef_search
        self._index: Any = None

    def fit(self, items: npt.NDArray[Any], /) -> Self:
        """Index vectors (N, D), N >= 1. The id of a vector is its row.

        Raises:
            UsageError: if the vectors have another shape, or values that are not finite.
        """
        import faiss
        from threadpoolctl import threadpool_limits

        vectors = _normalised(items, "vectors")
        if not vectors.size:
            raise UsageError(f"vectors of shape {vectors.shape}: must be (N, D) with N and D at least 1")
        dim = vectors.shape[1]
        # Several threads would build a different graph each time, and would compete with the threads of torch.
        with threadpool_limits(limits=1):
            if self.kind == "flat":
                index: Any = faiss.IndexFlatIP(dim)
            else:
                index = faiss.IndexHNSWFlat(dim, self.neighbours, faiss.METRIC_INNER_PRODUCT)
                index.hnsw.efConstruction = self.ef_construction
            index.add(vectors)
        self._index = index
        return self

    def search(self, queries: npt.NDArray[Any], k: int, /) -> tuple[Ids, Scores]:
        """Search with query vectors (Q, D).

        Returns:
            Ids (Q, k) and cosines (Q, k), best first, padded with -1 and -inf after the last vector.

        Raises:
            UsageError: if nothing was fitted, k is below 1, or the queries have another D or values that are not
                finite.
        """
        import faiss
        from threadpoolctl import threadpool_limits

        if self._index is None:
            raise UsageError("search before fit: call fit(vectors) first")
        if k < 1:
            raise UsageError(f"k={k}: must be at least 1")
        vectors = _normalised(queries, "queries")
        if vectors.shape[1] != self._index.d:
            raise UsageError(
                f"queries of shape {vectors.shape}: must be (Q, {self._index.d}), as the indexed vectors"
            )
        results = min(k, int(self._index.ntotal))
        parameters: Any = None
        if self.kind == "hnsw":
            module: Any = faiss  # its type stubs lack SearchParametersHNSW
            parameters = module.SearchParametersHNSW(efSearch=max(self.ef_search, results))
        with threadpool_limits(limits=1):
            scores, ids = self._index.search(vectors, results, params=parameters)
        # Where a graph search finds too few vectors, FAISS returns id -1 with the lowest finite number as its score.
        return pad(ids, np.where(ids < 0, -np.inf, scores), k)


def _normalised(given: npt.NDArray[Any], name: str) -> npt.NDArray[np.float32]:
    """Return a copy with rows of unit length; rows of zeros stay zeros."""
    vectors = np.array(given, dtype=np.float32, order="C")
    if vectors.ndim != 2:
        raise UsageError(f"{name} of shape {vectors.shape}: must be (N, D)")
    if not np.isfinite(vectors).all():
        raise UsageError(f"{name} have values that are NaN or infinite; leave those rows out")
    # Scale first, because the squares of very large or small numbers overflow or underflow in float32.
    peak = np.abs(vectors).max(axis=1, keepdims=True, initial=0)
    vectors /= np.where(peak > 0, peak, 1)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.where(length > 0, length, 1)
    return vectors
