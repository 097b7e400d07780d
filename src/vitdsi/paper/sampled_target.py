"""The paper's retrieval target: the digits of one sampled relevant id, instead of the exact marginal."""

from __future__ import annotations

from torch import Tensor

from vitdsi.ids.trie import Trie
from vitdsi.training.targets import Relevance, one_hot_targets


def sampled_target(relevance: Relevance, trie: Trie, rows: Tensor, ids: Tensor) -> Tensor:
    """One-hot targets (B, L, V) of the sampled ids (B,); the other relevant ids of the rows (B,) are ignored."""
    return one_hot_targets(trie, ids)
