"""The causal decoder that writes an id, digit by digit, reading the image's memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitdsi.config import ModelConfig
from vitdsi.model.layers import Attention, Dropout, FeedForward

KeysValues = tuple[Tensor, Tensor]


@dataclass
class DecoderState:
    """What decoding keeps between digits.

    memory: one (keys, values) of (B, H, S, D / H) a layer, made once per image and shared by its beams.
    past: one (keys, values) of (B, K, H, t, D / H) a layer, one row a beam.
    """

    memory: list[KeysValues]
    past: list[KeysValues]

    def select(self, beams: Tensor) -> None:
        """Keep the past of `beams` (B, K'), indices into the K beams of each image."""
        rows = torch.arange(len(beams), device=beams.device)[:, None]
        self.past = [(key[rows, beams], value[rows, beams]) for key, value in self.past]


class DecoderBlock(nn.Module):
    """Pre-norm causal self-attention, cross-attention to the memory, feed-forward."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim, heads = config.embed_dim, config.num_heads
        self.norm_self = nn.LayerNorm(dim)
        self.self_attention = Attention(dim, heads)
        self.norm_cross = nn.LayerNorm(dim)
        self.cross_attention = Attention(dim, heads)
        self.norm_feed_forward = nn.LayerNorm(dim)
        self.feed_forward = FeedForward(dim, config.mlp_dim, config.dropout)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, memory: KeysValues) -> Tensor:
        normed = self.norm_self(x)
        past = self.self_attention.keys_values(normed)
        x = x + self.dropout(self.self_attention(normed, past, causal=True))
        return self._read(x, memory)

    def step(self, x: Tensor, memory: KeysValues, past: KeysValues | None) -> tuple[Tensor, KeysValues]:
        """One digit for (B, K, D); returns the hidden states and the past with this digit appended."""
        batch, beams, dim = x.shape
        normed = self.norm_self(x).view(batch * beams, 1, dim)
        key, value = self.self_attention.keys_values(normed)
        key, value = (x.view(batch, beams, *x.shape[1:]) for x in (key, value))
        if past is None:  # one token attends to itself alone
            attended = self.self_attention.out(value.reshape(batch, beams, dim))
        else:
            key, value = torch.cat([past[0], key], dim=3), torch.cat([past[1], value], dim=3)
            attended = self.self_attention(normed, (key.flatten(0, 1), value.flatten(0, 1)))
        return self._read(x + attended.view(batch, beams, dim), memory), (key, value)

    def _read(self, x: Tensor, memory: KeysValues) -> Tensor:
        x = x + self.dropout(self.cross_attention(self.norm_cross(x), memory))
        out: Tensor = x + self.feed_forward(self.norm_feed_forward(x))
        return out


class Decoder(nn.Module):
    """Tokens and memory to hidden states, one a digit to be written."""

    def __init__(self, config: ModelConfig, num_tokens: int, max_length: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(num_tokens, config.embed_dim)
        self.positions = nn.Parameter(torch.randn(max_length, config.embed_dim) * 0.02)
        nn.init.normal_(self.embed.weight, std=0.02)
        self.blocks: list[DecoderBlock] = nn.ModuleList(  # type: ignore[assignment]
            DecoderBlock(config) for _ in range(config.decoder_depth)
        )
        self.norm = nn.LayerNorm(config.embed_dim)

    def forward(self, tokens: Tensor, memory: Tensor) -> Tensor:
        """Teacher forcing: inputs (B, L) beginning with BOS, memory (B, S, D) -> (B, L, D)."""
        x = self.embed(tokens) + self.positions[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x, block.cross_attention.keys_values(memory))
        out: Tensor = self.norm(x)
        return out

    def start(self, memory: Tensor) -> DecoderState:
        """The state before the first digit."""
        return DecoderState([block.cross_attention.keys_values(memory) for block in self.blocks], [])

    def step(self, tokens: Tensor, position: int, state: DecoderState) -> Tensor:
        """The last written tokens (B, K) at `position` -> hidden states (B, K, D); `state` grows by one digit."""
        x = self.embed(tokens) + self.positions[position]
        past = []
        for i, block in enumerate(self.blocks):
            x, kept = block.step(x, state.memory[i], state.past[i] if state.past else None)
            past.append(kept)
        state.past = past
        out: Tensor = self.norm(x)
        return out
