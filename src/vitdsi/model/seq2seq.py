"""The whole model: image in, scores of the next digit out. Images are `inputs`, in the form that the stem reads."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitdsi.config import ModelConfig
from vitdsi.errors import ConfigError
from vitdsi.model.decoder import Decoder, DecoderState, KeysValues
from vitdsi.model.encoder import Encoder
from vitdsi.model.head import DigitHead, TrieHead
from vitdsi.model.patches import MapTokens, PixelPatches, PooledTokens
from vitdsi.model.single_stack import SingleStack
from vitdsi.trie import Trie

# What the decoder reads of an image: (B, S, D), or the keys and values of a single stack's blocks.
Memory = Tensor | list[KeysValues]


class Seq2Seq(nn.Module):
    """From an image to the scores of its id's digits: encoder and decoder, or one stack for both.

    Args:
        config: the sizes.
        trie: the ids; it gives the tokens, the longest code L and, for the trie head, the nodes.
        input_shape: one image's input without the batch axis: (3, S, S), (G * G, C) or (F,).
    """

    def __init__(
        self,
        config: ModelConfig,
        trie: Trie,
        input_shape: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.config = config
        self.input_shape = input_shape
        self.vocabulary = trie.vocabulary
        outputs = trie.vocabulary.outputs
        if config.stem == "pixels":
            self.stem: nn.Module = PixelPatches(config)
        elif config.stem == "map":
            self.stem = MapTokens(config, input_shape[1], round(input_shape[0] ** 0.5))
        elif config.stem == "pooled":
            self.stem = PooledTokens(config, input_shape[0])
        else:
            raise ConfigError(f"model.stem is {config.stem!r}; choose pooled, map or pixels")
        self.summarise: nn.Module = nn.Identity()
        if config.head == "trie" and config.stem != "pooled":
            self.summarise = nn.Linear(config.embed_dim, config.head_dim, bias=False)
        self.encoder: nn.Module = nn.Identity()
        if config.architecture == "single_stack":
            self.decoder: Decoder | SingleStack = SingleStack(config, outputs + 1, trie.max_length)
        elif config.architecture == "encoder_decoder":
            self.encoder = Encoder(config)
            self.decoder = Decoder(config, outputs + 1, trie.max_length)
        else:
            raise ConfigError(
                f"model.architecture is {config.architecture!r}; choose encoder_decoder or single_stack"
            )
        if config.head == "trie":
            self.head: TrieHead | DigitHead = TrieHead(config, outputs, trie)
        elif config.head == "digits":
            self.head = DigitHead(config, outputs)
        else:
            raise ConfigError(f"model.head is {config.head!r}; choose trie or digits")

    def encode(self, inputs: Tensor) -> tuple[Memory, Tensor]:
        """Inputs (B, *input_shape) -> memory, (B, S, D) where there is an encoder, and summary (B, head_dim), unit
        vectors for the head."""
        tokens, summary = self._see(inputs)
        if isinstance(self.decoder, SingleStack):
            memory, hidden = self.decoder.read(tokens)
        else:
            memory = hidden = self.encoder(tokens)
        return memory, self._summary(hidden) if summary is None else summary

    def _see(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """The stem's tokens (B, T, D), and the summary where the stem makes it."""
        if not isinstance(self.stem, PooledTokens):
            return self.stem(inputs), None
        summary = self.stem.summary(inputs)
        return self.stem(summary), summary

    def _summary(self, hidden: Tensor) -> Tensor:
        """The summary (B, head_dim) where it is made of the image's last hidden states (B, T, D)."""
        return F.normalize(self.summarise(hidden.mean(1)), dim=-1)

    def forward(self, inputs: Tensor, codes: Tensor, nodes: Tensor) -> Tensor:
        """Teacher forcing, one forward over all digits.

        Inputs (B, *input_shape), codes (B, L) to be written and the nodes (B, L) they are written in -> scores
        (B, L, V) of each token given those before it.
        """
        begin = torch.full_like(codes[:, :1], self.vocabulary.bos)
        written = torch.cat([begin, codes[:, :-1]], dim=1)
        if isinstance(self.decoder, SingleStack):
            tokens, summary = self._see(inputs)
            needs_none = summary is not None or isinstance(self.head, DigitHead)
            hidden: Tensor = self.decoder(written, tokens, digits_alone=needs_none)
            if not needs_none:
                summary = self._summary(hidden[:, : tokens.shape[1]])
            hidden = hidden[:, -codes.shape[1] :]
        else:
            memory, summary = self.encode(inputs)
            hidden = self.decoder(written, memory)
        scores: Tensor = self.head(hidden, summary, nodes)
        return scores

    def start(self, memory: Memory) -> DecoderState:
        """Decoding state before the first digit."""
        state: DecoderState = self.decoder.start(memory)  # type: ignore[arg-type]  # of its own kind
        return state

    def step(
        self, tokens: Tensor, nodes: Tensor, position: int, summary: Tensor, state: DecoderState
    ) -> Tensor:
        """Last tokens (B, K), the nodes (B, K) reached -> scores (B, K, V) of the next token."""
        scores: Tensor = self.head(self.decoder.step(tokens, position, state), summary, nodes)
        return scores
