"""Training targets: which next-digit distribution a query should be answered with.

For a query with relevance weights w over ids (summing to 1), a relevant id i is drawn with probability w_i and its
digits are the decoder's input. At each digit the target is exact: the distribution of the next digit over *all*
relevant ids that share the prefix,

    target_t(v) = sum_{j : j shares i's first t digits, j_t = v} w_j / sum_{j : j shares i's first t digits} w_j.

Its expected cross-entropy over the draw of i equals the cross-entropy between w and the model's p(id | image), so a
prefix that many relevant ids share is never punished for the digits of those that were not drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vitdsi.trie import NONE, Trie


class Relevance(Protocol):
    """Relevant ids of each query row."""

    def sample(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """One relevant id (B,) for each query row (B,), drawn by weight."""

    def marginals(self, trie: Trie, rows: Tensor, ids: Tensor) -> Tensor:
        """Target distributions (B, L, V) along the codes of `ids` (B,); zero after the code's end."""


@dataclass(frozen=True)
class OwnId:
    """Indexing: the only relevant id of row i is i."""

    def sample(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """The rows themselves."""
        return rows

    def marginals(self, trie: Trie, rows: Tensor, ids: Tensor) -> Tensor:
        """One-hot (B, L, V) of the codes."""
        return one_hot_targets(trie, ids)


@dataclass(frozen=True)
class WeightedRelevance:
    """A short list of relevant ids a query: ids (Q, K), NONE where there are fewer, and weights (Q, K), of the rows
    from `first` on."""

    ids: Tensor
    weights: Tensor
    first: int = 0

    def sample(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Ids (B,) drawn by weight."""
        relevant = self.ids[rows - self.first]
        pick = torch.multinomial(self.weights[rows - self.first] * (relevant != NONE), 1, generator=generator)
        return relevant.gather(1, pick).squeeze(1)

    def marginals(self, trie: Trie, rows: Tensor, ids: Tensor) -> Tensor:
        """(B, L, V), by comparing the nodes along the K relevant ids' paths."""
        relevant = self.ids[rows - self.first]
        weights = self.weights[rows - self.first] * (relevant != NONE)
        relevant = relevant.clamp(min=0)
        shares = trie.nodes[relevant] == trie.nodes[ids][:, None]  # (B, K, L): same node means same prefix
        mass = weights[..., None] * shares * (trie.nodes[ids] != NONE)[:, None]
        tokens = trie.codes[relevant]
        target = torch.zeros(len(rows), trie.max_length, trie.child.shape[1])
        target.scatter_add_(2, tokens.transpose(1, 2), mass.transpose(1, 2))
        return target / target.sum(-1, keepdim=True).clamp(min=1e-12)


class GroupRelevance:
    """All ids of the query's class, equally: the number of ids of each class below each branch of the trie.

    Only branches that a class reaches are held: at most N * L rows of V counts, whatever the number of classes.

    Args:
        trie: the collection's trie.
        groups: (N,) class of each id.
        query_groups: (Q,) class of each query row; each must have at least one id.
    """

    def __init__(self, trie: Trie, groups: Tensor, query_groups: Tensor) -> None:
        self.query_groups = query_groups
        alive = trie.nodes != NONE
        keys = (groups[:, None] * trie.num_nodes + trie.nodes)[alive]
        self.keys, row = torch.unique(keys, return_inverse=True)
        self.counts = torch.zeros(len(self.keys), trie.child.shape[1])
        self.counts.view(-1).index_add_(
            0, row * trie.child.shape[1] + trie.codes[alive], torch.ones(int(alive.sum()))
        )
        live = torch.nonzero(alive[:, 0]).squeeze(1)
        self.order = live[torch.argsort(groups[live], stable=True)]
        self.start = torch.searchsorted(groups[self.order].contiguous(), torch.arange(int(groups.max()) + 2))

    def sample(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Uniform ids (B,) of the query's class."""
        group = self.query_groups[rows]
        size = self.start[group + 1] - self.start[group]
        draw = (torch.rand(len(rows), generator=generator) * size).long().clamp(max=size - 1)
        return self.order[self.start[group] + draw]

    def marginals(self, trie: Trie, rows: Tensor, ids: Tensor) -> Tensor:
        """(B, L, V), looked up at each node of the path."""
        nodes = trie.nodes[ids]
        keys = self.query_groups[rows][:, None] * trie.num_nodes + nodes
        row = torch.searchsorted(self.keys, keys.clamp(min=0)).clamp(max=len(self.keys) - 1)
        target = self.counts[row] * (nodes != NONE)[..., None]
        return target / target.sum(-1, keepdim=True).clamp(min=1e-12)


def one_hot_targets(trie: Trie, ids: Tensor) -> Tensor:
    """(B, L, V): all mass on the id's own next token; zero after the code's end."""
    target = torch.zeros(len(ids), trie.max_length, trie.child.shape[1])
    target.scatter_(2, trie.codes[ids][..., None], 1.0)
    return target * (trie.nodes[ids] != NONE)[..., None]


def next_token_loss(scores: Tensor, target: Tensor, allowed: Tensor | None) -> Tensor:
    """Cross-entropy (B,) of each example, summed over its digits: - sum_t sum_v target log p.

    Scores and target are (B, L, V); `allowed` (B, L, V) restricts the softmax to the trie's branches, None leaves
    it over all tokens.
    """
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
    used = target.sum(-1, keepdim=True) > 0
    scores = torch.where(used, scores, torch.zeros_like(scores))
    log_probs = scores.log_softmax(-1).masked_fill(target == 0, 0.0)
    return -(target * log_probs).sum((1, 2))
