"""Searching one state of an index: filter, decode, rank, collapse."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from torch import Tensor

from vitdsi.photos.regions import Region
from vitdsi.search.duplicates import search_distinct
from vitdsi.search.filters import Filters
from vitdsi.search.options import SearchOptions, SearchResult
from vitdsi.search.rank import Ranking, rank
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

    def search(
        self, features: Tensor, options: SearchOptions, regions: Sequence[Sequence[Region]] | None = None
    ) -> list[list[SearchResult]]:
        """Return the results of each of B queries, best first.

        These are min(k, number of allowed images) results, or fewer if near-identical results are collapsed or if
        results score below `options.min_score`.

        Args:
            features: (B, *shape), or (B * R, *shape) of queries that were read in R parts each, the whole photo first.
            options: the options of the search.
            regions: the R regions of each query. None if only whole photos were read.

        Raises:
            UsageError: the filter is not valid, or `options.collapse` is set and the index has no thumbnails.
        """
        within = self._filters.trie_for(options)
        parts = len(regions[0]) if regions else 1
        if options.collapse:
            found = search_distinct(self._state, features, options, self._similarity, within, parts)
        else:
            found = rank(self._state, features, options, within, parts)
        return [
            self._results(found, row, options.min_score, regions[row] if regions else None)
            for row in range(len(found.ids))
        ]

    def _results(
        self, found: Ranking, row: int, min_score: float, regions: Sequence[Region] | None
    ) -> list[SearchResult]:
        names, proven = self._state.image_ids, bool(found.proven[row])
        columns = (found.ids, found.scores, found.log_probs, found.parts)
        kept = [
            (i, score, log_prob, None if regions is None else regions[part].as_tuple())
            for i, score, log_prob, part in zip(*(column[row].tolist() for column in columns), strict=True)
            if i >= 0 and score >= min_score
        ]
        return [
            SearchResult(place, names[i], score, i, log_prob, proven, region=region)
            for place, (i, score, log_prob, region) in enumerate(kept, start=1)
        ]
