"""The prefix tree of the ids, stored in arrays: which tokens the decoder may write next.

Only inner nodes have a row, so a trie of N ids has about N / base rows. `child[node, token]` is NONE, the number of
an inner node (>= 0), or a leaf stored as `-2 - id`. Nodes are numbered level by level, in the order of their prefixes,
so the codes alone determine the trie. Node numbers address the weights of the trie head.

`child` holds every id that the weights know, including ids that were removed: probabilities are normalised over it, and
so do not change when an id is removed or a filter is set. Which ids exist and which of them a search may return are
masks over the same arrays.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vitdsi.ids.codes import Codes, Vocabulary
from vitdsi.ids.tree import NONE, PrefixTree, leaf

__all__ = ["NONE", "Ids", "Trie", "leaf"]

Ids = Iterable[int] | npt.NDArray[np.int64] | Tensor


class Trie:
    """A prefix tree of ids, built from their codes (N, L).

    Args:
        codes: (N, L) tokens of each id, PAD after its end, of any integer type. Rows of ids without a code are all PAD.
        base: the digits are 0 .. base - 1.
        live: (N,) bool, which ids exist; None for all that have a code.

    Raises UsageError for codes that are not prefix-free.

    Attributes:
        vocabulary: the tokens; V = `vocabulary.outputs` of them can be written.
        tree: the tree of all ids that have a code, which restrictions share. Its whole arrays are `codes`, `nodes` and
            `child` here.
        live: (N,) bool, the ids that exist and are not ruled out by a restriction. An id that was removed keeps its
            code until an added image takes its place.
        live_count: the number of these ids.
        allowed: (M, V) bool, the branches below which at least one live id lies.
    """

    def __init__(
        self, codes: npt.NDArray[np.integer[Any]] | Tensor, base: int, live: Tensor | None = None
    ) -> None:
        given = codes if isinstance(codes, Tensor) else torch.from_numpy(codes)
        self._start(PrefixTree(given, Vocabulary(base)), live)

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], base: int) -> Trie:
        """Return the trie whose `codes`, `child` and `live` were saved up to format 5; without `live`, all are live.

        Its nodes may be numbered in another order, with nodes among them that nothing leads to.
        """
        trie = cls.__new__(cls)
        trie._start(PrefixTree(tensors["codes"], Vocabulary(base), tensors["child"]), tensors.get("live"))
        return trie

    def _start(self, tree: PrefixTree, live: Tensor | None) -> None:
        self.vocabulary, self.tree = tree.vocabulary, tree
        self._set_live(tree.small_codes[:, 0] != self.vocabulary.pad, tree.small_child != NONE)
        if live is not None and not bool(live.all()):
            others = self.without(torch.nonzero(~live).squeeze(1))
            self._set_live(others.live, others.allowed)

    def _set_live(self, live: Tensor, allowed: Tensor) -> None:
        self.live, self.live_count, self.allowed = live, int(live.sum()), allowed

    @property
    def codes(self) -> Tensor:
        """The tokens of each id (N, L), int64."""
        return self.tree.codes

    @property
    def nodes(self) -> Tensor:
        """The nodes (N, L), int64: nodes[i, t] is the one in which id i writes its t-th token, NONE after its end."""
        return self.tree.nodes

    @property
    def child(self) -> Tensor:
        """What each token leads to in each node (M, V), int64; see the module docstring."""
        return self.tree.child

    @property
    def parents(self) -> tuple[Tensor, Tensor, Tensor]:
        """The parent of each inner node, the token that leads to it, and its depth; see `PrefixTree.parents`."""
        return self.tree.parents

    @property
    def num_nodes(self) -> int:
        """The number of inner nodes, M."""
        return len(self.tree.small_child)

    @property
    def max_length(self) -> int:
        """The number of tokens of the longest code, L."""
        return self.tree.small_codes.shape[1]

    def live_ids(self) -> Tensor:
        """Return the live ids (n,), in ascending order."""
        return torch.nonzero(self.live).squeeze(1)

    def last_edges(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the node in which each id writes its last token, and that token, for ids of any shape S; both are S.

        The values are meaningless for ids without a code.
        """
        nodes, codes = self.tree.paths_of(ids)
        last = ((nodes != NONE).sum(-1, keepdim=True) - 1).clamp(min=0)
        return nodes.gather(-1, last).squeeze(-1), codes.gather(-1, last).squeeze(-1)

    def restrict(self, ids: Ids) -> Trie:
        """Return this trie with only those of `ids` live that are live in it. Unknown ids are ignored."""
        live = self.live & self._mask(ids)
        nodes, codes = self.tree.paths_of(torch.nonzero(live).squeeze(1))
        written = nodes != NONE
        allowed = torch.zeros_like(self.allowed)
        allowed[nodes[written], codes[written]] = True
        return self._masked(live, allowed)

    def without(self, ids: Ids) -> Trie:
        """Return this trie without `ids`, which are removed. Unknown ids are ignored."""
        removed = self.live & self._mask(ids)
        nodes, codes = self.tree.paths_of(torch.nonzero(removed).squeeze(1))
        allowed = self.allowed.clone()
        for t in reversed(range(self.max_length)):
            written = nodes[:, t] != NONE
            node, token = nodes[written, t], codes[written, t]
            child = self.tree.children_of(node, token)
            empty = (child < NONE) | ~allowed[child.clamp(min=0)].any(1)
            allowed[node[empty], token[empty]] = False
        return self._masked(self.live & ~removed, allowed)

    def with_removed(self) -> Trie:
        """Return this trie with all ids live that have a code, including those that were removed."""
        other = copy.copy(self)
        other._start(self.tree, None)
        return other

    def clashing(self, codes: Codes) -> Tensor:
        """Return the ids (n,) whose codes are not prefix-free together with `codes` (m, L'), none of which is empty."""
        return self.tree.clashing(codes)

    def _mask(self, ids: Ids) -> Tensor:
        """Mark ids in a mask (N,)."""
        if isinstance(ids, Tensor):
            numbers = ids.long()
        elif isinstance(ids, np.ndarray):
            numbers = torch.from_numpy(ids.astype(np.int64))
        else:
            numbers = torch.from_numpy(np.fromiter(ids, dtype=np.int64))
        mask = torch.zeros(len(self.live), dtype=torch.bool)
        mask[numbers[(numbers >= 0) & (numbers < len(mask))]] = True
        return mask

    def _masked(self, live: Tensor, allowed: Tensor) -> Trie:
        other = copy.copy(self)
        other._set_live(live, allowed)
        return other
