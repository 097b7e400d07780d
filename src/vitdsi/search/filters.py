"""Filters: the trie of the ids that a condition or a list allows."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from vitdsi.errors import UsageError
from vitdsi.ids.trie import NONE, Trie
from vitdsi.search.options import SearchOptions
from vitdsi.state import IndexState

_MAX_KEPT = 32


class Filters:
    """The restricted tries of one index state, each built at its first use. Instances may be shared by threads."""

    def __init__(self, state: IndexState) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._tries: dict[tuple[str | None, frozenset[str | int] | None], Trie] = {}

    def trie_for(self, options: SearchOptions) -> Trie | None:
        """Return the trie of the ids that `options.where` and `options.allow` both allow, or None without a filter.

        Raises:
            UsageError: the condition is not valid, or an image is not in the index.
        """
        allow = None if options.allow is None else frozenset(options.allow)
        key = (options.where, allow)
        if key == (None, None):
            return None
        with self._lock:
            trie = self._tries.get(key)
        if trie is not None:
            return trie
        trie = self._state.trie.restrict(passing_ids(self._state, options.where, allow))
        with self._lock:
            trie = self._tries.setdefault(key, trie)  # another thread may have built it in the meantime
            while len(self._tries) > _MAX_KEPT:
                del self._tries[next(iter(self._tries))]
        return trie


def passing_ids(
    state: IndexState, where: str | None = None, allow: Iterable[str | int] | None = None
) -> npt.NDArray[np.int64]:
    """Return the sorted live ids that a condition and a list both allow; None allows all.

    Raises:
        UsageError: the condition is not valid, or an image is not in the index.
    """
    live = state.trie.live.numpy()
    ids: npt.NDArray[np.int64] = np.flatnonzero(live)
    if where is not None:
        found = state.metadata.ids_where(where)
        found = found[
            (found >= 0) & (found < len(live))
        ]  # a stranger's file may know of ids that do not exist
        ids = found[live[found]]
    if allow is not None:
        ids = np.intersect1d(ids, resolve_ids(state, allow))
    return ids


def resolve_ids(state: IndexState, images: Iterable[str | int]) -> list[int]:
    """Return the live ids of images that are given as image_ids or as ids, also as decimal text.

    Each id is returned once, in the given order. Raises UsageError for an image that is not in the index.
    """
    images = list(images)
    names = [image for image in images if isinstance(image, str)]
    id_of = dict(zip(names, state.live_ids_of(names), strict=True))
    live, found = state.trie.live, dict[int, None]()
    for image in images:
        number = id_of[image] if isinstance(image, str) else image
        if number == NONE and isinstance(image, str) and image.isdecimal():
            number = int(image)
        if not (0 <= number < len(live) and live[number]):
            raise UsageError(
                f"{image!r} is not in the index, which has {state.trie.live_count} images; give image_ids or ids of"
                " these"
            )
        found[number] = None
    return list(found)
