"""The head of DSI and of the paper: a digit has the same weights wherever it stands."""

from __future__ import annotations

from torch import Tensor, nn

from vitdsi.config import ModelConfig
from vitdsi.ids.trie import Trie
from vitdsi.model.heads.base import Head


class DigitHead(Head):
    """Scores W h + b, with the same W and b after every prefix."""

    def __init__(self, config: ModelConfig, trie: Trie) -> None:
        super().__init__(config, trie)
        self.out = nn.Linear(config.embed_dim, trie.vocabulary.outputs)

    def forward(self, hidden: Tensor, embedding: Tensor | None, nodes: Tensor) -> Tensor:
        scores: Tensor = self.out(hidden)
        return scores
