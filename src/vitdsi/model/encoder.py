"""The ViT encoder: tokens of an image to the memory that the decoder reads."""

from __future__ import annotations

from torch import Tensor, nn

from vitdsi.config import ModelConfig
from vitdsi.model.layers import EncoderBlock


class Encoder(nn.Module):
    """Patch tokens (B, T, D) to memory (B, T, D)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            EncoderBlock(config.embed_dim, config.num_heads, config.mlp_dim, config.dropout)
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.embed_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens)
        out: Tensor = self.norm(tokens)
        return out
