"""Training targets: the distribution of the next digit that the model should predict for a query.

For a query with relevance weights w over ids (summing to 1), a relevant id i is drawn with probability w_i and its
digits are the decoder's input. At each digit the target is exact: the distribution of the next digit over *all*
relevant ids that share the prefix,

    target_t(v) = sum_{j : j shares i's first t digits, j_t = v} w_j / sum_{j : j shares i's first t digits} w_j.

Its expected cross-entropy over the draw of i equals the cross-entropy between w and the model's p(id | image), so a
prefix that many relevant ids share is not penalised for the digits of the ids that were not drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Protocol

import torch
from torch import Tensor

from vitdsi.ids.trie import NONE, Trie


class Relevance(Protocol):
    """The relevant ids of each query row."""

    def sample(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Draw one relevant id (B,) for each query row (B,), with the probability of its weight."""

    def marginals(self, trie: Trie, rows: Tensor, ids: Tensor) -> Tensor:
        """Return the target distributions (B, L, V) along the codes of `ids` (B,), zero after the end of a code."""


@dataclass(frozen=True)
class OwnId:
    """Relevance for indexing: the only relevant id of row i is i."""

    def sample(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return the rows themselves."""
        return rows

    def marginals(self, trie: Trie, rows: Tensor, ids: Tensor) -> Tensor:
        """Return the codes as one-hot distributions (B, L, V)."""
        return one_hot_targets(trie, ids)


@dataclass(frozen=True)
class WeightedRelevance:
    """A short list of relevant ids for each query.

    Attributes:
        ids: (Q, K) relevant ids of any integer type, filled up with NONE.
        weights: (Q, K) weights of these ids, of any floating-point type.
        first: the query row of the first list.
        recall: the share of the ids that should be in the lists which are in them, as it was measured.
    """

    ids: Tensor
    weights: Tensor
    first: int = 0
    recall: float = 1.0

    def sample(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Draw ids (B,) with the probability of their weights."""
        relevant = self.ids[rows - self.first].long()
        weights = self.weights[rows - self.first].float() * (relevant != NONE)
        pick = torch.multinomial(weights, 1, generator=generator)
        return relevant.gather(1, pick).squeeze(1)

    def marginals(self, trie: Trie, rows: Tensor, ids: Tensor) -> Tensor:
        """Return (B, L, V), by comparing the nodes along the paths of the K relevant ids."""
        relevant = self.ids[rows - self.first].long()
        weights = self.weights[rows - self.first].float() * (relevant != NONE)
        relevant = relevant.clamp(min=0)
        shares = trie.nodes[relevant] == trie.nodes[ids][:, None]  # (B, K, L): same node means same prefix
        mass = weights[..., None] * shares * (trie.nodes[ids] != NONE)[:, None]
        tokens = trie.codes[relevant]
        target = torch.zeros(len(rows), trie.max_length, trie.child.shape[1])
        target.scatter_add_(2, tokens.transpose(1, 2), mass.transpose(1, 2))
        return target / target.sum(-1, keepdim=True).clamp(min=1e-12)


class GroupRelevance:
    """All live ids that share a class with the query, weighted by the number of classes that they share.

    With one class per image, all ids of the class have the same weight. With several classes per image, such as the
    categories of COCO, ids that share more classes weigh more.

    The relevance is stored as the number of ids of each class below each branch of the trie that the class reaches: at
    most N * L numbers for each class of an image, whatever the base and the number of classes.

    Args:
        trie: the collection's trie.
        groups: the class of each id, (N,), or its classes, (N, G), filled up with NONE.
        query_groups: the same for each query row, (Q,) or (Q, G'). Each row must share a class with an id.
    """

    def __init__(self, trie: Trie, groups: Tensor, query_groups: Tensor) -> None:
        groups, self.query_groups = (g.reshape(len(g), -1) for g in (groups, query_groups))
        self.num_nodes, self.width = trie.child.shape
        ids, column = torch.nonzero((groups != NONE) & trie.live[:, None], as_tuple=True)
        group, order = torch.sort(groups[ids, column], stable=True)
        self.members = ids[order]
        count = int(max(groups.max(), self.query_groups.max())) + 1
        self.start = torch.searchsorted(group, torch.arange(count + 1))
        nodes = trie.nodes[self.members]
        keys = self._keys(group[:, None], nodes) + trie.codes[self.members]
        self.branches, self.counts = torch.unique(keys[nodes != NONE], return_counts=True)

    def _keys(self, groups: Tensor, nodes: Tensor) -> Tensor:
        """Return the keys of the branches of token 0."""
        return (groups * self.num_nodes + nodes) * self.width

    def sample(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Draw ids (B,) with the probability of their weights: a class by its size, then one of its ids."""
        groups = self.query_groups[rows]
        first = self.start[groups.clamp(min=0)]
        sizes = (self.start[groups.clamp(min=0) + 1] - first) * (groups != NONE)
        ends = sizes.cumsum(1)
        total = ends[:, -1]
        draw = (torch.rand(len(rows), generator=generator) * total).long().clamp(max=total - 1)
        column = (draw[:, None] >= ends).sum(1, keepdim=True)
        place = draw[:, None] - (ends - sizes).gather(1, column) + first.gather(1, column)
        return self.members[place.squeeze(1)]

    def marginals(self, trie: Trie, rows: Tensor, ids: Tensor) -> Tensor:
        """Return (B, L, V), looked up at each node of the path and summed over the classes of the query."""
        groups, nodes = self.query_groups[rows][:, None], trie.nodes[ids][..., None]
        keys = self._keys(groups, nodes)  # (B, L, G)
        first, last = torch.searchsorted(self.branches, torch.stack([keys, keys + self.width]))
        found = torch.where((groups != NONE) & (nodes != NONE), last - first, 0).flatten()
        at = torch.repeat_interleave(found)
        branch = first.flatten()[at] + torch.arange(len(at)) - (found.cumsum(0) - found)[at]
        target = torch.zeros(*trie.nodes[ids].shape, self.width)
        place = at // keys.shape[2] * self.width + self.branches[branch] % self.width
        target.view(-1).index_add_(0, place, self.counts[branch].float())
        return target / target.sum(-1, keepdim=True).clamp(min=1e-12)


# One line per target of retrieval examples. The target of the paper is imported only when it is used.
TARGETS = {
    "marginal": "vitdsi.training.targets:marginal_target",
    "sampled": "vitdsi.paper.sampled_target:sampled_target",
}

# (relevance, trie, query rows (B,), drawn relevant ids (B,)) -> target distributions (B, L, V)
RetrievalTarget = Callable[[Relevance, Trie, Tensor, Tensor], Tensor]


def retrieval_target(name: str) -> RetrievalTarget:
    """Return the target that `training.paper.target` names."""
    target: RetrievalTarget = resolve_name(TARGETS[name])
    return target


def marginal_target(relevance: Relevance, trie: Trie, rows: Tensor, ids: Tensor) -> Tensor:
    """Return the exact distribution of each digit over all relevant ids that share the prefix; see the module."""
    return relevance.marginals(trie, rows, ids)


def one_hot_targets(trie: Trie, ids: Tensor) -> Tensor:
    """Return one-hot distributions (B, L, V) of the next token of each id, zero after the end of a code."""
    target = torch.zeros(len(ids), trie.max_length, trie.child.shape[1])
    target.scatter_(2, trie.codes[ids][..., None], 1.0)
    return target * (trie.nodes[ids] != NONE)[..., None]


def next_token_loss(scores: Tensor, target: Tensor, allowed: Tensor | None) -> Tensor:
    """Return the cross-entropy (B,) of each example, summed over its digits: - sum_t sum_v target log p.

    Scores and target are (B, L, V). `allowed` (B, L, V) restricts the softmax to the branches of the trie; None takes
    it over all tokens.
    """
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
    used = target.sum(-1, keepdim=True) > 0
    scores = torch.where(used, scores, torch.zeros_like(scores))
    log_probs = scores.log_softmax(-1).masked_fill(target == 0, 0.0)
    return -(target * log_probs).sum((1, 2))
