"""The prefix tree of the ids, stored in tensors: which tokens the decoder may write next.

Only inner nodes have a row, so a trie of N ids has about N / base rows. `child[node, token]` is NONE, the number of
an inner node (>= 0), or a leaf stored as `-2 - id`. Node numbers never change during the lifetime of an index,
because they address the weights of the trie head.

`child` holds every id that the weights know, including ids that were removed: probabilities are normalised over it, and
so do not change when an id is removed or a filter is set. Which ids exist and which of them a search may return are
masks over the same tensors.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vitdsi.errors import UsageError
from vitdsi.ids.codes import Codes, Vocabulary

NONE = -1

Ids = Iterable[int] | npt.NDArray[np.int64] | Tensor


def leaf(ids: Tensor) -> Tensor:
    """Convert ids to the values that `child` has for them, and back: the function is its own inverse."""
    return -2 - ids


class Trie:
    """A prefix tree of ids, built from their codes (N, L).

    Args:
        codes: (N, L) tokens of each id, PAD after its end. Rows of ids without a code are all PAD.
        base: the digits are 0 .. base - 1.
        live: (N,) bool, which ids exist; None for all that have a code.

    Raises UsageError for codes that are not prefix-free.

    Attributes:
        vocabulary: the tokens; V = `vocabulary.outputs` of them can be written.
        child: (M, V) int64, what each token leads to in each node; see the module docstring. Node 0 is the root.
        nodes: (N, L) int64; nodes[i, t] is the node in which id i writes its t-th token, NONE after its end.
        codes: (N, L) int64, the tokens of each id.
        live: (N,) bool, the ids that exist and are not ruled out by a restriction. An id that was removed keeps its
            code until an added image takes its place.
        allowed: (M, V) bool, the branches below which at least one live id lies.
    """

    def __init__(self, codes: Codes, base: int, live: Tensor | None = None) -> None:
        self.vocabulary = Vocabulary(base)
        self.codes = torch.full((0, 1), self.vocabulary.pad)
        self.nodes = torch.full((0, 1), NONE)
        self.child = torch.full((1, self.vocabulary.outputs), NONE)
        if len(codes):
            self._build(codes)
        self._set_live(torch.ones(len(codes), dtype=torch.bool) if live is None else live)

    def _build(self, codes: Codes) -> None:
        pad, count, length = self.vocabulary.pad, len(codes), codes.shape[1]
        nodes = np.full((count, length), NONE, dtype=np.int64)
        child = [np.full((1, self.vocabulary.outputs), NONE, dtype=np.int64)]
        current = np.zeros(count, dtype=np.int64)
        alive = codes[:, 0] != pad
        total = 1
        for t in range(length):
            nodes[alive, t] = current[alive]
            ends = alive & ((codes[:, t + 1] == pad) if t + 1 < length else np.ones(count, dtype=bool))
            goes_on = alive & ~ends
            edge = current * self.vocabulary.outputs + codes[:, t]
            inner, number = np.unique(edge[goes_on], return_inverse=True)
            leaves, first = np.unique(edge[ends], return_index=True)
            if len(leaves) < ends.sum() or np.isin(leaves, inner).any():
                raise UsageError(
                    "the codes are not prefix-free: two ids share a code, or one code is the beginning of another"
                )
            table = np.concatenate(child)
            table.reshape(-1)[inner] = total + np.arange(len(inner))
            table.reshape(-1)[leaves] = -2 - np.flatnonzero(ends)[first]
            child = [table, np.full((len(inner), self.vocabulary.outputs), NONE, dtype=np.int64)]
            current[goes_on] = total + number
            total += len(inner)
            alive = goes_on
        self.child = torch.from_numpy(np.concatenate(child))
        self.nodes = torch.from_numpy(nodes)
        self.codes = torch.from_numpy(np.asarray(codes, dtype=np.int64).copy())

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], base: int) -> Trie:
        """Return the trie whose `codes`, `nodes`, `child` and `live` were saved; without `live`, all ids are live."""
        trie = cls(np.empty((0, 1), dtype=np.int64), base)
        trie.codes, trie.nodes, trie.child = tensors["codes"], tensors["nodes"], tensors["child"]
        trie._set_live(tensors.get("live", torch.ones(len(trie.codes), dtype=torch.bool)))
        return trie

    def _set_live(self, live: Tensor) -> None:
        self.live = live & (self.nodes[:, 0] != NONE)
        nodes, codes = self.nodes[self.live], self.codes[self.live]
        at = nodes != NONE
        self.allowed = torch.zeros(self.child.shape, dtype=torch.bool)
        self.allowed[nodes[at], codes[at]] = True

    @property
    def num_nodes(self) -> int:
        """The number of inner nodes, M."""
        return len(self.child)

    @property
    def max_length(self) -> int:
        """The number of tokens of the longest code, L."""
        return self.codes.shape[1]

    @cached_property
    def parents(self) -> tuple[Tensor, Tensor, Tensor]:
        """For each inner node (M,): its parent, the token that leads to it, and how many tokens lead to it.

        The parent of the root, and of nodes that nothing leads to, is NONE.
        """
        parent = torch.full((self.num_nodes,), NONE)
        token, depth = torch.zeros_like(parent), torch.zeros_like(parent)
        above, written = torch.nonzero(self.child >= 0, as_tuple=True)
        below = self.child[above, written]
        parent[below], token[below] = above, written
        for t in range(self.max_length):
            nodes = self.nodes[:, t]
            depth[nodes[nodes != NONE]] = t
        return parent, token, depth

    def live_ids(self) -> Tensor:
        """Return the live ids (n,), in ascending order."""
        return torch.nonzero(self.live).squeeze(1)

    def last_edges(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the node in which each id writes its last token, and that token, for ids of any shape S; both are S.

        The values are meaningless for ids without a code.
        """
        nodes, codes = self.nodes[ids], self.codes[ids]
        last = ((nodes != NONE).sum(-1, keepdim=True) - 1).clamp(min=0)
        return nodes.gather(-1, last).squeeze(-1), codes.gather(-1, last).squeeze(-1)

    def restrict(self, ids: Ids) -> Trie:
        """Return this trie with only those of `ids` live that are live in it. Unknown ids are ignored."""
        return self._masked(self.live & self._mask(ids))

    def without(self, ids: Ids) -> Trie:
        """Return this trie without `ids`, which are removed. Unknown ids are ignored."""
        return self._masked(self.live & ~self._mask(ids))

    def with_removed(self) -> Trie:
        """Return this trie with all ids live that have a code, including those that were removed."""
        return self._masked(torch.ones_like(self.live))

    def clashing(self, codes: Codes) -> Tensor:
        """Return the ids (n,) whose codes are not prefix-free together with `codes` (m, L'), none of which is empty."""
        tokens = torch.from_numpy(codes)
        place = torch.zeros(len(tokens), dtype=torch.long)
        for token in tokens.T:
            goes_on = (place >= 0) & (token != self.vocabulary.pad)
            place[goes_on] = self.child[place[goes_on], token[goes_on]]
        reached = torch.zeros(self.num_nodes + 1, dtype=torch.bool)  # the last one stands for NONE
        reached[place[place >= 0]] = True
        clash = reached[self.nodes].any(1)
        clash[leaf(place[place < NONE])] = True
        return torch.nonzero(clash).squeeze(1)

    def _mask(self, ids: Ids) -> Tensor:
        """Mark ids in a mask (N,)."""
        if isinstance(ids, Tensor):
            numbers = ids.long()
        elif isinstance(ids, np.ndarray):
            numbers = torch.from_numpy(ids.astype(np.int64))
        else:
            numbers = torch.from_numpy(np.fromiter(ids, dtype=np.int64))
        mask = torch.zeros(len(self.codes), dtype=torch.bool)
        mask[numbers[(numbers >= 0) & (numbers < len(mask))]] = True
        return mask

    def _masked(self, live: Tensor) -> Trie:
        other = copy.copy(self)
        other._set_live(live)
        return other
