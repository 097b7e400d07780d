"""What a baseline can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Ids", "Retriever", "Scores", "pad"]

Ids = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]
Items = TypeVar("Items", contravariant=True)


class Retriever(Protocol[Items]):
    """Fit on a collection, then search it. Items is what a batch is: a list of images, or vectors (N, D)."""

    def fit(self, images: Items, /) -> Self:
        """Index the collection; the id of an item is its position."""
        ...

    def search(self, queries: Items, k: int, /) -> tuple[Ids, Scores]:
        """Ids (Q, k) and scores (Q, k), best first; after the last item -1 and -inf."""
        ...


def pad(ids: npt.NDArray[Any], scores: npt.NDArray[Any], k: int) -> tuple[Ids, Scores]:
    """Lists (Q, K <= k) as (Q, k), with -1 and -inf at the end."""
    missing = ((0, 0), (0, k - ids.shape[1]))
    return (
        np.pad(ids.astype(np.int64), missing, constant_values=-1),
        np.pad(scores.astype(np.float32), missing, constant_values=-np.inf),
    )
