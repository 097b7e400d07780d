"""Searching one state of an index: filter, decode, rank, collapse."""

from __future__ import annotations

from functools import cached_property

from torch import Tensor

from vitdsi.search.duplicates import search_distinct
from vitdsi.search.filters import Filters
from vitdsi.search.options import SearchOptions, SearchResult
from vitdsi.search.rank import rank
from vitdsi.search.similarity import Similarity
from vitdsi.state import IndexState


class Searcher:
    """Searches one state of an index. Instances prepare shared data once and may be used by several threads."""

    def __init__(self, state: IndexState) -> None:
        self._state = state
        self._filters = Filters(state)

    @cached_property
    def _similarity(self) -> Similarity:
        return Similarity(self._state)

    def search(self, features: Tensor, options: SearchOptions) -> list[list[SearchResult]]:
        """Return the results of each query (B, *shape), best first.

        These are min(k, number of allowed images) results, or fewer if near-identical results are collapsed or if
        results score below `options.min_score`.

        Raises:
            UsageError: the filter is not valid, or `options.collapse` is set and the index has no thumbnails.
        """
        within = self._filters.trie_for(options)
        if options.collapse:
            ids, scores = search_distinct(self._state, features, options, self._similarity, within)
        else:
            ids, scores = rank(self._state, features, options, within)
        return [
            self._results(*row, options.min_score) for row in zip(ids.tolist(), scores.tolist(), strict=True)
        ]

    def _results(self, ids: list[int], scores: list[float], min_score: float) -> list[SearchResult]:
        kept = [(i, score) for i, score in zip(ids, scores, strict=True) if i >= 0 and score >= min_score]
        names = self._state.image_ids
        return [SearchResult(place, names[i], score, i) for place, (i, score) in enumerate(kept, start=1)]
