"""The trie head: each branch of the trie has its own weights, so a digit means something else after each prefix.

This is the most general form of the prefix-aware decoder of NCI (Wang et al. 2022). Because no two branches share a
row, a row can be set from features or trained alone when an image is added, as IncDSI (Kishore et al. 2023) does in a
flat classifier.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from vitdsi.config import ModelConfig
from vitdsi.ids.trie import NONE, Trie
from vitdsi.kmeans import count_distinct, kmeans
from vitdsi.model.heads.base import Head

INITIAL_SCALE = 20.0  # Of the scores; it is learned from there on.
_MAX_ONE_BY_ONE = 32  # Up to this many nodes, scoring one after another is faster than sorting them by node.
_UNUSED_BIAS = -1e4  # Bias of a prototype that is not in use; finite, so that gradients stay finite.
_MAX_ITERATIONS = 10  # Of k-means, which finds the prototypes.


class TrieHead(Head):
    """Scores s * <q, E[n, v]> + b[n, v] of token v in node n, for the query q = x + A h.

    x is the embedding of the image, a unit vector, and h the hidden state of the decoder. So the query starts from the
    embedding, and the decoder moves it from digit to digit. A starts at zero.

    Many images lie below some branches, and no single direction describes them all. Such a branch has more rows, its
    prototypes, and its score is the log-sum-exp over all of them, that is, a mixture. A branch that ends in a single
    image has none.

    Attributes:
        rows: (M, V, E), a row for each branch.
        bias: (M, V).
        prototypes: (M, P, E), where prototypes[c] belong to the branch that leads to node c.
        prototype_bias: (M, P).
        inner_range: (M, 2), the first child of each node that is an inner node, and the one after the last. Inner
            children of a node have consecutive numbers, in the order of their tokens.
        inner_token: (M,), the token that leads to each node.
    """

    compares = True
    inner_range: Tensor
    inner_token: Tensor

    def __init__(self, config: ModelConfig, trie: Trie) -> None:
        super().__init__(config, trie)
        embedding_dim, outputs = config.embedding_dim, trie.vocabulary.outputs
        self.steer = nn.Linear(config.embed_dim, embedding_dim)
        nn.init.zeros_(self.steer.weight)
        nn.init.zeros_(self.steer.bias)
        self.rows = nn.Parameter(torch.randn(trie.num_nodes, outputs, embedding_dim) * embedding_dim**-0.5)
        self.bias = nn.Parameter(torch.zeros(trie.num_nodes, outputs))
        self.log_scale = nn.Parameter(torch.tensor(INITIAL_SCALE).log())
        count = trie.num_nodes if config.prototypes else 0
        self.prototypes = nn.Parameter(torch.zeros(count, config.prototypes, embedding_dim))
        self.prototype_bias = nn.Parameter(torch.full((count, config.prototypes), _UNUSED_BIAS))
        inner = (trie.child >= 0) & (config.prototypes > 0)
        first = torch.where(inner, trie.child, trie.num_nodes).amin(1)
        self.register_buffer("inner_range", torch.stack([first, first + inner.sum(1)], dim=1))
        parents, tokens = torch.nonzero(inner, as_tuple=True)
        self.register_buffer("inner_token", torch.zeros(trie.num_nodes, dtype=torch.long))
        self.inner_token[trie.child[parents, tokens]] = tokens

    def forward(self, hidden: Tensor, embedding: Tensor | None, nodes: Tensor) -> Tensor:
        assert embedding is not None
        query = ((embedding[:, None] + self.steer(hidden)) * self.log_scale.exp()).flatten(0, 1)
        flat = nodes.flatten().clamp(min=NONE)
        by_node = torch.is_grad_enabled() or len(flat) > _MAX_ONE_BY_ONE
        scores = self._by_node(query, flat) if by_node else self._one_by_one(query, flat)
        return scores.view(*nodes.shape, -1)

    def _one_by_one(self, query: Tensor, nodes: Tensor) -> Tensor:
        """Scores (n, V) of queries (n, E) in nodes (n,)."""
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
        """The same as `_one_by_one`, with one matrix product for all queries in a node.

        In training, parameters are split as a whole, so that the gradient of each is put together once, in a fixed
        order. In a search, most nodes are not needed.
        """
        ordered, order = torch.sort(nodes, stable=True)
        present, counts = torch.unique_consecutive(ordered, return_counts=True)
        rows: Sequence[Tensor] | Tensor = self.rows
        bias: Sequence[Tensor] | Tensor = self.bias
        below: Sequence[Tensor] = ()
        if torch.is_grad_enabled():
            rows, bias = self.rows.unbind(), self.bias.unbind()
            if len(self.prototypes):
                # Inner children are numbered in the order of their parents; the root comes first and has no parent.
                inner = self.inner_range[:, 1] - self.inner_range[:, 0]
                below = torch.split(self.prototypes, [1, *inner.tolist()])
        scores = []
        for node, q, (first, last) in zip(
            present.tolist(),
            torch.split(query[order], counts.tolist()),
            self.inner_range[present].tolist(),
            strict=True,
        ):
            row = torch.addmm(bias[node], q, rows[node].T)
            if first < last:
                row = self._mixture(q, row, first, below[1 + node] if below else self.prototypes[first:last])
            scores.append(row)
        return torch.cat(scores)[torch.argsort(order)]

    def _mixture(self, query: Tensor, scores: Tensor, first: int, prototypes: Tensor) -> Tensor:
        """Scores (n, V) of a node, mixed with those of the prototypes (c, P, E) of its inner children.

        The inner children are the nodes `first`, `first` + 1, ...
        """
        last = first + len(prototypes)
        more = (query @ prototypes.flatten(0, 1).T).view(len(query), *prototypes.shape[:2])
        tokens = self.inner_token[first:last]
        mixed = torch.cat(
            [scores[:, tokens, None], more + self.prototype_bias[first:last]], dim=-1
        ).logsumexp(-1)
        return scores.index_copy(1, tokens, mixed)

    def parameters_from_features(self) -> list[Tensor]:
        return [self.rows, self.prototypes]

    @torch.no_grad()
    def imprint(
        self, trie: Trie, ids: Tensor, embeddings: Tensor, seed: int, *, known: Tensor | None = None
    ) -> None:
        """Make the head rank `ids` nearly as nearest neighbours would (weight imprinting, Qi et al. 2018).

        The row of a last digit becomes the image's embedding. The row of any other branch becomes the mean of the
        embeddings below it, and its prototypes their k-means centres.
        """
        below: dict[tuple[int, int], list[int]] = {}
        for t in range(trie.max_length):
            alive = torch.nonzero(trie.nodes[ids, t] != NONE).squeeze(1)
            nodes, tokens = trie.nodes[ids[alive], t], trie.codes[ids[alive], t]
            for i, node, token in zip(alive.tolist(), nodes.tolist(), tokens.tolist(), strict=True):
                below.setdefault((node, token), []).append(i)
        for (node, token), members in below.items():
            child = int(trie.child[node, token])
            if child >= 0 and known is not None and bool(known[child]):
                continue
            self.rows[node, token] = embeddings[members].mean(0)
            if child < 0 and known is not None and bool(known[node]):
                siblings = (trie.child[node] < NONE) & (trie.child[node] != child)
                self.bias[node, token] = self.bias[node, siblings].mean() if bool(siblings.any()) else 0.0
            if child >= 0 and len(self.prototypes):
                self.bias[node, token] = float(np.log(len(members)))
                centres, sizes = _centres(embeddings[members], self.prototypes.shape[1], seed)
                self.prototypes[child, : len(centres)] = centres
                self.prototype_bias[child, : len(centres)] = sizes.log()

    @torch.no_grad()
    def graft(self, old: Head, origin: Tensor) -> None:
        """Take over the weights of `old`: those of a node move to the node's new number, new nodes keep theirs."""
        assert isinstance(old, TrieHead)
        known = origin != NONE
        for name in ("rows", "bias", "prototypes", "prototype_bias"):
            mine, theirs = getattr(self, name), getattr(old, name)
            if len(theirs):
                mine[known] = theirs[origin[known]].to(mine.device)
        self.steer.load_state_dict(old.steer.state_dict())
        self.log_scale.copy_(old.log_scale)

    @contextlib.contextmanager
    def learning_only(self, trie: Trie, new_ids: Tensor) -> Iterator[None]:
        """Make the rows and biases of the tokens that only `new_ids` use trainable."""
        old = torch.ones(len(trie.codes), dtype=torch.bool)
        old[new_ids] = False
        mask = (trie.child != NONE).float()
        written = trie.nodes[old] != NONE
        mask[trie.nodes[old][written], trie.codes[old][written]] = 0.0
        mask = mask.to(self.bias.device)
        self.rows.requires_grad_(True)
        self.bias.requires_grad_(True)
        hooks = [
            self.rows.register_hook(lambda gradient: gradient * mask[..., None]),  # type: ignore[no-untyped-call]
            self.bias.register_hook(lambda gradient: gradient * mask),  # type: ignore[no-untyped-call]
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def vectors(self, trie: Trie, ids: Tensor) -> Tensor:
        """The rows of the ids' last digits, which start as the embeddings of the images."""
        return self.rows[trie.last_edges(ids.cpu())]


def _centres(vectors: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return k-means centres (k, E) of vectors (n, E), and how many vectors belong to each of them (k,).

    k is `count`, or the number of distinct vectors if that is smaller. If k = n, the centres are the vectors.
    """
    if count_distinct(vectors.numpy(), count) == len(vectors):
        return vectors, torch.ones(len(vectors))
    centres, clusters = kmeans(vectors.numpy(), count, seed, _MAX_ITERATIONS)
    sizes = torch.bincount(torch.from_numpy(clusters), minlength=len(centres)).float()
    return torch.from_numpy(centres), sizes.clamp(min=1)
