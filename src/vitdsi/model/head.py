"""Heads: hidden state to scores of the next token.

`digits` scores a digit alike wherever it stands, as DSI and the paper do. `trie` has a weight row for each branch of
the trie, so a digit can mean something else after each prefix (the prefix-aware decoder of NCI, Wang et al. 2022,
taken to its end), and a row can be solved for or freed alone when an image is added or removed (as IncDSI, Kishore
et al. 2023, does for a flat classifier).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitdsi.config import ModelConfig
from vitdsi.trie import Trie

_FEW = 32  # nodes whose rows are multiplied in place, which beats gathering them when one image is searched
_CLOSED = -1e4  # bias of a prototype that is not in use: finite, so that gradients stay finite


class DigitHead(nn.Module):
    """Scores (..., V) = W h + b, the same for every prefix."""

    def __init__(self, config: ModelConfig, num_outputs: int) -> None:
        super().__init__()
        self.out = nn.Linear(config.embed_dim, num_outputs)

    def forward(self, hidden: Tensor, summary: Tensor, nodes: Tensor) -> Tensor:
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
    has_branches: Tensor

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
        self.register_buffer("has_branches", inner.any(1), persistent=False)
        parents, tokens = torch.nonzero(inner, as_tuple=True)
        self.register_buffer("inner_token", torch.zeros(trie.num_nodes, dtype=torch.long))
        self.inner_token[trie.child[parents, tokens]] = tokens

    def forward(self, hidden: Tensor, summary: Tensor, nodes: Tensor) -> Tensor:
        """Hidden (B, T, D), summary (B, head_dim), nodes (B, T) -> (B, T, V); scores at nodes < 0 mean nothing."""
        query = (summary[:, None] + self.steer(hidden)) * self.log_scale.exp()
        at_root = int(nodes[0, 0]) == 0  # then so are the others: all images write their first digit together
        nodes = nodes.clamp(min=0)
        if not at_root:
            return self._scores(query, nodes)
        # one matrix product instead of a gather of the root's rows
        scores = self._mixture(0, query[:, 0], query[:, 0] @ self.rows[0].T + self.bias[0])[:, None]
        if nodes.shape[1] == 1:
            return scores
        return torch.cat([scores, self._scores(query[:, 1:], nodes[:, 1:])], dim=1)

    def _scores(self, query: Tensor, nodes: Tensor) -> Tensor:
        if nodes.numel() <= _FEW and not torch.is_grad_enabled():
            flat = zip(nodes.flatten().tolist(), query.flatten(0, 1), strict=True)
            products = torch.stack([self.rows[node] @ q for node, q in flat]).view(*nodes.shape, -1)
        else:
            # embedding, not indexing: its backward adds in a fixed order, so a run can be repeated bit for bit
            rows = F.embedding(nodes, self.rows.flatten(1)).view(*nodes.shape, *self.rows.shape[1:])
            products = (rows @ query[..., None]).squeeze(-1)
        scores = products + F.embedding(nodes, self.bias)
        has_branches = self.has_branches[nodes]
        if not bool(has_branches.any()):
            return scores
        mixed = scores.clone()
        for node in torch.unique(nodes[has_branches]).tolist():
            at = nodes == node
            mixed[at] = self._mixture(node, query[at], scores[at])
        return mixed

    def _mixture(self, node: int, query: Tensor, scores: Tensor) -> Tensor:
        """Scores (n, V) of one node's rows -> with the prototypes of its inner children mixed in."""
        first, last = self.inner_range[node].tolist()
        if first >= last:
            return scores
        prototypes = self.prototypes[first:last]
        more = (query @ prototypes.flatten(0, 1).T).view(len(query), *prototypes.shape[:2])
        tokens = self.inner_token[first:last]
        mixed = torch.cat(
            [scores[:, tokens, None], more + self.prototype_bias[first:last]], dim=-1
        ).logsumexp(-1)
        return scores.index_copy(1, tokens, mixed)
