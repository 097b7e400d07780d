"""Positions of image tokens: learned, or fixed sines and cosines in one or two dimensions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vitdsi.errors import ConfigError


class Positions(nn.Module):
    """Adds a position to every token of a grid.

    Args:
        kind: learned, sincos2d or sincos1d.
        height, width: cells of the grid; tokens are given row by row.
        embed_dim: channels of a token.
    """

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
            raise ConfigError(f"model.paper.positions is {kind!r}; choose learned, sincos2d or sincos1d")
        self.register_buffer("table", table, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, height * width, D), each with its position added."""
        return tokens + self.table


def sinusoidal_positions(count: int, dim: int) -> Tensor:
    """Sine-cosine positions (count, dim) in one dimension (Vaswani et al. 2017, section 3.5)."""
    frequency = torch.exp(torch.arange(0, dim, 2) * (-math.log(10_000.0) / dim))
    angle = torch.arange(count)[:, None] * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :dim]


def sinusoidal_positions_2d(height: int, width: int, dim: int) -> Tensor:
    """Sine-cosine positions (height * width, dim): half of the channels tell the row, the others the column."""
    rows = sinusoidal_positions(height, dim // 2)[:, None].expand(height, width, dim // 2)
    columns = sinusoidal_positions(width, dim - dim // 2)[None].expand(height, width, dim - dim // 2)
    return torch.cat([rows, columns], dim=-1).reshape(height * width, dim)
