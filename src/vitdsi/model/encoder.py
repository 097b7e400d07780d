"""The ViT encoder: every token of an image attends to all tokens of the image."""

from __future__ import annotations

from torch import Tensor, nn

from vitdsi.config import ModelConfig
from vitdsi.model.layers import EncoderBlock


class Encoder(nn.Module):
    """Image tokens (B, S, D) to hidden states (B, S, D) in `config.depth` blocks; a layer norm alone if that is 0."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            EncoderBlock(config.embed_dim, config.num_heads, config.mlp_dim, config.paper.dropout)
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.embed_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens)
        out: Tensor = self.norm(tokens)
        return out
