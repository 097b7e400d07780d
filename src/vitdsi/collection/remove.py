"""Removing images from an index: an edit of the trie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vitdsi.state import IndexState


def remove(state: IndexState, ids: Sequence[int]) -> IndexState:
    """Remove live ids. Nothing is trained: the scores of other images change only by renormalisation."""
    return replace(
        state,
        trie=state.trie.without(ids),
        metadata=state.metadata.removing(ids),
        changes=state.changed("remove", len(ids)),
    )
