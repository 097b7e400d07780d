"""Removing images from an index: an edit of the trie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vitdsi.state import IndexState


def remove(state: IndexState, ids: Sequence[int]) -> IndexState:
    """The index without `ids`, which must be live. Nothing is trained, so no other result changes but by
    renormalisation."""
    return replace(
        state,
        trie=state.trie.without(ids),
        metadata=state.metadata.removing(ids),
        changes=state.changed("remove", len(ids)),
    )
