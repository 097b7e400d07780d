"""The causal decoder: writes an id token by token, with cross-attention to the output of the encoder."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vitdsi.config import ModelConfig
from vitdsi.model.architectures import DecoderState, IdDecoder, KeysValues, Memory
from vitdsi.model.layers import Attention, Dropout, FeedForward


class DecoderBlock(nn.Module):
    """Pre-norm causal self-attention, cross-attention to the memory, and a feed-forward network."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim, heads = config.embed_dim, config.num_heads
        self.norm_self = nn.LayerNorm(dim)
        self.self_attention = Attention(dim, heads)
        self.norm_cross = nn.LayerNorm(dim)
        self.cross_attention = Attention(dim, heads)
        self.norm_feed_forward = nn.LayerNorm(dim)
        self.feed_forward = FeedForward(dim, config.mlp_dim, config.paper.dropout)
        self.dropout = Dropout(config.paper.dropout)

    def forward(self, x: Tensor, memory: KeysValues) -> Tensor:
        """Hidden states (B, L, D) of all tokens at once."""
        normed = self.norm_self(x)
        past = self.self_attention.keys_values(normed)
        x = x + self.dropout(self.self_attention(normed, past, causal=True))
        return self._read(x, memory)

    def step(self, x: Tensor, memory: KeysValues, past: KeysValues | None) -> tuple[Tensor, KeysValues]:
        """Hidden states (B, K, D) of one token for each beam, and the past with this token appended."""
        batch, beams, dim = x.shape
        normed = self.norm_self(x).view(batch * beams, 1, dim)
        key, value = self.self_attention.keys_values(normed)
        key, value = (x.view(batch, beams, *x.shape[1:]) for x in (key, value))
        if past is None:  # The first token attends to itself alone.
            attended = self.self_attention.out(value.reshape(batch, beams, dim))
        else:
            key, value = torch.cat([past[0], key], dim=3), torch.cat([past[1], value], dim=3)
            attended = self.self_attention(normed, (key.flatten(0, 1), value.flatten(0, 1)))
        return self._read(x + attended.view(batch, beams, dim), memory), (key, value)

    def _read(self, x: Tensor, memory: KeysValues) -> Tensor:
        x = x + self.dropout(self.cross_attention(self.norm_cross(x), memory))
        out: Tensor = x + self.feed_forward(self.norm_feed_forward(x))
        return out


class Decoder(IdDecoder):
    """A transformer decoder (Vaswani et al. 2017) of `config.decoder_depth` blocks over the encoder's output."""

    def __init__(self, config: ModelConfig, num_tokens: int, max_length: int) -> None:
        super().__init__(config, num_tokens, max_length)
        self.blocks: list[DecoderBlock] = nn.ModuleList(  # type: ignore[assignment]
            DecoderBlock(config) for _ in range(config.decoder_depth)
        )
        self.norm = nn.LayerNorm(config.embed_dim)

    def forward(self, tokens: Tensor, image: Tensor) -> Tensor:
        """Hidden states (B, L, D) of tokens (B, L), beginning with BOS, for images (B, S, D)."""
        x = self.embed(tokens) + self.positions[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x, block.cross_attention.keys_values(image))
        out: Tensor = self.norm(x)
        return out

    def read(self, image: Tensor) -> tuple[Memory, Tensor]:
        return [block.cross_attention.keys_values(image) for block in self.blocks], image

    def teacher_forced(
        self, tokens: Tensor, image: Tensor, embed: Callable[[Tensor], Tensor] | None
    ) -> tuple[Tensor, Tensor | None]:
        embedding = None if embed is None else embed(image)
        return self(tokens, image), embedding

    def step(self, tokens: Tensor, position: int, state: DecoderState) -> Tensor:
        x = self.embed(tokens) + self.positions[position]
        past = []
        for i, block in enumerate(self.blocks):
            x, kept = block.step(x, state.memory[i], state.past[i] if state.past else None)
            past.append(kept)
        state.past = past
        out: Tensor = self.norm(x)
        return out
