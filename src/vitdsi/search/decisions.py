"""Decisions about near-identical images: pairs that somebody wants to keep both are not reported again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import numpy.typing as npt

from vitdsi.errors import UsageError
from vitdsi.state import IndexState

__all__ = ["decide_again", "keep_both", "undecided", "with_decisions"]


def keep_both(state: IndexState, ids: Sequence[int]) -> IndexState:
    """Decide to keep all of these images: no two of them are reported as near-identical again.

    A decision is about the content of two files. So it holds when they are renamed, when other images come or go, and
    when they are removed and added again; it does not hold for a file with other content under the same name.

    Raises:
        UsageError: fewer than two images.
    """
    return with_decisions(state, _decisions(state, ids))


def with_decisions(state: IndexState, decisions: Iterable[tuple[str, str]]) -> IndexState:
    """Add decisions, such as those of an index that this one replaces. They hold for the files that both have."""
    return replace(state, decisions=tuple(sorted({*state.decisions, *decisions})))


def decide_again(state: IndexState, ids: Sequence[int]) -> IndexState:
    """Forget the decisions about any two of these images.

    Raises:
        UsageError: fewer than two images.
    """
    forgotten = _decisions(state, ids)
    return replace(state, decisions=tuple(pair for pair in state.decisions if pair not in forgotten))


def undecided(state: IndexState, pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return which pairs of ids (P, 2) nobody has decided about, as booleans (P,)."""
    if not state.decisions:
        return np.ones(len(pairs), dtype=bool)
    decided = set(state.decisions)
    return np.array([_pair(state, i, j) not in decided for i, j in pairs.tolist()], dtype=bool)


def _decisions(state: IndexState, ids: Sequence[int]) -> set[tuple[str, str]]:
    if len(set(ids)) < 2:
        raise UsageError("a decision is about two images or more; give the image_ids of all of them")
    return {_pair(state, i, j) for i, j in combinations(ids, 2) if i != j}


def _pair(state: IndexState, first: int, second: int) -> tuple[str, str]:
    """Return what a decision about two images is stored as."""
    low, high = sorted((_content(state, first), _content(state, second)))
    return low, high


def _content(state: IndexState, number: int) -> str:
    """Return the content hash of an image, or its image_id if it was not a file."""
    return state.hashes[number] or f"image_id {state.image_ids[number]}"
