"""The pixel stem: one token for every square patch of an image, as in ViT and in the paper."""

from __future__ import annotations

from torch import Tensor, nn

from vitdsi.config import ModelConfig
from vitdsi.errors import ConfigError
from vitdsi.model.positions import Positions
from vitdsi.model.stems.base import Stem


class PixelStem(Stem):
    """Pixels (B, 3, S, S) in 0..1 to image tokens (B, (S / patch_size)^2, D) (Dosovitskiy et al. 2021, equation 1)."""

    reads = "pixels"

    def __init__(self, config: ModelConfig, input_shape: tuple[int, ...]) -> None:
        super().__init__(config, input_shape)
        size = input_shape[-1]
        if size % config.paper.patch_size:
            raise ConfigError(
                f"model.paper.patch_size {config.paper.patch_size} does not divide model.paper.image_size {size}"
            )
        side = size // config.paper.patch_size
        self.project = nn.Conv2d(3, config.embed_dim, config.paper.patch_size, config.paper.patch_size)
        self.positions = Positions(config.paper.positions, side, side, config.embed_dim)

    def forward(self, features: Tensor) -> tuple[Tensor, None]:
        tokens: Tensor = self.positions(self.project(features * 2 - 1).flatten(2).transpose(1, 2))
        return tokens, None
