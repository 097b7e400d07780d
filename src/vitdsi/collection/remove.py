"""Removing images from an index: a mask over the ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vitdsi.search.calibrate import calibrate, needs_calibration
from vitdsi.state import IndexState


def remove(state: IndexState, ids: Sequence[int]) -> IndexState:
    """Remove live ids. Nothing is trained, and the log-probabilities of all other images stay as they are.

    What the index knows of removed images stays in its files until it is compacted.

    Scores are calibrated again if more than one in a hundred images came or went since they last were.
    """
    removed = replace(
        state,
        trie=state.trie.without(ids),
        changes=state.changed("remove", len(ids)),
    )
    return calibrate(removed) if needs_calibration(removed) else removed
