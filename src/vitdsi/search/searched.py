"""What a search finds ids in: an index as a whole, or its shards (`vitdsi.search.shards`)."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from vitdsi.ids.trie import NONE, Trie
from vitdsi.search.best_first import Found, best_first_search
from vitdsi.search.evidence import Seen, merged_evidence
from vitdsi.search.log_probs import log_probs_of
from vitdsi.search.options import BEAM_SIZE, MAX_EXPANSIONS, MOST_COMPARED, MOST_PROBABLE
from vitdsi.state import IndexState

__all__ = ["Alike", "Searched", "WholeIndex"]

_AT_ONCE = 8192  # images, to bound the memory


class Alike(NamedTuple):
    """The images that look most like each of the R parts of B queries.

    Attributes:
        ids: (B, R, K) best first, NONE where there are fewer.
        cosines: (B, R, K) of the picture parts of their vectors and of the embeddings; -inf where there is no id.
    """

    ids: Tensor
    cosines: Tensor


class Searched(Protocol):
    """What a search finds ids in, a whole index or its shards, with the queries that are searched for.

    Attributes:
        parts: in how many parts each query was read.
    """

    parts: int

    def find(self, k: int, beam_size: int, max_expansions: int) -> Found:
        """Find the k most probable ids for each part of each query; see `best_first_search`."""

    def alike(self, k: int) -> Alike:
        """Find the k images that look most like each part of each query, whatever their probability.

        All images are compared if there are at most 65,536, otherwise the 1,000 most probable ones of each part. An
        index that does not compare pictures finds none.
        """

    def describe(self, ids: Tensor, log_probs: Tensor | None) -> Seen:
        """Return what speaks for ids (B, K); see `merged_evidence`.

        Args:
            ids: distinct ids that `find` or `alike` found, and NONE.
            log_probs: (B, K) their log-probabilities; None computes those of the mean over the parts.
        """


class WholeIndex:
    """An index as a whole. The arguments are those of `vitdsi.search.rank.rank`."""

    def __init__(
        self, state: IndexState, features: Tensor, within: Trie | None, parts: int, *, embedded: bool = False
    ) -> None:
        self._state, self.parts = state, parts
        self._trie = state.trie if within is None else within
        model = state.model
        encode = model.encode_embeddings if embedded else model.encode
        self._memory, self._embedding = encode(features.to(next(model.parameters()).device))

    def find(self, k: int, beam_size: int, max_expansions: int) -> Found:
        """See `Searched.find`."""
        return best_first_search(
            self._state.model,
            self._memory,
            self._embedding,
            self._trie,
            k,
            beam_size=beam_size,
            max_expansions=max_expansions,
        )

    def alike(self, k: int) -> Alike:
        """See `Searched.alike`."""
        embedding = self._embedding.view(-1, self.parts, self._embedding.shape[-1])
        if not self._state.reranks_by_default:
            nothing = torch.full((*embedding.shape[:2], 0), NONE, device=embedding.device)
            return Alike(nothing, nothing.float())
        if self._trie.live_count <= MOST_COMPARED:
            return self._most_alike(self._trie.live_ids(), embedding, k)
        probable = self.find(MOST_PROBABLE, BEAM_SIZE, MAX_EXPANSIONS).ids.view(len(embedding), -1)
        each = [
            self._most_alike(torch.unique(ids), query[None], k)
            for ids, query in zip(probable, embedding, strict=True)
        ]
        return Alike(torch.cat([one.ids for one in each]), torch.cat([one.cosines for one in each]))

    def _most_alike(self, ids: Tensor, embedding: Tensor, k: int) -> Alike:
        """Compare queries (B, R, E) with images (n,)."""
        shape = (*embedding.shape[:2], k)
        found = Alike(
            torch.full(shape, NONE, device=embedding.device),
            torch.full(shape, -torch.inf, device=embedding.device),
        )
        model = self._state.model
        pictures = embedding[..., : embedding.shape[2] - model.stem.categories].flatten(0, 1)
        for some in torch.split(ids.to(embedding.device), _AT_ONCE):
            cosines = model.head.cosines(pictures, some).view(*shape[:2], -1)
            cosines, kept = torch.cat([found.cosines, cosines], dim=2).topk(k)
            found = Alike(torch.cat([found.ids, some.expand(*shape[:2], -1)], dim=2).gather(2, kept), cosines)
        return found

    def describe(self, ids: Tensor, log_probs: Tensor | None) -> Seen:
        """See `Searched.describe`."""
        parts = self.parts
        if log_probs is None:
            of_parts = log_probs_of(
                self._state.model,
                self._memory,
                self._embedding,
                self._state.trie,
                ids.repeat_interleave(parts, dim=0),
            )
            log_probs = of_parts.view(len(ids), parts, ids.shape[1]).logsumexp(1) - math.log(parts)
        return merged_evidence(self._state, ids, log_probs, self._embedding.view(len(ids), parts, -1))
