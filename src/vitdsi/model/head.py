"""Heads: hidden state to scores of the next token.

`digits` scores a digit alike wherever it stands, as DSI and the paper do. `trie` has a weight row for each branch of
the trie, so a digit can mean something else after each prefix (the prefix-aware decoder of NCI, Wang et al. 2022,
taken to its end), and a row can be solved for or freed alone when an image is added or removed (as IncDSI, Kishore
et al. 2023, does for a flat classifier).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vitdsi.config import ModelConfig
from vitdsi.trie import NONE, Trie

_FEW = 32  # nodes that are scored one by one, which beats sorting them when one image is searched
_CLOSED = -1e4  # bias of a prototype that is not in use: finite, so that gradients stay finite


class DigitHead(nn.Module):
    """Scores (..., V) = W h + b, the same for every prefix."""

    def __init__(self, config: ModelConfig, num_outputs: int) -> None:
        super().__init__()
        self.out = nn.Linear(config.embed_dim, num_outputs)

    def forward(self, hidden: Tensor, summary: Tensor | None, nodes: Tensor) -> Tensor:
        scores: Tensor = self.out(hidden)
        return scores


class TrieHead(nn.Module):
    """Scores of node n's tokens: s * <q, E[n, v]> + b[n, v], where q = x + A h.

    x is the image's summary, a unit vector, and h the decoder's hidden state, so the decoder steers, digit by digit,
    a query that starts from what the image looks like. A starts at zero.

    A branch that leads to many images is no single direction: it has `prototypes` more rows, and its score is the
    log-sum-exp over all of them, a mixture. Nodes without such branches (most) have none.
    """

    inner_range: Tensor
    inner_token: Tensor

    def __init__(self, config: ModelConfig, num_outputs: int, trie: Trie) -> None:
        super().__init__()
        dim = config.head_dim
        self.steer = nn.Linear(config.embed_dim, dim)
        nn.init.zeros_(self.steer.weight)
        nn.init.zeros_(self.steer.bias)
        self.rows = nn.Parameter(torch.randn(trie.num_nodes, num_outputs, dim) * dim**-0.5)
        self.bias = nn.Parameter(torch.zeros(trie.num_nodes, num_outputs))
        self.log_scale = nn.Parameter(torch.tensor(config.head_scale).log())
        # node c's prototypes say when to go to c; the inner children of a node are numbered in a row, by token
        count = trie.num_nodes if config.prototypes else 0
        self.prototypes = nn.Parameter(torch.zeros(count, config.prototypes, dim))
        self.prototype_bias = nn.Parameter(torch.full((count, config.prototypes), _CLOSED))
        inner = (trie.child >= 0) & (config.prototypes > 0)
        first = torch.where(inner, trie.child, trie.num_nodes).amin(1)
        self.register_buffer("inner_range", torch.stack([first, first + inner.sum(1)], dim=1))
        parents, tokens = torch.nonzero(inner, as_tuple=True)
        self.register_buffer("inner_token", torch.zeros(trie.num_nodes, dtype=torch.long))
        self.inner_token[trie.child[parents, tokens]] = tokens

    def forward(self, hidden: Tensor, summary: Tensor, nodes: Tensor) -> Tensor:
        """Hidden (B, T, D), summary (B, head_dim), nodes (B, T) -> (B, T, V); scores at nodes < 0 mean nothing."""
        query = ((summary[:, None] + self.steer(hidden)) * self.log_scale.exp()).flatten(0, 1)
        flat = nodes.flatten().clamp(min=NONE)
        together = torch.is_grad_enabled() or len(flat) > _FEW
        scores = self._by_node(query, flat) if together else self._one_by_one(query, flat)
        return scores.view(*nodes.shape, -1)

    def _one_by_one(self, query: Tensor, nodes: Tensor) -> Tensor:
        """(n, dim), (n,) -> (n, V)."""
        scores = []
        for q, node, (first, last) in zip(
            query, nodes.tolist(), self.inner_range[nodes].tolist(), strict=True
        ):
            row = torch.addmv(self.bias[node], self.rows[node], q)
            if first < last:
                row = self._mixture(q[None], row[None], first, self.prototypes[first:last])[0]
            scores.append(row)
        return torch.stack(scores)

    def _by_node(self, query: Tensor, nodes: Tensor) -> Tensor:
        """As `_one_by_one`, with one product a node: its rows are read once, however many ask for them.

        The parameters are taken apart as wholes, so that the gradient of each is put together once, in a fixed order.
        """
        ordered, order = torch.sort(nodes, stable=True)
        present, counts = torch.unique_consecutive(ordered, return_counts=True)
        rows, bias, ranges = self.rows.unbind(), self.bias.unbind(), self.inner_range.tolist()
        below: Sequence[Tensor] = ()
        if len(
            self.prototypes
        ):  # inner children are numbered by their parents, and the root is nobody's child
            below = torch.split(self.prototypes, [1, *(last - first for first, last in ranges)])
        scores = []
        for node, q in zip(present.tolist(), torch.split(query[order], counts.tolist()), strict=True):
            row = torch.addmm(bias[node], q, rows[node].T)
            first, last = ranges[node]
            if first < last:
                row = self._mixture(q, row, first, below[1 + node])
            scores.append(row)
        return torch.cat(scores)[torch.argsort(order)]

    def _mixture(self, query: Tensor, scores: Tensor, first: int, prototypes: Tensor) -> Tensor:
        """Scores (n, V) of one node's rows -> with the prototypes (c, P, dim) of its inner children mixed in, which
        are the nodes from `first` on."""
        last = first + len(prototypes)
        more = (query @ prototypes.flatten(0, 1).T).view(len(query), *prototypes.shape[:2])
        tokens = self.inner_token[first:last]
        mixed = torch.cat(
            [scores[:, tokens, None], more + self.prototype_bias[first:last]], dim=-1
        ).logsumexp(-1)
        return scores.index_copy(1, tokens, mixed)
