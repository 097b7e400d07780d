"""The base class of stems: image tokens for the encoder, and the image's embedding if the stem makes it itself."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from vitdsi.config import ModelConfig
from vitdsi.model.categories import Categories
from vitdsi.model.pictures import Pictures


class Stem(nn.Module):
    """Turns the features of images into image tokens.

    Every stem implements `forward`. A stem that makes the embedding of an image itself sets `embeds` and implements
    `embedding`, `tokens`, `fit` and `parameters_from_features` as well. With other stems, the embedding is made of the
    last hidden states of the image.

    Args:
        config: sizes of the model.
        input_shape: the shape of one image's features, without the batch axis.

    Attributes:
        reads: the kind of features that the stem reads, which the backbone must give (`Backbone.shapes`).
        embeds: whether the stem makes the embeddings of images.
        categories: how many numbers at the end of an embedding compare what photos show; the others compare pictures.
            0 if the embedding has no such part.
    """

    reads: ClassVar[str] = "pooled"
    embeds: ClassVar[bool] = False
    categories: int = 0

    def __init__(self, config: ModelConfig, input_shape: tuple[int, ...]) -> None:
        super().__init__()

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """Image tokens (B, T, D) and embeddings (B, E) of features (B, *input_shape).

        Features are floating-point, and pixels are in 0..1. The embeddings are None if the stem does not make them.
        """
        raise NotImplementedError

    def embedding(self, features: Tensor) -> Tensor:
        """Embeddings (B, E), unit vectors, of features (B, *input_shape)."""
        raise NotImplementedError(f"{type(self).__name__} makes no embeddings")

    def tokens(self, embeddings: Tensor) -> Tensor:
        """Image tokens (B, T, D) of embeddings (B, E), for stems that make their tokens of them."""
        raise NotImplementedError(f"{type(self).__name__} makes no embeddings")

    def fit(self, pictures: Pictures, categories: Categories | None) -> Tensor:
        """Set the weights that start from the features of the collection.

        Args:
            pictures: what was learned about pictures.
            categories: what was learned about categories; None if the embedding has no part for them.

        Returns:
            The vectors (N, E) that a head should start from for the images of the collection.
        """
        raise NotImplementedError(f"{type(self).__name__} has no weights that start from features")

    def parameters_from_features(self) -> list[Tensor]:
        """The parameters that `fit` sets. They are trained at a lower rate than the others."""
        return []
