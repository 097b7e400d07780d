"""The live ids as a prefix tree held in tensors: what the decoder may write next.

Only inner nodes have a row, so a trie of N ids costs about N / base rows. `child[node, token]` is NONE, the number
of an inner node (>= 0), or a leaf written as `-2 - id`. Node numbers never change while an index lives: the trie
head's weights are addressed by them.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vitdsi.errors import UsageError
from vitdsi.tokens import Codes, Vocabulary

NONE = -1


def leaf(ids: Tensor) -> Tensor:
    """How ids are written in `child`; its own inverse."""
    return -2 - ids


class Trie:
    """A prefix tree of ids.

    Attributes:
        child: (M, V) int64; see the module docstring. Node 0 is the root.
        nodes: (N, L) int64; nodes[i, t] is the node in which id i writes its t-th token, NONE after its end.
        codes: (N, L) int64; the tokens, PAD after the end. Rows of ids that never lived are all PAD.
    """

    def __init__(self, codes: Codes, base: int) -> None:
        self.vocabulary = Vocabulary(base)
        self.codes = torch.full((0, 1), self.vocabulary.pad)
        self.nodes = torch.full((0, 1), NONE)
        self.child = torch.full((1, self.vocabulary.outputs), NONE)
        if len(codes):
            self._build(codes)

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
                raise UsageError("the codes are not prefix-free: two ids share a code, or one begins another")
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
        """The trie whose `codes`, `nodes` and `child` were saved."""
        trie = cls(np.empty((0, 1), dtype=np.int64), base)
        trie.codes, trie.nodes, trie.child = tensors["codes"], tensors["nodes"], tensors["child"]
        return trie

    @property
    def num_nodes(self) -> int:
        """Inner nodes, M."""
        return len(self.child)

    @property
    def max_length(self) -> int:
        """Tokens of the longest code, L."""
        return self.codes.shape[1]

    def live_ids(self) -> Tensor:
        """Sorted ids (n,) that can be written."""
        leaves = self.child[self.child < NONE]
        return torch.sort(leaf(leaves)).values

    def children(self, nodes: Tensor) -> Tensor:
        """Rows of `child` for nodes of any shape S: (*S, V)."""
        return self.child[nodes]

    def restrict(self, ids: Iterable[int] | npt.NDArray[np.int64] | Tensor) -> Trie:
        """A trie in which only `ids` (those that are live) can be written; node numbers stay."""
        wanted = torch.as_tensor(np.fromiter((int(i) for i in ids), dtype=np.int64))
        live = torch.zeros(len(self.codes) + 1, dtype=torch.bool)
        live[wanted[(wanted >= 0) & (wanted < len(self.codes))]] = True
        child = self.child.clone()
        is_leaf = child < NONE
        child[is_leaf] = torch.where(live[leaf(child[is_leaf])], child[is_leaf], NONE)
        # children have larger numbers than their parents, so one backward sweep prunes empty branches
        count = (child < NONE).sum(1)
        parent_of, token_of = self._parents()
        for node in range(len(child) - 1, 0, -1):
            parent = int(parent_of[node])
            if parent == NONE:
                continue
            if count[node] == 0:
                child[parent, token_of[node]] = NONE
            else:
                count[parent] += 1
        return self._with_child(child)

    def _parents(self) -> tuple[Tensor, Tensor]:
        parent_of = torch.full((len(self.child),), NONE)
        token_of = torch.full((len(self.child),), NONE)
        parent, token = torch.nonzero(self.child >= 0, as_tuple=True)
        parent_of[self.child[parent, token]] = parent
        token_of[self.child[parent, token]] = token
        return parent_of, token_of

    def _with_child(self, child: Tensor) -> Trie:
        other = Trie.__new__(Trie)
        other.vocabulary, other.codes, other.nodes, other.child = (
            self.vocabulary,
            self.codes,
            self.nodes,
            child,
        )
        return other
