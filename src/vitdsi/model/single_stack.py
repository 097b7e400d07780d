"""The paper's single stack: patches and digits in one sequence, without an encoder of their own.

Patches attend to all patches, digits to all patches and to the digits before them. Patches never see digits, so they
are read once, whatever is written: their keys and values in each block are the memory, shared by all beams.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitdsi.config import ModelConfig
from vitdsi.model.decoder import DecoderState, KeysValues
from vitdsi.model.layers import EncoderBlock


class _Block(EncoderBlock):
    """An encoder block whose tokens may also attend to keys and values from outside."""

    def keys_values(self, x: Tensor) -> tuple[Tensor, KeysValues]:
        """Tokens (B, T, D) -> normalised, and their keys and values, two of (B, H, T, D / H)."""
        normed = self.norm_attention(x)
        return normed, self.attention.keys_values(normed)

    def add(self, x: Tensor, attended: Tensor) -> Tensor:
        """What attention found, then the feed-forward."""
        x = x + self.dropout(attended)
        out: Tensor = x + self.feed_forward(self.norm_feed_forward(x))
        return out


class SingleStack(nn.Module):
    """A decoder-only transformer over patch tokens, then digits.

    Args:
        config: `depth` blocks.
        num_tokens: digits, EOS, PAD and BOS.
        max_length: digits of the longest code, L.
    """

    def __init__(self, config: ModelConfig, num_tokens: int, max_length: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(num_tokens, config.embed_dim)
        self.positions = nn.Parameter(torch.randn(max_length, config.embed_dim) * 0.02)
        nn.init.normal_(self.embed.weight, std=0.02)
        self.blocks: list[_Block] = nn.ModuleList(  # type: ignore[assignment]
            _Block(config.embed_dim, config.num_heads, config.mlp_dim, config.dropout)
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.embed_dim)

    def read(self, patches: Tensor) -> tuple[list[KeysValues], Tensor]:
        """Patch tokens (B, S, D) -> the memory, one (keys, values) a block, and the last hidden states (B, S, D)."""
        memory, x = [], patches
        for block in self.blocks:
            normed, own = block.keys_values(x)
            memory.append(own)
            x = block.add(x, block.attention(normed, own))
        return memory, self.norm(x)

    def forward(self, tokens: Tensor, patches: Tensor, *, digits_alone: bool = False) -> Tensor:
        """Teacher forcing in one pass: patch tokens (B, S, D), then digits (B, L) beginning with BOS.

        Gives the last hidden states (B, S + L, D); with `digits_alone` those of the digits (B, L, D), which saves the
        last block's work on patches.
        """
        count, length = patches.shape[1], tokens.shape[1]
        x = torch.cat([patches, self.embed(tokens) + self.positions[:length]], dim=1)
        sees = torch.ones(count + length, count + length, dtype=torch.bool, device=x.device).tril()
        sees[:count, :count] = True
        for number, block in enumerate(self.blocks, 1):
            first = count if digits_alone and number == len(self.blocks) else 0
            normed, own = block.keys_values(x)
            x = block.add(x[:, first:], block.attention(normed[:, first:], own, mask=sees[first:]))
        out: Tensor = self.norm(x)
        return out

    def start(self, memory: list[KeysValues]) -> DecoderState:
        """The state before the first digit."""
        return DecoderState(memory, [])

    def step(self, tokens: Tensor, position: int, state: DecoderState) -> Tensor:
        """The last written tokens (B, K) at `position` -> hidden states (B, K, D); `state` grows by one digit."""
        x = self.embed(tokens) + self.positions[position]
        batch, beams, dim = x.shape
        past = []
        for i, block in enumerate(self.blocks):
            normed, own = block.keys_values(x.view(batch * beams, 1, dim))
            key, value = (part.view(batch, beams, *part.shape[1:]) for part in own)
            if state.past:
                key = torch.cat([state.past[i][0], key], dim=3)
                value = torch.cat([state.past[i][1], value], dim=3)
            past.append((key, value))
            x = block.add(x, _attend(block, normed.view(batch, beams, dim), state.memory[i], (key, value)))
        state.past = past
        out: Tensor = self.norm(x)
        return out


def _attend(block: _Block, normed: Tensor, memory: KeysValues, past: KeysValues) -> Tensor:
    """Attention of beams (B, K, D) to the patches they share (B, H, S, d) and to their own digits (B, K, H, t, d).

    One softmax over both, without a copy of the patches for each beam.
    """
    attention = block.attention
    batch, beams, dim = normed.shape
    query = attention.query(normed).view(batch, beams, attention.num_heads, -1).transpose(1, 2)
    shared = query @ memory[0].transpose(2, 3)  # (B, H, K, S)
    own = torch.einsum("bhkd,bkhtd->bhkt", query, past[0])
    weights = (torch.cat([shared, own], dim=-1) * query.shape[-1] ** -0.5).softmax(-1)
    on_patches, on_digits = weights.split([shared.shape[-1], own.shape[-1]], dim=-1)
    found = on_patches @ memory[1] + torch.einsum("bhkt,bkhtd->bhkd", on_digits, past[1])
    out: Tensor = attention.out(found.transpose(1, 2).reshape(batch, beams, dim))
    return out
