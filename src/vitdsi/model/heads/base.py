"""The base class of heads: what a head must do to be trained, searched and carried through changes of a collection."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from vitdsi.config import ModelConfig
from vitdsi.ids.trie import Trie


class Head(nn.Module):
    """Turns hidden states of the decoder into scores of the next token.

    Every head implements `forward`. A head may also keep a vector for each id, in the space of the image embeddings.
    Such a head can be initialised from the images, take in a new image without changing the weights of others, and
    compare images with a query. It sets `compares` and implements `vectors`, `imprint` and `parameters_from_features`.
    A head whose parameters depend on the trie implements `graft`.

    Args:
        config: sizes of the model.
        trie: the ids; `trie.vocabulary.outputs` is the number of scores V, `trie.num_nodes` the number of nodes M.
        row_bytes: bytes of each row of a head that can store its rows as codes; no other head is given it.

    Attributes:
        compares: whether the head keeps a vector for each id. Only such a head is given image embeddings.
    """

    compares: ClassVar[bool] = False

    def __init__(self, config: ModelConfig, trie: Trie, row_bytes: int | None = None) -> None:
        super().__init__()

    def forward(self, hidden: Tensor, embedding: Tensor | None, nodes: Tensor) -> Tensor:
        """Score all tokens at each position.

        Args:
            hidden: (B, T, D) hidden states of the decoder.
            embedding: (B, E) embeddings of the images, unit vectors; may be None if the head does not compare.
            nodes: (B, T) nodes of the trie in which the tokens are written; NONE after the end of an id.

        Returns:
            Scores (B, T, V). Those at positions whose node is NONE have no meaning.
        """
        raise NotImplementedError

    def parameters_from_features(self) -> list[Tensor]:
        """The parameters that `imprint` sets from features. They are trained at a lower rate than the others."""
        return []

    def imprint(
        self, trie: Trie, ids: Tensor, embeddings: Tensor, seed: int, *, known: Tensor | None = None
    ) -> None:
        """Set the weights of `ids` from the embeddings of their images. Heads that do not compare leave this out.

        Args:
            ids: (n,) ids whose weights are set.
            embeddings: (n, E) embeddings of their images.
            seed: seeds whatever is random, such as k-means.
            known: (M,) bool, the nodes whose weights have been learned already and must stay; None if there are none.
        """
        return

    def graft(self, old: Head, nodes: Tensor, ids: Tensor | None) -> None:
        """Take over the weights of `old`, a head of the same kind over another trie.

        Args:
            nodes: (M,) for each node of this head's trie, the number that it had in the old trie, NONE if it is new.
            ids: (N,) the same for each id; None if all ids keep their numbers, and those beyond them are new.
        """
        self.load_state_dict(old.state_dict())

    def vectors(self, ids: Tensor) -> Tensor:
        """The vectors (*S, E) that the head keeps for `ids`, of any shape S."""
        raise NotImplementedError(f"{type(self).__name__} keeps no vectors of ids")

    def cosines(self, queries: Tensor, ids: Tensor) -> Tensor:
        """The cosines (R, n) of queries (R, D) with the first D numbers of the vectors of `ids` (n,)."""
        vectors = self.vectors(ids)[:, : queries.shape[1]]
        return F.normalize(queries, dim=1) @ F.normalize(vectors, dim=1).T
