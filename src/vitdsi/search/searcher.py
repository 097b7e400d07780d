"""Searching one state of an index: filter, decode, rank, collapse."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from vitdsi.errors import UsageError
from vitdsi.ids.trie import Trie
from vitdsi.photos.regions import Region
from vitdsi.search.duplicates import search_distinct
from vitdsi.search.filters import Filters
from vitdsi.search.options import SearchOptions, SearchResult
from vitdsi.search.rank import Ranking, rank
from vitdsi.search.similarity import Similarity
from vitdsi.search.stored_query import stored_queries
from vitdsi.search.verify import (
    indexed_keypoints,
    keypoints_for,
    options_for_candidates,
    verify_results,
)
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
        self,
        features: Tensor,
        options: SearchOptions,
        regions: Sequence[Sequence[Region]] | None = None,
        *,
        from_first: bool = False,
    ) -> list[list[SearchResult]]:
        """Return the results of each of B queries, best first.

        With `from_first` those before the offset are returned as well.

        These are min(k, number of allowed images after the offset) results, or fewer if near-identical results are
        collapsed or if results score below `options.min_score`.

        Args:
            features: (B, *shape), or (B * R, *shape) of queries that were read in R parts each, the whole photo first.
            options: the options of the search.
            regions: the R regions of each query. None if only whole photos were read.

        Raises:
            UsageError: the filter is not valid, or `options.collapse` is set and the index has no thumbnails.
        """
        within = self._filters.trie_for(options)
        return self._search(features, options, within, regions, from_first=from_first)

    def more_like(self, number: int, options: SearchOptions) -> list[SearchResult]:
        """Return the results of a search with an image of the index, by its id. The image itself is left out.

        They are verified by its own keypoints if the index has any.

        Raises:
            UsageError: as for `search`; a region, several regions or any rotation are asked for; or the index keeps
                nothing to search with.
        """
        if options.any_rotation or options.region is not None or (options.regions or 1) > 1:
            raise UsageError(
                "the index keeps images whole and upright; search with the photo, or without regions and any_rotation"
            )
        query, embedded = stored_queries(self._state, torch.tensor([number]))
        within = self._filters.trie_for(options) or self._state.trie
        within = within.without([number])
        keypoints = keypoints_for(self._state, options)
        if keypoints is None:
            return self._search(query, options, within, embedded=embedded, from_first=False)[0]
        wanted = options_for_candidates(options)
        found = self._search(query, wanted, within, embedded=embedded, from_first=True)[0]
        return verify_results(keypoints, indexed_keypoints(self._state, keypoints, number), found, options)

    def _search(
        self,
        features: Tensor,
        options: SearchOptions,
        within: Trie | None,
        regions: Sequence[Sequence[Region]] | None = None,
        *,
        embedded: bool = False,
        from_first: bool,
    ) -> list[list[SearchResult]]:
        parts = len(regions[0]) if regions else 1
        if options.collapse:
            found = search_distinct(
                self._state, features, options, self._similarity, within, parts, embedded=embedded
            )
        else:
            found = rank(self._state, features, options, within, parts, embedded=embedded)
        first = 0 if from_first else options.offset
        return [
            self._results(found, row, first, options.min_score, regions[row] if regions else None)
            for row in range(len(found.ids))
        ]

    def _results(
        self, found: Ranking, row: int, first: int, min_score: float, regions: Sequence[Region] | None
    ) -> list[SearchResult]:
        names, proven = self._state.image_ids, bool(found.proven[row])
        columns = (found.ids, found.scores, found.log_probs, found.parts)
        page = zip(*(column[row, first:].tolist() for column in columns), strict=True)
        kept = [
            (i, score, log_prob, None if regions is None else regions[part].as_tuple())
            for i, score, log_prob, part in page
            if i >= 0 and score >= min_score
        ]
        return [
            SearchResult(place, names[i], score, i, log_prob, proven, region=region)
            for place, (i, score, log_prob, region) in enumerate(kept, start=first + 1)
        ]
