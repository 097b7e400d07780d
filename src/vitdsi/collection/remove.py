"""Removing images from an index: a mask over the ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vitdsi.state import IndexState


def remove(state: IndexState, ids: Sequence[int]) -> IndexState:
    """Remove live ids. Nothing is trained, and the probabilities of all other images stay exactly as they are."""
    return replace(
        state,
        trie=state.trie.without(ids),
        metadata=state.metadata.removing(ids),
        changes=state.changed("remove", len(ids)),
    )
