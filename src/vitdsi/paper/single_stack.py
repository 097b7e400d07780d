"""The paper's architecture, a single stack: one sequence of patches and digits, without an encoder.

Patches attend to all patches, digits to all patches and to the digits before them. Patches never attend to digits, so
they are read once for all ids: their keys and values in each block are the memory that all beams share.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vitdsi.config import ModelConfig
from vitdsi.model.architectures import DecoderState, IdDecoder, KeysValues, Memory
from vitdsi.model.layers import EncoderBlock


class _Block(EncoderBlock):
    """An encoder block in two halves, so that its tokens can also attend to the keys and values of other tokens."""

    def keys_values(self, x: Tensor) -> tuple[Tensor, KeysValues]:
        """The normalised tokens (B, T, D), and their keys and values, each (B, H, T, D / H)."""
        normed = self.norm_attention(x)
        return normed, self.attention.keys_values(normed)

    def add(self, x: Tensor, attended: Tensor) -> Tensor:
        """Add the output of attention to x, then that of the feed-forward network."""
        x = x + self.dropout(attended)
        out: Tensor = x + self.feed_forward(self.norm_feed_forward(x))
        return out


class SingleStack(IdDecoder):
    """A decoder-only transformer of `config.depth` blocks over patch tokens, then digits."""

    needs_encoder = False

    def __init__(self, config: ModelConfig, num_tokens: int, max_length: int) -> None:
        super().__init__(config, num_tokens, max_length)
        self.blocks: list[_Block] = nn.ModuleList(  # type: ignore[assignment]
            _Block(config.embed_dim, config.num_heads, config.mlp_dim, config.paper.dropout)
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.embed_dim)

    def read(self, image: Tensor) -> tuple[Memory, Tensor]:
        memory, x = [], image
        for block in self.blocks:
            normed, own = block.keys_values(x)
            memory.append(own)
            x = block.add(x, block.attention(normed, own))
        return memory, self.norm(x)

    def forward(self, tokens: Tensor, image: Tensor, *, digits_alone: bool = False) -> Tensor:
        """The last hidden states (B, S + L, D) of patch tokens (B, S, D) and the digits (B, L) after them.

        The digits begin with BOS. With `digits_alone`, the last block does not compute the patches, and only the hidden
        states (B, L, D) of the digits are returned.
        """
        count, length = image.shape[1], tokens.shape[1]
        x = torch.cat([image, self.embed(tokens) + self.positions[:length]], dim=1)
        sees = torch.ones(count + length, count + length, dtype=torch.bool, device=x.device).tril()
        sees[:count, :count] = True
        for number, block in enumerate(self.blocks, 1):
            first = count if digits_alone and number == len(self.blocks) else 0
            normed, own = block.keys_values(x)
            x = block.add(x[:, first:], block.attention(normed[:, first:], own, mask=sees[first:]))
        out: Tensor = self.norm(x)
        return out

    def teacher_forced(
        self, tokens: Tensor, image: Tensor, embed: Callable[[Tensor], Tensor] | None
    ) -> tuple[Tensor, Tensor | None]:
        if embed is None:
            return self(tokens, image, digits_alone=True), None
        hidden, count = self(tokens, image), image.shape[1]
        return hidden[:, count:], embed(hidden[:, :count])

    def step(self, tokens: Tensor, position: int, state: DecoderState) -> Tensor:
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
    """Attention of beams (B, K, D) over the patches that they share (B, H, S, d) and their own digits (B, K, H, t, d).

    One softmax is taken over both. The keys and values of the patches are not copied for each beam.
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
