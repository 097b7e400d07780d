"""The protocol of a peer: fit on a collection, then search it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from vitdsi.evaluation.metrics import Ids

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Ids", "Retriever", "Scores", "pad"]

Scores = npt.NDArray[np.float32]
Batch = TypeVar("Batch", contravariant=True)


class Retriever(Protocol[Batch]):
    """A retrieval method. `Batch` is the type of a batch of items: a sequence of images, or vectors (N, D)."""

    def fit(self, items: Batch, /) -> Self:
        """Index a collection. The id of an item is its position in the batch."""
        ...

    def search(self, queries: Batch, k: int, /) -> tuple[Ids, Scores]:
        """Return ids (Q, k) and scores (Q, k), best first, padded with -1 and -inf after the last item."""
        ...


def pad(ids: npt.NDArray[Any], scores: npt.NDArray[Any], k: int) -> tuple[Ids, Scores]:
    """Pad ids and scores (Q, K <= k) to (Q, k) with -1 and -inf."""
    missing = ((0, 0), (0, k - ids.shape[1]))
    return (
        np.pad(ids.astype(np.int64), missing, constant_values=-1),
        np.pad(scores.astype(np.float32), missing, constant_values=-np.inf),
    )
