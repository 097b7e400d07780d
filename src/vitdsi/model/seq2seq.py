"""The whole model: from the features of an image to the scores of its id's next token."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitdsi.backbones.features import are_pixels, to_inputs
from vitdsi.config import ModelConfig
from vitdsi.ids.trie import Trie
from vitdsi.model.architectures import DecoderState, Memory, architecture
from vitdsi.model.encoder import Encoder
from vitdsi.model.heads import HEADS, Head
from vitdsi.model.stems import STEMS, Stem
from vitdsi.registry import choose

__all__ = ["Memory", "Seq2Seq"]

_BATCH = 256


class Seq2Seq(nn.Module):
    """Stem, encoder, decoder and head.

    The stem turns an image into tokens, the encoder lets them read one another, the decoder reads them and writes an id
    token by token, and the head scores each token that could come next.

    Args:
        config: the parts and their sizes.
        trie: the ids. It gives the vocabulary, the length L of the longest id, and the nodes that a head may have
            weights for.
        input_shape: the shape of one image's features, without the batch axis: (F,), (G * G, C) or (3, S, S).
        row_bytes: bytes of each row of a trie head, which then cannot be trained; None for floats.

    Raises:
        ConfigError: the configuration names a part that does not exist, or sizes that do not fit.
    """

    def __init__(
        self, config: ModelConfig, trie: Trie, input_shape: tuple[int, ...], row_bytes: int | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.row_bytes = row_bytes
        self.input_shape = input_shape
        self.vocabulary = trie.vocabulary
        head = choose(HEADS, "model.paper.head", config.paper.head)
        decoder = architecture(config.paper.architecture)
        self.stem: Stem = choose(STEMS, "model.stem", config.stem)(config, input_shape)
        # The projection to the embedding, for stems that do not make it. Saved indexes know it by this name.
        self.summarise: nn.Module = nn.Identity()
        if head.compares and not self.stem.embeds:
            self.summarise = nn.Linear(config.embed_dim, config.embedding_dim, bias=False)
        self.encoder: nn.Module = Encoder(config) if decoder.needs_encoder else nn.Identity()
        self.decoder = decoder(config, trie.vocabulary.outputs + 1, trie.max_length)
        self.head: Head = head(config, trie) if row_bytes is None else head(config, trie, row_bytes)

    def encode(self, features: Tensor) -> tuple[Memory, Tensor]:
        """Read images.

        Args:
            features: (B, *input_shape) as they are stored: float16 or floats of another precision, or uint8 pixels.

        Returns:
            The memory that the decoder reads, and the embeddings (B, E), unit vectors.
        """
        tokens, embedding = self.stem(self._inputs(features))
        memory, image = self.decoder.read(self.encoder(tokens))
        return memory, self._embedding(image) if embedding is None else embedding

    def encode_embeddings(self, embeddings: Tensor) -> tuple[Memory, Tensor]:
        """Read images that are given by their embeddings (B, E), as `encode` does. It needs a stem that embeds."""
        memory, _ = self.decoder.read(self.encoder(self.stem.tokens(embeddings)))
        return memory, embeddings

    @torch.inference_mode()
    def embeddings(self, features: Tensor) -> Tensor:
        """Embeddings (n, E) of any number of images with stored features (n, *input_shape), on the CPU."""
        device = next(self.parameters()).device
        return torch.cat([self.encode(part.to(device))[1].cpu() for part in torch.split(features, _BATCH)])

    def forward(self, features: Tensor, codes: Tensor, nodes: Tensor) -> Tensor:
        """Teacher forcing, with all tokens of the ids in one pass.

        Args:
            features: (B, *input_shape), as `encode` takes them.
            codes: (B, L) tokens of the ids to be written.
            nodes: (B, L) nodes of the trie in which they are written.

        Returns:
            Scores (B, L, V) of each token, given the image and the tokens before it.
        """
        begin = torch.full_like(codes[:, :1], self.vocabulary.bos)
        written = torch.cat([begin, codes[:, :-1]], dim=1)
        tokens, embedding = self.stem(self._inputs(features))
        embed = self._embedding if embedding is None and self.head.compares else None
        hidden, made = self.decoder.teacher_forced(written, self.encoder(tokens), embed)
        embedding = made if embedding is None else embedding
        if torch.is_autocast_enabled(hidden.device.type):
            hidden, embedding = hidden.float(), None if embedding is None else embedding.float()
            with torch.autocast(hidden.device.type, enabled=False):
                return self.head(hidden, embedding, nodes)  # type: ignore[no-any-return]
        scores: Tensor = self.head(hidden, embedding, nodes)
        return scores

    def start(self, memory: Memory) -> DecoderState:
        """The decoding state before the first token."""
        return self.decoder.start(memory)

    def step(
        self, tokens: Tensor, nodes: Tensor, position: int, embedding: Tensor, state: DecoderState
    ) -> Tensor:
        """Scores (B, K, V) of the next token of each beam.

        Args:
            tokens: (B, K) tokens that were written last; BOS at first.
            nodes: (B, K) nodes of the trie that they led to.
            position: how many tokens have been written before the next.
            embedding: (B, E) from `encode`.
            state: from `start`; it is updated.
        """
        scores: Tensor = self.head(self.decoder.step(tokens, position, state), embedding, nodes)
        return scores

    def parameters_from_features(self) -> list[Tensor]:
        """The parameters that `initialise` sets from features, which are trained at a lower rate than the others."""
        return [*self.stem.parameters_from_features(), *self.head.parameters_from_features()]

    def _inputs(self, features: Tensor) -> Tensor:
        """Features as the stem reads them: pixels in 0..1, and everything in the precision of the weights."""
        if are_pixels(features):
            features = to_inputs(features)
        return features.to(self.decoder.positions.dtype)

    def _embedding(self, image: Tensor) -> Tensor:
        """Embeddings (B, E) made of the last hidden states (B, S, D) of images."""
        return F.normalize(self.summarise(image.mean(1)), dim=-1)
