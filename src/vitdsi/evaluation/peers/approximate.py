"""Approximate nearest neighbours and compressed vectors, with FAISS."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import numpy as np

from vitdsi.errors import UsageError
from vitdsi.evaluation.peers.base import Floats, Given, Ids, Peer, Scores
from vitdsi.evaluation.peers.spaces import normalised

__all__ = ["Approximate"]

_NAMES = {"flat16": "float16", "flat8": "int8", "hnsw": "HNSW", "ivf-pq": "IVF-PQ", "opq": "OPQ"}
_SUBVECTORS = 64  # of a product-quantised vector; with codes of 8 bits they take 64 bytes
_ROTATED = 256  # axes that OPQ keeps, at most
_ROTATIONS = 10  # iterations of OPQ; the 50 of FAISS take half a minute
_LINKS = 32  # of each node of the HNSW graph
_CANDIDATES = 128  # that a search in the HNSW graph keeps, at least
_MIN_FOR_CODEBOOKS = 64  # images


class Approximate(Peer):
    """An index of FAISS over the unit vectors of the features (Johnson et al. 2017), on one thread.

    Malkov and Yashunin 2016 (HNSW); Jegou et al. 2011 (IVF-PQ); Ge et al. 2013 (OPQ). Codebooks are learned from the
    indexed images. They have 256 entries, or fewer where images are few: the largest power of two that leaves two
    images for each entry. The inverted file has as many lists as the root of the number of images; an eighth of them,
    at least 8, are searched, and all where more than a tenth of the images are asked for.

    Args:
        kind: `flat16` and `flat8` (16 and 8 bits a number), `hnsw`, `ivf-pq`, or `opq`.

    Raises:
        UsageError: there is no such kind. In `fit`: there are too few images for codebooks.
    """

    def __init__(self, kind: str) -> None:
        if kind not in _NAMES:
            raise UsageError(f"kind={kind!r}: must be one of {', '.join(_NAMES)}")
        self.kind = kind
        self.name = _NAMES[kind]

    def _fit(self, given: Given) -> None:
        from threadpoolctl import threadpool_limits

        faiss: Any = import_module("faiss")

        vectors = normalised(given.indexed)
        index = self._empty(faiss, given.count, vectors.shape[1])
        # Several threads would build a different graph each time, and would compete with the threads of torch.
        with threadpool_limits(limits=1):
            index.train(vectors)
            shared = len(faiss.serialize_index(index))
            index.add(vectors)
        self.bytes_per_image = (len(faiss.serialize_index(index)) - shared) / given.count
        self._index: Any = index

    def _empty(self, faiss: Any, count: int, width: int) -> Any:
        """Make the index that `count` vectors of this width will be added to."""
        factories = {"flat16": "SQfp16", "flat8": "SQ8", "hnsw": f"HNSW{_LINKS},Flat"}
        if self.kind in factories:
            return faiss.index_factory(width, factories[self.kind], faiss.METRIC_INNER_PRODUCT)
        if count < _MIN_FOR_CODEBOOKS:
            raise UsageError(
                f"{self.name}: {count} images are too few for codebooks; index at least {_MIN_FOR_CODEBOOKS}, or "
                "choose another peer"
            )
        bits, parts = min(8, int(math.log2(count / 2))), math.gcd(_SUBVECTORS, width)
        # Training a rotation to more axes than there are images crashes FAISS.
        rotated = width if self.kind == "ivf-pq" else min(width, _ROTATED, count) // parts * parts
        lists = round(math.sqrt(count))
        coarse = faiss.IndexFlatIP(rotated)
        inverted = faiss.IndexIVFPQ(coarse, rotated, lists, parts, bits, faiss.METRIC_INNER_PRODUCT)
        # FAISS would print a warning for each codebook of fewer than 39 vectors an entry.
        inverted.cp.min_points_per_centroid = inverted.pq.cp.min_points_per_centroid = 1
        if self.kind == "ivf-pq":
            return inverted
        rotation = faiss.OPQMatrix(width, parts, rotated)
        self._quantizer: Any = faiss.ProductQuantizer(
            rotated, parts, bits
        )  # FAISS keeps only a pointer to it
        self._quantizer.cp.min_points_per_centroid = 1
        rotation.pq, rotation.niter = self._quantizer, _ROTATIONS
        return faiss.IndexPreTransform(rotation, inverted)

    def _search(self, queries: Floats, k: int) -> tuple[Ids, Scores]:
        from threadpoolctl import threadpool_limits

        faiss: Any = import_module("faiss")

        parameters: Any = None
        if self.kind == "hnsw":
            parameters = faiss.SearchParametersHNSW(efSearch=max(_CANDIDATES, k))
        elif self.kind in ("ivf-pq", "opq"):
            inverted = faiss.extract_index_ivf(self._index)
            share = 1 if k > self._index.ntotal // 10 else 8
            inverted.nprobe = min(inverted.nlist, max(8, inverted.nlist // share))
        with threadpool_limits(limits=1):
            scores, ids = self._index.search(normalised(queries), k, params=parameters)
        # Where too few vectors are found, FAISS returns id -1 with the lowest finite number as its score.
        return ids, np.where(ids < 0, -np.inf, scores).astype(np.float32)
