"""Copies in the index: which of its images show the same picture as photos that are not in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rankings
from vitdsi.search.similarity import NEAR_IDENTICAL_SIMILARITY, Similarity
from vitdsi.search.turned import nearest_turned
from vitdsi.state import IndexState

__all__ = ["copies_in_index"]

_PROPOSALS = 10  # results of a search with each photo that are compared with it


def copies_in_index(
    state: IndexState,
    features: Tensor,
    thumbnails: Tensor,
    hashes: Sequence[str],
    threshold: float = NEAR_IDENTICAL_SIMILARITY,
) -> list[list[int]]:
    """Find the live ids whose images show the same pictures as photos outside the index.

    Args:
        state: the index.
        features: (n, *shape) stored features of the photos.
        thumbnails: (n, 32, 32) their thumbnails.
        hashes: their content hashes, "" for photos that are not files.
        threshold: the least similarity.

    Returns:
        The ids for each photo: those of files with the same bytes first, then others in their order.

    Raises:
        UsageError: the index keeps nothing that pictures can be compared by.
    """
    similarity = Similarity(state, beside=(features, thumbnails))
    live = state.trie.live_ids()
    if not len(live) or not len(features):
        return [[] for _ in range(len(features))]
    first = len(state.image_ids)
    same = state.hashes.find(hashes)
    found = torch.from_numpy(rankings(state, features, SearchOptions(k=min(_PROPOSALS, len(live)))))
    turned = nearest_turned(similarity.turn_free[first:], similarity.turn_free[live])
    proposed = torch.cat([found, live[turned]], dim=1)
    copies = []
    for row in range(len(hashes)):
        exact = [i for i in same[row] if state.trie.live[i]]
        ids = sorted({i for i in proposed[row].tolist() if i >= 0} - set(exact))
        pairs = np.array([(first + row, i) for i in ids], dtype=np.int64).reshape(-1, 2)
        copies.append(exact + pairs[similarity.at_least(pairs, threshold), 1].tolist())
    return copies
