"""The base of all peers: what is given to `fit`, what `search` returns, and the checks of both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from vitdsi.errors import UsageError
from vitdsi.evaluation.metrics import Ids

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Floats", "Given", "Ids", "Peer", "Retriever", "Scores", "best", "pad"]

Floats = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float32]
Batch = TypeVar("Batch", contravariant=True)

_CHUNK = 256  # queries that are scored together


class Retriever(Protocol[Batch]):
    """A retrieval method. `Batch` is the type of a batch of items: a sequence of images, or vectors (N, F)."""

    def fit(self, items: Batch, /) -> Self:
        """Index a collection. The id of an item is its position in the batch."""
        ...

    def search(self, queries: Batch, k: int, /) -> tuple[Ids, Scores]:
        """Return ids (Q, k) and scores (Q, k), best first, padded with -1 and -inf after the last item."""
        ...


@dataclass(frozen=True)
class Given:
    """What a peer is fitted on.

    Attributes:
        vectors: (T, F) features: those of the N indexed images, then those of further photos that only train.
        count: N.
        classes: (T,) the number of the class of each photo, from 0 to the number of classes - 1, or None without
            labels.
    """

    vectors: Floats
    count: int
    classes: npt.NDArray[np.int64] | None = None

    @property
    def indexed(self) -> Floats:
        """(N, F) features of the indexed images."""
        return self.vectors[: self.count]

    @property
    def known_classes(self) -> npt.NDArray[np.int64]:
        """(T,) the classes, where labels are known to be given."""
        assert self.classes is not None
        return self.classes


class Peer(ABC):
    """A search method that an index is compared with: it gets the same features of the same frozen backbone.

    Attributes:
        name: the name in tables, which is also the name in `PEERS`.
        needs_labels: whether it learns from classes.
        bytes_per_image: bytes that a fitted peer keeps for each image. Parameters that all images share, such as a
            projection or a codebook, are not counted.
    """

    name: str
    needs_labels: bool = False
    bytes_per_image: float
    _count = 0
    _width = 0

    def fit(
        self,
        vectors: npt.NDArray[Any],
        labels: Sequence[str] | None = None,
        more: npt.NDArray[Any] | None = None,
        more_labels: Sequence[str] | None = None,
    ) -> Self:
        """Index a collection. Peers that need no labels ignore all but `vectors`.

        Args:
            vectors: (N, F) features, N >= 1. The id of an image is its row.
            labels: the class of each image.
            more: (M, F) features of further photos that train the method and are not indexed.
            more_labels: their classes.

        Raises:
            UsageError: shapes or lengths do not fit, values are not finite, or labels are needed and missing.
        """
        rows = _checked(vectors, "vectors")
        if not rows.size:
            raise UsageError(f"vectors of shape {rows.shape}: must be (N, F) with N and F at least 1")
        given = Given(rows, len(rows))
        if self.needs_labels:
            given = _labelled(self.name, rows, labels, more, more_labels)
        self._fit(given)
        self._count, self._width = rows.shape
        return self

    def search(self, queries: npt.NDArray[Any], k: int) -> tuple[Ids, Scores]:
        """Find the k best images for query features (Q, F).

        Returns:
            Ids (Q, k) and scores (Q, k), best first, padded with -1 and -inf after the last image.

        Raises:
            UsageError: nothing was fitted, k is below 1, or the queries have another F or values that are not finite.
        """
        if not self._count:
            raise UsageError("search before fit: call fit(vectors) first")
        if k < 1:
            raise UsageError(f"k={k}: must be at least 1")
        rows = _checked(queries, "queries")
        if rows.shape[1] != self._width:
            raise UsageError(
                f"queries of shape {rows.shape}: must be (Q, {self._width}), as the indexed vectors"
            )
        ids, scores = np.empty((len(rows), k), dtype=np.int64), np.empty((len(rows), k), dtype=np.float32)
        for start in range(0, len(rows), _CHUNK):
            part = slice(start, start + _CHUNK)
            ids[part], scores[part] = pad(*self._search(rows[part], min(k, self._count)), k)
        return ids, scores

    @abstractmethod
    def _fit(self, given: Given) -> None:
        """Fit on checked features, with classes if `needs_labels`; set `bytes_per_image`."""

    def _search(self, queries: Floats, k: int) -> tuple[Ids, Scores]:
        """Return ids and scores (Q, k) for checked queries, k <= N: the k highest of `_scores`."""
        return best(self._scores(queries), k)

    def _scores(self, queries: Floats) -> Scores:
        """Return the score (Q, N) of each image. A peer whose `_search` does not score all images leaves it out."""
        raise NotImplementedError


def best(scores: Scores, k: int) -> tuple[Ids, Scores]:
    """Return the ids (Q, k) and scores of the k highest of scores (Q, N), best first; the lower of two equal ids."""
    if k < scores.shape[1] // 4:  # sorting all would take longer
        candidates = np.sort(np.argpartition(-scores, k - 1, axis=1)[:, :k], axis=1)
    else:
        candidates = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    found = np.take_along_axis(scores, candidates, axis=1)
    order = np.argsort(-found, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(candidates, order, axis=1), np.take_along_axis(found, order, axis=1)


def pad(ids: npt.NDArray[Any], scores: npt.NDArray[Any], k: int) -> tuple[Ids, Scores]:
    """Pad ids and scores (Q, K <= k) to (Q, k) with -1 and -inf."""
    missing = ((0, 0), (0, k - ids.shape[1]))
    return (
        np.pad(ids.astype(np.int64), missing, constant_values=-1),
        np.pad(scores.astype(np.float32), missing, constant_values=-np.inf),
    )


def _checked(given: npt.NDArray[Any], name: str) -> Floats:
    rows = np.array(given, dtype=np.float32, order="C")
    if rows.ndim != 2:
        raise UsageError(f"{name} of shape {rows.shape}: must be two-dimensional, a row for each image")
    if not np.isfinite(rows).all():
        raise UsageError(f"{name} have values that are NaN or infinite; leave those rows out")
    return rows


def _labelled(
    name: str,
    rows: Floats,
    labels: Sequence[str] | None,
    more: npt.NDArray[Any] | None,
    more_labels: Sequence[str] | None,
) -> Given:
    """Number the classes of the indexed images and of the further photos alike."""
    if labels is None:
        raise UsageError(f"{name} learns from classes; give the label of each image")
    if (more is None) != (more_labels is None):
        raise UsageError("more and more_labels go together; give both or neither")
    further = rows[:0] if more is None else _checked(more, "more")
    further_labels = [] if more_labels is None else list(more_labels)
    for what, vectors, given in (("labels", rows, labels), ("more_labels", further, further_labels)):
        if len(vectors) != len(given):
            raise UsageError(f"{len(given)} {what} for {len(vectors)} photos; give one label for each photo")
    if further.shape[1] != rows.shape[1]:
        raise UsageError(
            f"more of shape {further.shape}: must be (M, {rows.shape[1]}), as the indexed vectors"
        )
    names, classes = np.unique([*labels, *further_labels], return_inverse=True)
    if len(names) < 2:
        raise UsageError(
            f"{name} learns from classes, but all photos are {str(names[0])!r}; give two classes or more"
        )
    return Given(np.concatenate([rows, further]), len(rows), classes.astype(np.int64))
