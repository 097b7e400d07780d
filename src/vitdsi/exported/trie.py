"""The trie of an exported index, in NumPy: the same tree as `vitdsi.ids.trie`, made from its table of children."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["NONE", "ExportedTrie"]

NONE = -1

Array = npt.NDArray[Any]


class ExportedTrie:
    """A prefix tree of ids.

    Args:
        child: (M, V) what each token leads to in each node: NONE, an inner node (>= 0), or -2 - id.
        live: (N,) bool, the ids that were not removed.

    Attributes:
        child, live: as given.
        parent: (M,) the parent of each node, NONE for the root and for nodes that nothing leads to.
        token: (M,) the token that leads to it.
        depth: (M,) how many tokens lead to it.
        inner: (M,) bool, whether it has inner children.
    """

    def __init__(self, child: Array, live: Array) -> None:
        self.child, self.live = child, live
        self.parent = np.full(len(child), NONE)
        self.token, self.depth = np.zeros_like(self.parent), np.zeros_like(self.parent)
        self.inner: npt.NDArray[np.bool_] = np.asarray((child >= 0).any(1))
        self._levels = [np.zeros(1, np.int64)]
        while True:
            level = self._levels[-1]
            at, tokens = np.nonzero(child[level] >= 0)
            below = child[level[at], tokens]
            if not len(below):
                break
            self.parent[below], self.token[below], self.depth[below] = level[at], tokens, len(self._levels)
            self._levels.append(below.astype(np.int64))

    def allowed(self, live: Array) -> npt.NDArray[np.bool_]:
        """Return the branches (M, V) below which at least one of the ids lies that are marked in `live` (N,)."""
        leaves = self.child < NONE
        allowed = leaves & live[np.where(leaves, -2 - self.child, 0)] if len(live) else leaves
        for level in reversed(self._levels[1:]):
            allowed[self.parent[level], self.token[level]] = allowed[level].any(1)
        return allowed

    def paths(self, ids: Array) -> list[list[tuple[int, int]]]:
        """Return the path of each id: the nodes in which its tokens are written, with these tokens."""
        nodes, tokens = self._last_edges
        paths = []
        for node, token in zip(nodes[ids].tolist(), tokens[ids].tolist(), strict=True):
            path = [(node, token)]
            while path[-1][0]:
                last = path[-1][0]
                path.append((int(self.parent[last]), int(self.token[last])))
            paths.append(path[::-1])
        return paths

    @cached_property
    def _last_edges(self) -> tuple[Array, Array]:
        """The node (N,) in which the last token of each id is written, and this token (N,)."""
        at, tokens = np.nonzero(self.child < NONE)
        ids = -2 - self.child[at, tokens]
        last = np.zeros((2, len(self.live)), np.int64)
        last[0, ids], last[1, ids] = at, tokens
        return last[0], last[1]
