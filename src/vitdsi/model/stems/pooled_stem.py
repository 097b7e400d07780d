"""The pooled stem: a frozen backbone's pooled vector, projected to the embedding and widened to a few tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitdsi.config import ModelConfig
from vitdsi.model.categories import Categories
from vitdsi.model.pictures import Pictures, picture_rows, signed_root
from vitdsi.model.stems.base import Stem

CATEGORY_SHARE = 0.3  # of the squared length of an embedding, which the category part has
NUM_TOKENS = 4  # Image tokens that are widened from the embedding; 1 and 8 were not clearly better or worse.


class PooledStem(Stem):
    """Pooled features (B, F) to embeddings (B, E) and image tokens (B, T, D).

    An embedding has two parts. The first compares pictures (see `vitdsi.model.pictures`). The second, of
    `config.categories` numbers, compares what photos show (see `vitdsi.model.categories`).

    Attributes:
        mean: (F,) mean of the signed roots over the collection.
        category_mean: (F,) mean of the features over the collection.
    """

    embeds = True
    mean: Tensor
    category_mean: Tensor

    def __init__(self, config: ModelConfig, input_shape: tuple[int, ...]) -> None:
        super().__init__(config, input_shape)
        (width,) = input_shape
        self.categories = config.categories
        self.num_tokens = NUM_TOKENS
        self.register_buffer("mean", torch.zeros(width))
        self.principal = nn.Linear(width, config.pictures, bias=False)
        if self.categories:
            self.register_buffer("category_mean", torch.zeros(width))
            self.category = nn.Linear(width, config.categories, bias=False)
        self.widen = nn.Linear(config.embedding_dim, self.num_tokens * config.embed_dim)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.embedding(features)
        return self.tokens(embedding), embedding

    def tokens(self, embeddings: Tensor) -> Tensor:
        tokens: Tensor = self.widen(embeddings * embeddings.shape[1] ** 0.5)
        return tokens.view(len(embeddings), self.num_tokens, self.widen.out_features // self.num_tokens)

    def embedding(self, features: Tensor) -> Tensor:
        picture = F.normalize(self.principal(signed_root(features) - self.mean), dim=-1)
        if not self.categories:
            return picture
        return join(picture, F.normalize(self.category(features - self.category_mean), dim=-1))

    @torch.no_grad()
    def fit(self, pictures: Pictures, categories: Categories | None) -> Tensor:
        self.mean.copy_(pictures.mean)
        self.principal.weight.copy_(pictures.weight)
        if categories is None:
            return pictures.rows
        self.category_mean.copy_(categories.mean)
        self.category.weight.copy_(categories.weight)
        return join(pictures.rows, categories.rows)

    @torch.no_grad()
    def drawn_to_views(self, embeddings: Tensor, features: Tensor, views: Tensor) -> Tensor:
        """Return vectors (n, E) for images with these embeddings (n, E), features (n, F) and hard views (n, V, F).

        Their picture part is what `fit` would give images of a new collection.
        """
        rows = picture_rows(features, views, self.mean.cpu(), self.principal.weight.cpu())
        width = rows.shape[1]
        lengths = embeddings[:, :width].norm(dim=1, keepdim=True)
        return torch.cat([lengths * rows, embeddings[:, width:]], dim=1)

    def parameters_from_features(self) -> list[Tensor]:
        return [self.principal.weight, *([self.category.weight] if self.categories else [])]


def join(picture: Tensor, category: Tensor) -> Tensor:
    """Join unit vectors (*S, D) and (*S, C) to embeddings (*S, D + C) of unit length."""
    return torch.cat([(1 - CATEGORY_SHARE) ** 0.5 * picture, CATEGORY_SHARE**0.5 * category], dim=-1)
