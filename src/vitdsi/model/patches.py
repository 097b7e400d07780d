"""Stems: what turns an image into the encoder's tokens.

`pixels` cuts patches as in the paper (Dosovitskiy et al. 2021). `map` and `pooled` are the hybrid of that paper's
section 3.1 over a frozen backbone: every cell of its last feature map, or a few tokens read from its pooled vector.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitdsi.config import ModelConfig
from vitdsi.errors import ConfigError
from vitdsi.model.layers import sinusoidal_positions, sinusoidal_positions_2d


class Positions(nn.Module):
    """Adds a position to every token of a grid: learned, or fixed sine-cosine in one or two dimensions."""

    def __init__(self, kind: str, height: int, width: int, embed_dim: int) -> None:
        super().__init__()
        if kind == "learned":
            self.table: Tensor = nn.Parameter(torch.randn(height * width, embed_dim) * 0.02)
            return
        if kind == "sincos2d":
            table = sinusoidal_positions_2d(height, width, embed_dim)
        elif kind == "sincos1d":
            table = sinusoidal_positions(height * width, embed_dim)
        else:
            raise ConfigError(f"model.positions is {kind!r}; choose learned, sincos2d or sincos1d")
        self.register_buffer("table", table, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens + self.table


class PixelPatches(nn.Module):
    """Pixels (B, 3, S, S), float in 0..1, to patch tokens (B, (S / patch_size)^2, D)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if config.image_size % config.patch_size:
            raise ConfigError(
                f"model.patch_size {config.patch_size} does not divide model.image_size {config.image_size}"
            )
        side = config.image_size // config.patch_size
        self.project = nn.Conv2d(3, config.embed_dim, config.patch_size, config.patch_size)
        self.positions = Positions(config.positions, side, side, config.embed_dim)

    def forward(self, pixels: Tensor) -> Tensor:
        out: Tensor = self.positions(self.project(pixels * 2 - 1).flatten(2).transpose(1, 2))
        return out


class MapTokens(nn.Module):
    """A frozen feature map (B, G * G, C) to tokens (B, G * G, D)."""

    def __init__(self, config: ModelConfig, channels: int, side: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.project = nn.Linear(channels, config.embed_dim)
        self.positions = Positions(config.positions, side, side, config.embed_dim)

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.positions(self.project(self.norm(features)))
        return out


class PooledTokens(nn.Module):
    """A frozen pooled vector, projected once (B, head_dim), to `memory_tokens` tokens (B, T, D).

    What is projected is the root of each number, so that a few loud channels do not drown the others (the power
    normalisation of Perronnin et al. 2010; EXPERIMENTS.md).
    """

    mean: Tensor

    def __init__(self, config: ModelConfig, features: int) -> None:
        super().__init__()
        self.tokens = config.memory_tokens
        self.register_buffer("mean", torch.zeros(features))
        self.principal = nn.Linear(features, config.head_dim, bias=False)
        self.widen = nn.Linear(config.head_dim, config.memory_tokens * config.embed_dim)

    def summary(self, pooled: Tensor) -> Tensor:
        """(B, F) -> unit vectors (B, head_dim)."""
        return F.normalize(self.principal(rooted(pooled) - self.mean), dim=-1)

    def forward(self, summary: Tensor) -> Tensor:
        tokens: Tensor = self.widen(summary * summary.shape[1] ** 0.5)
        return tokens.view(len(summary), self.tokens, -1)


def rooted(pooled: Tensor) -> Tensor:
    """The square root of each number, with the number's sign."""
    return pooled.sign() * pooled.abs().sqrt()
