"""The pooled stem: a frozen backbone's pooled vector, projected to the embedding and widened to a few tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitdsi.config import ModelConfig
from vitdsi.model.stems.base import Stem

_WHITENING = 0.5  # 0 leaves the variances of the principal axes as they are, 1 makes them equal.
_SAMPLE = 20_000  # Images that the principal axes are computed from, at most.
NUM_TOKENS = 4  # Image tokens that are widened from the embedding; 1 and 8 were not clearly better or worse.


class PooledStem(Stem):
    """Pooled features (B, F) to embeddings (B, E) and image tokens (B, T, D).

    The embedding is a projection of the signed square roots of the features, so that a few channels of large values do
    not drown the others (power normalisation, Perronnin et al. 2010; EXPERIMENTS.md).

    Attributes:
        mean: (F,) mean of the signed roots over the collection.
    """

    embeds = True
    mean: Tensor

    def __init__(self, config: ModelConfig, input_shape: tuple[int, ...]) -> None:
        super().__init__(config, input_shape)
        (width,) = input_shape
        embedding_dim = config.embedding_dim
        self.num_tokens = NUM_TOKENS
        self.register_buffer("mean", torch.zeros(width))
        self.principal = nn.Linear(width, embedding_dim, bias=False)
        self.widen = nn.Linear(embedding_dim, self.num_tokens * config.embed_dim)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.embedding(features)
        tokens: Tensor = self.widen(embedding * embedding.shape[1] ** 0.5)
        return tokens.view(len(features), self.num_tokens, -1), embedding

    def embedding(self, features: Tensor) -> Tensor:
        return F.normalize(self.principal(signed_root(features) - self.mean), dim=-1)

    @torch.no_grad()
    def fit(self, features: Tensor) -> None:
        """Set the mean and the projection, half-whitened PCA, from the features (N, F) of the collection."""
        roots = signed_root(features)
        mean = roots.mean(0)
        self.mean.copy_(mean)
        self.principal.weight.copy_(_half_whitened_axes(roots - mean, self.principal.out_features))

    def parameters_from_features(self) -> list[Tensor]:
        return [self.principal.weight]


def signed_root(features: Tensor) -> Tensor:
    """The square root of each number's absolute value, with the number's sign."""
    return features.sign() * features.abs().sqrt()


def _half_whitened_axes(centred: Tensor, dim: int) -> Tensor:
    """Principal axes (dim, F) of centred features (N, F), scaled so that axes of high variance count less than in PCA.

    If the features have fewer than `dim` axes of notable variance, as those of few images do, the last rows are zero.
    """
    generator = torch.Generator().manual_seed(0)
    sample = centred[torch.randperm(len(centred), generator=generator)[:_SAMPLE]]
    # In single precision, `eigh` returned NaN for a few images with a duplicate among them.
    values, axes = (part.float() for part in torch.linalg.eigh((sample.T @ sample / len(sample)).double()))
    values, axes = values.flip(0)[:dim].clamp(min=0), axes.flip(1)[:, :dim]
    keep = values > values[0] * 1e-6
    scale = torch.where(
        keep, (values.clamp(min=1e-12) / values[0].clamp(min=1e-12)) ** (-_WHITENING / 2), 0.0
    )
    projection = torch.zeros(dim, centred.shape[1])
    projection[: len(values)] = (axes * scale).T
    return projection
