"""The trie head: each branch of the trie has its own weights, so a digit means something else after each prefix.

This is the most general form of the prefix-aware decoder of NCI (Wang et al. 2022), and a probabilistic label tree
(Jasinska et al. 2016; PECOS, Yu et al. 2022), whose nodes have linear classifiers over their children. Because no two
branches share a row, a row can be set from features or trained alone when an image is added, as IncDSI (Kishore et
al. 2023) does in a flat classifier.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitdsi.config import ModelConfig
from vitdsi.ids.trie import NONE, Trie, leaf
from vitdsi.kmeans import count_distinct, kmeans
from vitdsi.model.heads.base import Head
from vitdsi.model.heads.rows import Centres, CodedRows, FloatRows, Places, Rows

INITIAL_SCALE = 20.0  # Of the scores; it is learned from there on.
MAX_TRAINED_BRANCH_ROWS = 2**13  # Every step reads nearly all of them. More stay as they are imprinted.
_CROWDED = 16  # Queries in one node from which on it has a matrix product of its own.
_UNUSED_BIAS = -1e4  # Bias of a prototype that is not in use; finite, so that gradients stay finite.
_MAX_ITERATIONS = 10  # Of k-means, which finds the prototypes.


class TrieHead(Head):
    """Scores s * <q, r> + b of the branches of a node, for the query q = x + A h. Other tokens have the score -inf.

    x is the embedding of the image, a unit vector, and h the hidden state of the decoder. So the query starts from the
    embedding, and the decoder moves it from digit to digit. A starts at zero.

    A branch that ends in an image has one row r, the vector of this image. Many images lie below other branches, and no
    single direction describes them all. Such a branch has P more rows, its prototypes, and its score is the log-sum-exp
    over its 1 + P rows, that is, a mixture.

    Args:
        config, trie: as for every head.
        row_bytes: bytes of each row, which then cannot be trained (see `vitdsi.model.coding`); None for floats.

    Attributes:
        centres: those of the codes of rows; None for floats.
        leaves: N rows, the vector of each id.
        leaf_bias: (N,).
        branches: M (1 + P) rows, first those of the branch that leads to node 0. Nothing leads to the root.
        branch_bias: (M, 1 + P).
        child: (M, V) int32, what each token leads to in each node; see `vitdsi.ids.trie`.
    """

    compares = True
    child: Tensor

    def __init__(self, config: ModelConfig, trie: Trie, row_bytes: int | None = None) -> None:
        super().__init__(config, trie)
        self.steer = nn.Linear(config.embed_dim, config.embedding_dim)
        nn.init.zeros_(self.steer.weight)
        nn.init.zeros_(self.steer.bias)
        self.log_scale = nn.Parameter(torch.tensor(INITIAL_SCALE).log())
        mixed = 1 + config.prototypes
        if row_bytes is None:
            self.centres = None
            self.leaves: Rows = FloatRows(len(trie.live), config.embedding_dim)
            branches = FloatRows(trie.num_nodes * mixed, config.embedding_dim)
            branches.weight.requires_grad_(trie.num_nodes * mixed <= MAX_TRAINED_BRANCH_ROWS)
            self.branches: Rows = branches
        else:
            self.centres = Centres(config.embedding_dim, row_bytes)
            self.leaves = CodedRows(len(trie.live), self.centres)
            self.branches = CodedRows(trie.num_nodes * mixed, self.centres, cached=True)
        self.leaf_bias = nn.Parameter(torch.zeros(len(trie.live)))
        bias = torch.full((trie.num_nodes, mixed), _UNUSED_BIAS)
        bias[:, 0] = 0.0
        self.branch_bias = nn.Parameter(bias)
        self.register_buffer("child", trie.tree.small_child, persistent=False)
        used = torch.nonzero((self.child != NONE).any(0))
        self._width = int(used[-1]) + 1 if len(used) else 1  # tokens from here on lead nowhere

    def forward(self, hidden: Tensor, embedding: Tensor | None, nodes: Tensor) -> Tensor:
        assert embedding is not None
        query = ((embedding[:, None] + self.steer(hidden)) * self.log_scale.exp()).flatten(0, 1)
        flat = nodes.flatten()
        inside = torch.nonzero(flat != NONE).squeeze(1)
        at, order = torch.sort(flat[inside], stable=True)
        inside = inside[order]
        present, counts = torch.unique_consecutive(at, return_counts=True)
        apart = (counts > _CROWDED) | (self.child[present] >= 0).any(1)
        place_apart = apart.repeat_interleave(counts)
        scores = query.new_zeros(len(flat), self._width)
        for alone, score in ((True, self._one_by_one), (False, self._together)):
            chosen = apart == alone
            if bool(chosen.any()):
                places = inside[place_apart == alone]
                scores = scores.index_copy(0, places, score(query[places], present[chosen], counts[chosen]))
        scores = F.pad(scores, (0, self.child.shape[1] - self._width), value=-torch.inf)
        return scores.view(*nodes.shape, -1)

    def _together(self, query: Tensor, nodes: Tensor, counts: Tensor) -> Tensor:
        """Scores (n, W) of queries (n, E), of which `counts` (d,) are in each of the nodes (d,).

        The nodes have no inner children. One product of stacked matrices serves all nodes.
        """
        group = torch.arange(len(nodes), device=nodes.device).repeat_interleave(counts)
        slot = torch.arange(len(query), device=nodes.device) - (counts.cumsum(0) - counts)[group]
        stacked = query.new_zeros(len(nodes), int(counts.max()), query.shape[1])
        stacked = stacked.index_put((group, slot), query)
        children = self.child[nodes, : self._width].long()
        used = int(torch.nonzero((children != NONE).any(0))[-1]) + 1
        missing = children[:, :used] == NONE
        ids = leaf(children[:, :used]).masked_fill(missing, 0)
        scores = self.leaves.products(stacked, ids) + self.leaf_bias[ids][:, None]
        scores = scores.masked_fill(missing[:, None], -torch.inf)[group, slot]
        return F.pad(scores, (0, self._width - used), value=-torch.inf)

    def _one_by_one(self, query: Tensor, nodes: Tensor, counts: Tensor) -> Tensor:
        """The same as `_together` for nodes of any kind, with matrix products for each of them."""
        children = self.child[nodes, : self._width].long()
        at_leaf, leaf_tokens = torch.nonzero(children < NONE, as_tuple=True)
        at_inner, inner_tokens = torch.nonzero(children >= 0, as_tuple=True)
        ids, below = leaf(children[at_leaf, leaf_tokens]), children[at_inner, inner_tokens]
        of_leaf, of_inner = (torch.bincount(x, minlength=len(nodes)).tolist() for x in (at_leaf, at_inner))
        scores = []
        for q, tokens, rows, bias, more_tokens, more_rows, more_bias in zip(
            torch.split(query, counts.tolist()),
            torch.split(leaf_tokens, of_leaf),
            torch.split(self.leaves.take(ids), of_leaf),
            torch.split(self.leaf_bias[ids], of_leaf),
            torch.split(inner_tokens, of_inner),
            self._rows_of_branches(below, of_inner),
            torch.split(self.branch_bias[below], of_inner),
            strict=True,
        ):
            score = q.new_full((len(q), self._width), -torch.inf)
            if len(tokens):
                score = score.index_copy(1, tokens, torch.addmm(bias, q, rows.T))
            if len(more_tokens):
                each = (q @ more_rows.flatten(0, 1).T).view(len(q), *more_bias.shape) + more_bias
                score = score.index_copy(1, more_tokens, each.logsumexp(-1))
            scores.append(score)
        return torch.cat(scores)

    def _rows_of_branches(self, below: Tensor, counts: list[int]) -> Sequence[Tensor]:
        """Return the rows (c, 1 + P, E) of the branches to inner children (n,) of nodes with `counts` of these each.

        In training, the rows of all nodes are read at once, so that the gradient is put together once. Inner children
        of a node have consecutive numbers, so that a search reads their rows without a copy.
        """
        mixed = self.branch_bias.shape[1]
        if torch.is_grad_enabled() and self.branches.trained:
            parts = torch.arange(mixed, device=below.device)
            return torch.split(self.branches.take(below[:, None] * mixed + parts), counts)
        first = [int(part[0]) if len(part) else 0 for part in torch.split(below, counts)]
        return [
            self.branches.between(node * mixed, (node + count) * mixed).view(
                count, mixed, self.steer.out_features
            )
            for node, count in zip(first, counts, strict=True)
        ]

    def parameters_from_features(self) -> list[Tensor]:
        centres = [] if self.centres is None else [self.centres.values]
        return [*self.leaves.parameters(), *self.branches.parameters(), *centres]

    @torch.no_grad()
    def imprint(
        self, trie: Trie, ids: Tensor, embeddings: Tensor, seed: int, *, known: Tensor | None = None
    ) -> None:
        """Make the head rank `ids` nearly as nearest neighbours would (weight imprinting, Qi et al. 2018).

        The vector of an id becomes the image's embedding. The first row of a branch to a node becomes the mean of the
        embeddings below it, and its prototypes their k-means centres. Where a node is known already, the bias of an id
        becomes the mean bias of the other ids in it.
        """
        self.leaves.put(ids, embeddings)
        if known is not None:
            last, _ = trie.last_edges(ids)
            for node in torch.unique(last[known[last]]):
                children = trie.tree.children_of(node)
                below = leaf(children[children < NONE])
                new = torch.isin(below, ids)
                self.leaf_bias[below[new]] = (
                    self.leaf_bias[below[~new]].mean() if not bool(new.all()) else 0.0
                )
        mixed = self.branch_bias.shape[1]
        for t in range(1, trie.max_length):
            nodes, order = torch.sort(trie.nodes[ids, t], stable=True)
            present, counts = torch.unique_consecutive(nodes, return_counts=True)
            for node, members in zip(present.tolist(), torch.split(order, counts.tolist()), strict=True):
                if node == NONE or (known is not None and bool(known[node])):
                    continue
                self.branches.put(torch.tensor([node * mixed]), embeddings[members].mean(0, keepdim=True))
                if mixed == 1:
                    continue
                centres, sizes = _centres(embeddings[members], mixed - 1, seed)
                self.branches.put(node * mixed + 1 + torch.arange(len(centres)), centres)
                self.branch_bias[node, 0] = float(np.log(len(members)))
                self.branch_bias[node, 1 : 1 + len(centres)] = sizes.log()

    @torch.no_grad()
    def graft(self, old: Head, nodes: Tensor, ids: Tensor | None) -> None:
        """Take over the weights of `old`: those of a node or an id move to its new number, others keep theirs."""
        assert isinstance(old, TrieHead)
        if self.centres is not None and old.centres is not None:
            self.centres.load_state_dict(old.centres.state_dict())
        to: Places = slice(len(old.leaf_bias))
        origin = to
        if ids is not None:
            to = torch.nonzero(ids != NONE).squeeze(1)
            origin = ids[to]
        self.leaves.move(old.leaves, to, origin)
        self.leaf_bias[to] = old.leaf_bias[origin].to(self.leaf_bias.device)
        known, mixed = torch.nonzero(nodes != NONE).squeeze(1), self.branch_bias.shape[1]
        rows, theirs = (
            (each[:, None] * mixed + torch.arange(mixed)).flatten() for each in (known, nodes[known])
        )
        self.branches.move(old.branches, rows, theirs)
        self.branch_bias[known] = old.branch_bias[nodes[known]].to(self.branch_bias.device)
        self.steer.load_state_dict(old.steer.state_dict())
        self.log_scale.copy_(old.log_scale)

    def vectors(self, ids: Tensor) -> Tensor:
        """The vectors of the ids, which start as the embeddings of the images."""
        return self.leaves.take(ids)

    def cosines(self, queries: Tensor, ids: Tensor) -> Tensor:
        """See `Head.cosines`. Codes are not decoded for it."""
        return self.leaves.cosines(queries, ids)


def _centres(vectors: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return k-means centres (k, E) of vectors (n, E), and how many vectors belong to each of them (k,).

    k is `count`, or the number of distinct vectors if that is smaller. If k = n, the centres are the vectors.
    """
    if count_distinct(vectors.numpy(), count) == len(vectors):
        return vectors, torch.ones(len(vectors))
    centres, clusters = kmeans(vectors.numpy(), count, seed, _MAX_ITERATIONS)
    sizes = torch.bincount(torch.from_numpy(clusters), minlength=len(centres)).float()
    return torch.from_numpy(centres), sizes.clamp(min=1)
