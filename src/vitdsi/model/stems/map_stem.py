"""The map stem: one token for every cell of a frozen backbone's last feature map."""

from __future__ import annotations

from torch import Tensor, nn

from vitdsi.config import ModelConfig
from vitdsi.model.positions import Positions
from vitdsi.model.stems.base import Stem


class MapStem(Stem):
    """Feature maps (B, G * G, C) to image tokens (B, G * G, D): the hybrid of ViT (Dosovitskiy et al. 2021, 3.1)."""

    reads = "map"

    def __init__(self, config: ModelConfig, input_shape: tuple[int, ...]) -> None:
        super().__init__(config, input_shape)
        cells, channels = input_shape
        side = round(cells**0.5)
        self.norm = nn.LayerNorm(channels)
        self.project = nn.Linear(channels, config.embed_dim)
        self.positions = Positions(config.paper.positions, side, side, config.embed_dim)

    def forward(self, features: Tensor) -> tuple[Tensor, None]:
        tokens: Tensor = self.positions(self.project(self.norm(features)))
        return tokens, None
