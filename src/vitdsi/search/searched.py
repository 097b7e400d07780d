"""What a search finds ids in: an index as a whole, or its shards (`vitdsi.search.shards`)."""

from __future__ import annotations

import math
from typing import Protocol

from torch import Tensor

from vitdsi.ids.trie import Trie
from vitdsi.search.best_first import Found, best_first_search
from vitdsi.search.evidence import merged_evidence
from vitdsi.search.log_probs import log_probs_of
from vitdsi.state import IndexState

__all__ = ["Searched", "WholeIndex"]


class Searched(Protocol):
    """What a search finds ids in, a whole index or its shards, with the queries that are searched for.

    Attributes:
        parts: in how many parts each query was read.
    """

    parts: int

    def find(self, k: int, beam_size: int, max_expansions: int) -> Found:
        """Find the k most probable ids for each part of each query; see `best_first_search`."""

    def describe(self, ids: Tensor, log_probs: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the evidence for ids (B, K) and the parts that are most like them; see `merged_evidence`.

        Args:
            ids: distinct ids that `find` found, and NONE.
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

    def describe(self, ids: Tensor, log_probs: Tensor | None) -> tuple[Tensor, Tensor]:
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
            log_probs = of_parts.view(-1, parts, ids.shape[1]).logsumexp(1) - math.log(parts)
        return merged_evidence(self._state, ids, log_probs, self._embedding.view(len(ids), parts, -1))
