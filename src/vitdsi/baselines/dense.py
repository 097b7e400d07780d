"""Nearest neighbours by cosine over one vector an image, exact or approximate, with FAISS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from vitdsi.baselines.base import Ids, Scores, pad
from vitdsi.errors import UsageError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["DenseIndex"]


class DenseIndex:
    """Cosine search over vectors (N, D): L2-normalised, by inner product.

    Johnson, Douze and Jegou, "Billion-scale similarity search with GPUs", 2017 (FAISS); the graph of kind hnsw
    is Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using hierarchical
    navigable small world graphs", 2016. A vector of zeros has the score 0 with everything.

    Args:
        kind: flat is exact; hnsw is approximate.
        neighbours: hnsw only: links of a node (M).
        ef_construction: hnsw only: candidates when a node is added.
        ef_search: hnsw only: candidates of a search; at least k are used.
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
            raise UsageError(f"kind={kind!r}: choose flat or hnsw")
        for name, value, least in (
            ("neighbours", neighbours, 2),
            ("ef_construction", ef_construction, 1),
            ("ef_search", ef_search, 1),
        ):
            if value < least:
                raise UsageError(f"{name}={value}: must be at least {least}")
        self.kind = kind
        self.neighbours = neighbours
        self.ef_construction = ef_construction
        self.ef_search = ef_search
        self._index: Any = None

    def fit(self, images: npt.NDArray[Any], /) -> Self:
        """Index vectors (N, D), N >= 1; the id of a vector is its row. Raises UsageError for other shapes."""
        import faiss
        from threadpoolctl import threadpool_limits

        vectors = _normalised(images, "vectors")
        if not vectors.size:
            raise UsageError(f"vectors of shape {vectors.shape}: give at least one, of at least one number")
        dim = vectors.shape[1]
        # one thread: a graph built by several is another one each time, and FAISS's threads disturb torch's
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
        """Ids (Q, k) and cosines (Q, k) of query vectors (Q, D), best first; after the last -1 and -inf.

        Raises:
            UsageError: before fit, k below 1, or queries of another D.
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
                f"queries of shape {vectors.shape}: the index has vectors of {self._index.d} numbers"
            )
        found = min(k, int(self._index.ntotal))
        parameters: Any = None
        if self.kind == "hnsw":
            module: Any = faiss  # its type information lacks this class
            parameters = module.SearchParametersHNSW(efSearch=max(self.ef_search, found))
        with threadpool_limits(limits=1):
            scores, ids = self._index.search(vectors, found, params=parameters)
        # FAISS marks what a graph search could not reach with the lowest finite number
        return pad(ids, np.where(ids < 0, -np.inf, scores), k)


def _normalised(given: npt.NDArray[Any], name: str) -> npt.NDArray[np.float32]:
    vectors = np.array(given, dtype=np.float32, order="C")
    if vectors.ndim != 2:
        raise UsageError(f"{name} of shape {vectors.shape}: must be (N, D)")
    if not np.isfinite(vectors).all():
        raise UsageError(f"{name} have infinite or missing numbers; leave those rows out")
    # scaled first: the squares of very large or small numbers do not fit in float32
    peak = np.abs(vectors).max(axis=1, keepdims=True, initial=0)
    vectors /= np.where(peak > 0, peak, 1)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.where(length > 0, length, 1)
    return vectors
