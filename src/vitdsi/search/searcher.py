"""Searching one state of an index: filter, decode, rank, collapse."""

from __future__ import annotations

from functools import cached_property

from torch import Tensor

from vitdsi.errors import UsageError
from vitdsi.ids.trie import Trie
from vitdsi.search.duplicates import search_distinct
from vitdsi.search.filters import Filters
from vitdsi.search.options import SearchOptions, SearchResult
from vitdsi.search.rank import Ranking, rank
from vitdsi.search.similarity import Similarity
from vitdsi.search.stored_query import stored_query
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
        self, features: Tensor, options: SearchOptions, *, from_first: bool = False
    ) -> list[list[SearchResult]]:
        """Return the results of each query (B, *shape), best first; features are those that `rank` takes.

        With `from_first` those before the offset are returned as well.

        These are min(k, number of allowed images after the offset) results, or fewer if near-identical results are
        collapsed or if results score below `options.min_score`.

        Raises:
            UsageError: the filter is not valid, or `options.collapse` is set and the index has no thumbnails.
        """
        return self._search(features, options, self._filters.trie_for(options), from_first=from_first)

    def more_like(
        self, number: int, options: SearchOptions, *, from_first: bool = False
    ) -> list[SearchResult]:
        """Return the results of a search with an image of the index, by its id. The image itself is left out.

        Raises:
            UsageError: as for `search`; `options.any_rotation` is set; or the index keeps nothing to search with.
        """
        if options.any_rotation:
            raise UsageError(
                "the index keeps images in one orientation only; search with the photo, or without any_rotation"
            )
        query, embedded = stored_query(self._state, number)
        within = self._filters.trie_for(options) or self._state.trie
        within = within.without([number])
        return self._search(query, options, within, embedded=embedded, from_first=from_first)[0]

    def _search(
        self,
        features: Tensor,
        options: SearchOptions,
        within: Trie | None,
        *,
        embedded: bool = False,
        from_first: bool,
    ) -> list[list[SearchResult]]:
        if options.collapse:
            found = search_distinct(
                self._state, features, options, self._similarity, within, embedded=embedded
            )
        else:
            found = rank(self._state, features, options, within, embedded=embedded)
        first = 0 if from_first else options.offset
        return [self._results(found, row, first, options.min_score) for row in range(len(found.ids))]

    def _results(self, found: Ranking, row: int, first: int, min_score: float) -> list[SearchResult]:
        names, proven = self._state.image_ids, bool(found.proven[row])
        columns = (found.ids, found.scores, found.log_probs)
        page = zip(*(column[row, first:].tolist() for column in columns), strict=True)
        kept = [result for result in page if result[0] >= 0 and result[1] >= min_score]
        return [
            SearchResult(place, names[i], score, i, log_prob, proven)
            for place, (i, score, log_prob) in enumerate(kept, start=first + 1)
        ]
