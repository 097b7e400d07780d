"""Architectures: the ways from the tokens of an image to the hidden states of an id's tokens."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from vitdsi.config import ModelConfig
from vitdsi.registry import choose

KeysValues = tuple[Tensor, Tensor]
# What a decoder reads of an image: one (keys, values) of (B, H, S, D / H) for each of its layers.
Memory = list[KeysValues]

# The values of the setting `model.paper.architecture`, as "module:class". A class is imported when it is chosen, so
# that only those who use the paper's architecture enter the paper's wing.
ARCHITECTURES = {
    "encoder_decoder": "vitdsi.model.decoder:Decoder",
    "single_stack": "vitdsi.paper.single_stack:SingleStack",
}


@dataclass
class DecoderState:
    """The state between two steps of decoding.

    Attributes:
        memory: keys and values of the images. They are computed once for an image and shared by its beams.
        past: one (keys, values) of (B, K, H, t, D / H) for each layer, of the t tokens that each of the K beams of an
            image has written. Empty before the first step.
    """

    memory: Memory
    past: list[KeysValues]

    def select(self, beams: Tensor) -> None:
        """Keep the past of `beams` (B, K'), which are indices into the K beams of each image."""
        rows = torch.arange(len(beams), device=beams.device)[:, None]
        self.past = [(key[rows, beams], value[rows, beams]) for key, value in self.past]


class IdDecoder(nn.Module):
    """Reads an image and writes ids: the base class of what an architecture puts between stem and head.

    Args:
        config: sizes of the model.
        num_tokens: number of tokens that can be read: digits, EOS, PAD and BOS.
        max_length: tokens of the longest id, L.

    Attributes:
        needs_encoder: whether the tokens of an image pass through the encoder before they are read.
    """

    needs_encoder: ClassVar[bool] = True

    def __init__(self, config: ModelConfig, num_tokens: int, max_length: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(num_tokens, config.embed_dim)
        self.positions = nn.Parameter(torch.randn(max_length, config.embed_dim) * 0.02)
        nn.init.normal_(self.embed.weight, std=0.02)

    def read(self, image: Tensor) -> tuple[Memory, Tensor]:
        """The memory and the last hidden states (B, S, D) of image tokens (B, S, D)."""
        raise NotImplementedError

    def teacher_forced(
        self, tokens: Tensor, image: Tensor, embed: Callable[[Tensor], Tensor] | None
    ) -> tuple[Tensor, Tensor | None]:
        """Read images and all tokens of their ids in one pass.

        Args:
            tokens: (B, L) tokens that have been written, beginning with BOS.
            image: (B, S, D) image tokens.
            embed: makes embeddings (B, E) of the last hidden states (B, S, D) of images; None if they are not wanted.

        Returns:
            The last hidden states (B, L, D) of the tokens, and the embeddings, None if they are not wanted.
        """
        raise NotImplementedError

    def start(self, memory: Memory) -> DecoderState:
        """The state before the first step."""
        return DecoderState(memory, [])

    def step(self, tokens: Tensor, position: int, state: DecoderState) -> Tensor:
        """Hidden states (B, K, D) of the tokens (B, K) that were written last, at `position`.

        The tokens are appended to the past of `state`.
        """
        raise NotImplementedError

    def graft(self, old: IdDecoder) -> None:
        """Take over the weights of `old`, of which only the longest id may differ.

        Positions that `old` did not have keep their weights.
        """
        weights = old.state_dict()
        positions = self.positions.detach().clone()
        shared = min(len(positions), len(weights["positions"]))
        positions[:shared] = weights["positions"][:shared]
        self.load_state_dict({**weights, "positions": positions})


def architecture(name: str) -> type[IdDecoder]:
    """The decoder of the architecture `name`, imported now. Raises ConfigError if there is no such architecture."""
    module, _, class_name = choose(ARCHITECTURES, "model.paper.architecture", name).partition(":")
    found: type[IdDecoder] = getattr(importlib.import_module(module), class_name)
    return found
