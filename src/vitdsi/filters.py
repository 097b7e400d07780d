"""Filters: the trie of the ids that a condition, or a list, allows, built once for each filter."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from vitdsi.errors import UsageError
from vitdsi.storage import Stored
from vitdsi.trie import Trie

_KEPT = 32  # filters


class Filters:
    """The filters of one state of an index, made when first asked for."""

    def __init__(self) -> None:
        self._tries: dict[tuple[str | None, frozenset[str | int] | None], Trie] = {}

    def get(self, stored: Stored, where: str | None, allow: Iterable[str | int] | None) -> Trie | None:
        """The restricted trie; None where there is no filter. UsageError for what is not in the index."""
        if where is None and allow is None:
            return None
        key = (where, None if allow is None else frozenset(allow))
        if key not in self._tries:
            ids = stored.trie.live_ids().numpy()
            if where is not None:
                ids = np.intersect1d(ids, stored.metadata.ids_where(where))
            if key[1] is not None:
                ids = np.intersect1d(ids, find(stored, key[1]))
            while len(self._tries) >= _KEPT:
                del self._tries[next(iter(self._tries))]
            self._tries[key] = stored.trie.restrict(ids)
        return self._tries[key]


def find(stored: Stored, images: Iterable[str | int]) -> list[int]:
    """The live ids of image_ids or ids (also written as text), each once. UsageError for any that is not there."""
    live = stored.trie.live_ids().tolist()
    numbers = {stored.image_ids[i]: i for i in live}
    known = set(live)
    found: dict[int, None] = {}
    for image in images:
        number = numbers.get(image) if isinstance(image, str) else image
        if number is None and isinstance(image, str) and image.isdecimal():
            number = int(image)
        if number is None or number not in known:
            raise UsageError(
                f"{image!r} is not in the index, which holds {len(live)} images; give image_ids or ids that it has"
            )
        found[number] = None
    return list(found)
