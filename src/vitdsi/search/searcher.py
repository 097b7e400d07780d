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
from vitdsi.search.options import CANDIDATES, SearchOptions, SearchResult
from vitdsi.search.rank import rank
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
        to_verify: bool = False,
    ) -> list[list[SearchResult]]:
        """Return the results of each of B queries, best first.

        With `to_verify` they are all candidates of `vitdsi.search.verify.verify_results`: also those before the offset,
        and the images that look most like the query.

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
        return self._search(features, options, within, regions, to_verify=to_verify)

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
            return self._search(query, options, within, embedded=embedded, to_verify=False)[0]
        wanted = options_for_candidates(options)
        found = self._search(query, wanted, within, embedded=embedded, to_verify=True)[0]
        return verify_results(keypoints, indexed_keypoints(self._state, keypoints, number), found, options)

    def _search(
        self,
        features: Tensor,
        options: SearchOptions,
        within: Trie | None,
        regions: Sequence[Sequence[Region]] | None = None,
        *,
        embedded: bool = False,
        to_verify: bool,
    ) -> list[list[SearchResult]]:
        parts = len(regions[0]) if regions else 1
        if options.collapse:
            found = search_distinct(
                self._state, features, options, self._similarity, within, parts, embedded=embedded
            )
        else:
            alike = CANDIDATES if to_verify else 0
            found = rank(self._state, features, options, within, parts, embedded=embedded, alike=alike)
        first = 0 if to_verify else options.offset
        name_of = self._state.image_ids.__getitem__
        return [
            found.results(row, first, name_of, regions[row] if regions else None, options.min_score)
            for row in range(len(found.ids))
        ]
