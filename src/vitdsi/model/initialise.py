"""A model that knows the collection before its first step: the trie head's rows solved from frozen features.

Leaf rows become the images' own projected features, branch prototypes the k-means centres of what lies below, so an
untrained model ranks nearly as nearest neighbours do, and training starts from there (weight imprinting, Qi et al.
2018).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vitdsi.model.head import TrieHead
from vitdsi.model.patches import PooledTokens, rooted
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.trie import NONE, Trie

_WHITENING = 0.5


@torch.no_grad()
def initialise(model: Seq2Seq, trie: Trie, features: Tensor, seed: int) -> None:
    """Set the pooled stem's projection and the trie head's rows and prototypes from features (N, F)."""
    if not isinstance(model.stem, PooledTokens):
        return
    features = features.float()
    seen = rooted(features)
    mean = seen.mean(0)
    model.stem.mean.copy_(mean)
    model.stem.principal.weight.copy_(_projection(seen - mean, model.stem.principal.out_features))
    imprint(model, trie, torch.arange(len(features)), model.stem.summary(features), seed)


@torch.no_grad()
def imprint(
    model: Seq2Seq, trie: Trie, ids: Tensor, summaries: Tensor, seed: int, *, known: Tensor | None = None
) -> None:
    """Set the trie head's rows and prototypes on the paths of `ids` (n,) from their summaries (n, head_dim).

    `known` (M,) marks nodes whose branch has learned weights, which stay.
    """
    if not isinstance(model.head, TrieHead):
        return
    head = model.head
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
        head.rows[node, token] = summaries[members].mean(0)
        if child < 0 and known is not None and bool(known[node]):
            siblings = (trie.child[node] < NONE) & (trie.child[node] != child)
            head.bias[node, token] = head.bias[node, siblings].mean() if bool(siblings.any()) else 0.0
        if child >= 0 and len(head.prototypes):
            head.bias[node, token] = float(np.log(len(members)))
            centres, sizes = _centres(summaries[members], head.prototypes.shape[1], seed)
            head.prototypes[child, : len(centres)] = centres
            head.prototype_bias[child, : len(centres)] = sizes.log()


def _projection(centred: Tensor, dim: int) -> Tensor:
    """Half-whitened principal axes (dim, F): axes of high variance count less than in plain PCA.

    Fewer images than `dim` leave rows of zeros.
    """
    generator = torch.Generator().manual_seed(0)
    sample = centred[torch.randperm(len(centred), generator=generator)[:20_000]]
    # in double precision: single gave NaN here for a few images with a duplicate among them
    values, axes = (part.float() for part in torch.linalg.eigh((sample.T @ sample / len(sample)).double()))
    values, axes = values.flip(0)[:dim].clamp(min=0), axes.flip(1)[:, :dim]
    keep = values > values[0] * 1e-6
    scale = torch.where(
        keep, (values.clamp(min=1e-12) / values[0].clamp(min=1e-12)) ** (-_WHITENING / 2), 0.0
    )
    projection = torch.zeros(dim, centred.shape[1])
    projection[: len(values)] = (axes * scale).T
    return projection


def _centres(vectors: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    count = min(count, len(torch.unique(vectors, dim=0)))
    if count == len(vectors):
        return vectors, torch.ones(count)
    with threadpool_limits(limits=1):
        found = KMeans(count, n_init=1, max_iter=10, random_state=seed % 2**31).fit(vectors.numpy())
    sizes = torch.bincount(torch.from_numpy(found.labels_).long(), minlength=count).float()
    return torch.from_numpy(found.cluster_centers_).float(), sizes.clamp(min=1)
