"""The prefix tree of the live ids, stored in tensors: which tokens the decoder may write next.

Only inner nodes have a row, so a trie of N ids has about N / base rows. `child[node, token]` is NONE, the number of
an inner node (>= 0), or a leaf stored as `-2 - id`. Node numbers never change during the lifetime of an index,
because they address the weights of the trie head.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vitdsi.errors import UsageError
from vitdsi.ids.codes import Codes, Vocabulary

NONE = -1


def leaf(ids: Tensor) -> Tensor:
    """Convert ids to the values that `child` has for them, and back: the function is its own inverse."""
    return -2 - ids


class Trie:
    """A prefix tree of ids, built from their codes (N, L).

    Raises UsageError for codes that are not prefix-free.

    Attributes:
        vocabulary: the tokens; V = `vocabulary.outputs` of them can be written.
        child: (M, V) int64, what each token leads to in each node; see the module docstring. Node 0 is the root.
        nodes: (N, L) int64; nodes[i, t] is the node in which id i writes its t-th token, NONE after its end.
        codes: (N, L) int64, the tokens of each id, PAD after its end. Rows of ids without a code are all PAD.
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
        """Return the trie whose `codes`, `nodes` and `child` were saved."""
        trie = cls(np.empty((0, 1), dtype=np.int64), base)
        trie.codes, trie.nodes, trie.child = tensors["codes"], tensors["nodes"], tensors["child"]
        return trie

    @property
    def num_nodes(self) -> int:
        """The number of inner nodes, M."""
        return len(self.child)

    @property
    def max_length(self) -> int:
        """The number of tokens of the longest code, L."""
        return self.codes.shape[1]

    def live_ids(self) -> Tensor:
        """Return the ids (n,) that can be written, in ascending order."""
        leaves = self.child[self.child < NONE]
        return torch.sort(leaf(leaves)).values

    def children(self, nodes: Tensor) -> Tensor:
        """Return the rows of `child` (*S, V) for nodes of any shape S."""
        return self.child[nodes]

    def last_edges(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the node in which each id writes its last token, and that token, for ids of any shape S; both are S.

        The values are meaningless for ids that were removed.
        """
        nodes, codes = self.nodes[ids], self.codes[ids]
        last = ((nodes != NONE).sum(-1, keepdim=True) - 1).clamp(min=0)
        return nodes.gather(-1, last).squeeze(-1), codes.gather(-1, last).squeeze(-1)

    def restrict(self, ids: Iterable[int] | npt.NDArray[np.int64] | Tensor) -> Trie:
        """Return a trie in which only those of `ids` that are live can be written. Node numbers stay the same."""
        wanted = torch.as_tensor(np.fromiter((int(i) for i in ids), dtype=np.int64))
        live = self.live_ids()
        return self._with(self.codes, self.nodes, self._edges_of(live[torch.isin(live, wanted)]))

    def without(self, ids: Iterable[int] | npt.NDArray[np.int64] | Tensor) -> Trie:
        """Return a trie without `ids`. Their codes become free, and branches that led only to them are closed."""
        gone = torch.as_tensor(np.fromiter((int(i) for i in ids), dtype=np.int64))
        codes, nodes = self.codes.clone(), self.nodes.clone()
        codes[gone], nodes[gone] = self.vocabulary.pad, NONE
        live = self.live_ids()
        return self._with(codes, nodes, self._edges_of(live[~torch.isin(live, gone)]))

    def _edges_of(self, ids: Tensor) -> Tensor:
        """Return `child` reduced to the paths of the live `ids` (n,)."""
        nodes, codes = self.nodes[ids], self.codes[ids]
        at = nodes != NONE
        child = torch.full_like(self.child, NONE)
        child[nodes[at], codes[at]] = self.child[nodes[at], codes[at]]
        return child

    def _with(self, codes: Tensor, nodes: Tensor, child: Tensor) -> Trie:
        other = Trie.__new__(Trie)
        other.vocabulary, other.codes, other.nodes, other.child = self.vocabulary, codes, nodes, child
        return other
