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
    """Scores of node n's tokens: s * <q, E[n, v]> + b[n, v], where q = normalise(P x) + A h.

    x is the image's summary (B, F), h the decoder's hidden state, so the decoder steers, digit by digit, a query
    that starts from what the image looks like. A starts at zero.

    A branch that leads to many images is no single direction: it has `prototypes` more rows, and its score is the
    log-sum-exp over all of them, a mixture. Nodes without such branches (most) have none.
    """

    mean: Tensor
    branching: Tensor

    def __init__(self, config: ModelConfig, num_outputs: int, trie: Trie, summary_dim: int) -> None:
        super().__init__()
        dim = config.head_dim
        self.register_buffer("mean", torch.zeros(summary_dim))
        self.project = nn.Linear(summary_dim, dim, bias=False)
        self.steer = nn.Linear(config.embed_dim, dim)
        nn.init.zeros_(self.steer.weight)
        nn.init.zeros_(self.steer.bias)
        self.rows = nn.Parameter(torch.randn(trie.num_nodes, num_outputs, dim) * dim**-0.5)
        self.bias = nn.Parameter(torch.zeros(trie.num_nodes, num_outputs))
        self.log_scale = nn.Parameter(torch.tensor(config.head_scale).log())
        branches = (trie.child >= 0).any(1) if config.prototypes else torch.zeros(trie.num_nodes, dtype=torch.bool)
        self.register_buffer("branching", torch.where(branches, branches.cumsum(0) - 1, -1))
        shape = (int(branches.sum()), num_outputs, config.prototypes)
        self.prototypes = nn.Parameter(torch.zeros(*shape, dim))
        self.prototype_bias = nn.Parameter(torch.full(shape, _CLOSED))

    def query(self, summary: Tensor) -> Tensor:
        """(B, F) -> unit vectors (B, head_dim)."""
        return F.normalize(self.project(summary - self.mean), dim=-1)

    def forward(self, hidden: Tensor, summary: Tensor, nodes: Tensor) -> Tensor:
        """Hidden (B, T, D), summary (B, F), nodes (B, T) -> (B, T, V); scores at nodes < 0 mean nothing."""
        query = (self.query(summary)[:, None] + self.steer(hidden)) * self.log_scale.exp()
        nodes = nodes.clamp(min=0)
        if not bool((nodes[:, 0] == 0).all()):
            return self._scores(query, nodes)
        # every image begins at the root: one matrix product instead of a gather of its rows
        scores = self._mixture(0, query[:, 0], query[:, 0] @ self.rows[0].T + self.bias[0])[:, None]
        if nodes.shape[1] == 1:
            return scores
        return torch.cat([scores, self._scores(query[:, 1:], nodes[:, 1:])], dim=1)

    def _scores(self, query: Tensor, nodes: Tensor) -> Tensor:
        scores = torch.einsum("btvr,btr->btv", self.rows[nodes], query) + self.bias[nodes]
        has_branches = self.branching[nodes] >= 0
        if not bool(has_branches.any()):
            return scores
        mixed = scores.clone()
        for node in torch.unique(nodes[has_branches]).tolist():
            at = nodes == node
            mixed[at] = self._mixture(node, query[at], scores[at])
        return mixed

    def _mixture(self, node: int, query: Tensor, scores: Tensor) -> Tensor:
        """Scores (n, V) of one node's rows -> with its prototypes' mixed in."""
        index = int(self.branching[node])
        if index < 0:
            return scores
        prototypes = self.prototypes[index]
        more = (query @ prototypes.flatten(0, 1).T).unflatten(-1, prototypes.shape[:2]) + self.prototype_bias[index]
        return torch.cat([scores[..., None], more], dim=-1).logsumexp(-1)
