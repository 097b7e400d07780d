"""The space that the product starts from: signed square roots on half-whitened principal axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from vitdsi.collection.resolve import embedding_dim_for
from vitdsi.config import ModelConfig
from vitdsi.evaluation.peers.base import Floats, Given
from vitdsi.model.stems.pooled_stem import PooledStem

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["HalfWhitened"]


class HalfWhitened:
    """The embedding of the stem `pooled` before any training, at the width that an index of this size has."""

    name = "half-whitened"
    needs_labels = False

    def fit(self, given: Given) -> Self:
        width = embedding_dim_for(given.count, ModelConfig().embedding_dim)
        self._stem = PooledStem(ModelConfig(embedding_dim=width), given.indexed.shape[1:])
        self._stem.fit(torch.from_numpy(given.indexed))
        return self

    @torch.inference_mode()
    def embed(self, vectors: Floats) -> Floats:
        embedding: Floats = self._stem.embedding(torch.from_numpy(vectors)).numpy()
        return embedding
