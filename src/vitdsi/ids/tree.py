"""The prefix tree that codes make, in arrays of few bytes, with what it knows of the nodes of some or all ids."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vitdsi.errors import UsageError
from vitdsi.ids.codes import Codes, Vocabulary

__all__ = ["NONE", "PrefixTree", "leaf"]

NONE = -1


def leaf(ids: Tensor) -> Tensor:
    """Convert ids to the values that `child` has for them, and back: the function is its own inverse."""
    return -2 - ids


class PrefixTree:
    """The prefix tree of codes (N, L); see `vitdsi.ids.trie`.

    The codes and children are kept in as few bytes as possible. Searches ask for those of some ids or nodes; `codes`,
    `nodes` and `child` are the whole, made at their first use.

    Args:
        codes: (N, L) tokens of each id, PAD after its end, of any integer type.
        vocabulary: the tokens.
        child: (M, V) the children, if they are known; otherwise nodes are numbered level by level, in the order of
            their prefixes.

    Raises UsageError for codes that are not prefix-free.

    Attributes:
        small_codes: (N, L) int16 or int32.
        small_child: (M, V) int32.
    """

    def __init__(self, codes: Tensor, vocabulary: Vocabulary, child: Tensor | None = None) -> None:
        self.vocabulary = vocabulary
        small = torch.int16 if vocabulary.bos <= torch.iinfo(torch.int16).max else torch.int32
        self.small_codes = codes.to(small) if len(codes) else torch.empty((0, 1), dtype=small)
        if child is None:
            child = torch.from_numpy(_children(self.small_codes.numpy(), vocabulary))
        self.small_child = child.int()

    @cached_property
    def codes(self) -> Tensor:
        """The tokens of each id (N, L), int64."""
        return self.small_codes.long()

    @cached_property
    def nodes(self) -> Tensor:
        """The nodes in which each id writes its tokens (N, L), int64, NONE after its end."""
        return self._nodes(self.codes)

    @cached_property
    def child(self) -> Tensor:
        """What each token leads to in each node (M, V), int64."""
        return self.small_child.long()

    def codes_of(self, ids: Tensor) -> Tensor:
        """Return the tokens (*S, L) of ids of any shape S."""
        return self.small_codes[ids].long()

    def paths_of(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the nodes and the tokens of ids of any shape S, both (*S, L)."""
        codes = self.codes_of(ids)
        return self._nodes(codes), codes

    def children_of(self, nodes: Tensor, tokens: Tensor | None = None) -> Tensor:
        """Return what each token leads to in nodes of any shape S (*S, V), or what these tokens lead to (S)."""
        return (self.small_child[nodes] if tokens is None else self.small_child[nodes, tokens]).long()

    def _nodes(self, codes: Tensor) -> Tensor:
        nodes = torch.full_like(codes, NONE)
        at = torch.where(codes[..., 0] == self.vocabulary.pad, NONE, 0)
        for t in range(codes.shape[-1]):
            nodes[..., t] = at
            child = self.children_of(at.clamp(min=0), codes[..., t].clamp(max=self.vocabulary.eos))
            at = torch.where(at == NONE, NONE, child).clamp(min=NONE)
        return nodes

    @cached_property
    def parents(self) -> tuple[Tensor, Tensor, Tensor]:
        """For each inner node (M,): its parent, the token that leads to it, and how many tokens lead to it.

        The parent of the root, and of nodes that nothing leads to, is NONE.
        """
        parent = torch.full((len(self.small_child),), NONE)
        token, depth = torch.zeros_like(parent), torch.zeros_like(parent)
        above, written = torch.nonzero(self.small_child >= 0, as_tuple=True)
        below = self.children_of(above, written)
        parent[below], token[below] = above, written
        level = torch.zeros(1, dtype=torch.long)
        for t in range(1, self.small_codes.shape[1]):
            level = below[torch.isin(above, level)]
            depth[level] = t
        return parent, token, depth

    def clashing(self, codes: Codes) -> Tensor:
        """Return the ids (n,) whose codes are not prefix-free together with `codes` (m, L'), none of which is empty."""
        tokens = torch.from_numpy(codes)
        place = torch.zeros(len(tokens), dtype=torch.long)
        for token in tokens.T:
            goes_on = (place >= 0) & (token != self.vocabulary.pad)
            place[goes_on] = self.children_of(place[goes_on], token[goes_on])
        clash = leaf(place[place < NONE])
        if bool((place >= 0).any()):
            below = torch.isin(self.nodes, place[place >= 0]).any(1)
            clash = torch.cat([clash, torch.nonzero(below).squeeze(1)])
        unique: Tensor = torch.unique(clash)
        return unique


def _children(codes: npt.NDArray[np.integer[Any]], vocabulary: Vocabulary) -> npt.NDArray[np.int32]:
    """Return the children (M, V) that codes (N, L) make, level by level, and the edges of a level in ascending order.

    Raises UsageError for codes that are not prefix-free.
    """
    length, outputs = codes.shape[1], vocabulary.outputs
    ids = np.flatnonzero(codes[:, 0] != vocabulary.pad)
    places = np.zeros(len(ids), dtype=np.int64)  # of the node of each id within its level
    tables, total, width = [], 1, 1
    for t in range(length):
        edges = places * outputs + codes[ids, t]
        ends = codes[ids, t + 1] == vocabulary.pad if t + 1 < length else np.ones(len(ids), dtype=bool)
        goes_on = edges[~ends]
        inner = np.zeros(width * outputs, dtype=bool)
        inner[goes_on] = True
        table = np.full(len(inner), NONE, dtype=np.int32)
        leaves = -2 - ids[ends]
        table[edges[ends]] = leaves
        if (table[edges[ends]] != leaves).any() or inner[edges[ends]].any():
            raise UsageError(
                "the codes are not prefix-free: two ids share a code, or one code is the beginning of another"
            )
        tables.append(table)
        if not len(goes_on):
            break
        numbers = np.cumsum(inner) - 1
        width = int(numbers[-1]) + 1
        table[inner] = total + np.arange(width)
        total += width
        places, ids = numbers[goes_on], ids[~ends]
    return np.concatenate(tables).reshape(-1, outputs)
