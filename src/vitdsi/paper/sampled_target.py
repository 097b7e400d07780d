"""The paper's retrieval target: the digits of one relevant id that was drawn, instead of the exact marginal."""

from __future__ import annotations

from torch import Tensor

from vitdsi.ids.trie import Trie
from vitdsi.training.targets import Relevance, one_hot_targets


def sampled_target(relevance: Relevance, trie: Trie, rows: Tensor, ids: Tensor) -> Tensor:
    """One-hot targets (B, L, V) of the drawn ids (B,), whatever else is relevant to the query rows (B,)."""
    return one_hot_targets(trie, ids)
