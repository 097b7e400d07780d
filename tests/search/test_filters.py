from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers_stored import stored

from vitdsi.collection.remove import remove
from vitdsi.errors import UsageError
from vitdsi.ids.trie import Trie
from vitdsi.search.filters import Filters, resolve_ids
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rank


def live(trie: Trie | None) -> list[int]:
    assert trie is not None
    return trie.live_ids().tolist()


def where(condition: str) -> SearchOptions:
    return SearchOptions(where=condition)


def test_without_a_condition_or_a_list_there_is_no_filter() -> None:
    assert Filters(stored()).trie_for(SearchOptions(collapse=True)) is None


def test_ids_must_satisfy_the_condition_and_the_list() -> None:
    filters = Filters(stored())
    a1 = list(range(1, 60, 3))
    assert live(filters.trie_for(where("album = 'a1'"))) == a1
    assert live(filters.trie_for(SearchOptions(allow=["old/004.jpg", 7, "8"]))) == [4, 7, 8]
    assert live(filters.trie_for(SearchOptions(where="album = 'a1'", allow=range(10)))) == [1, 4, 7]
    assert live(filters.trie_for(where("width > 1000"))) == []
    assert live(filters.trie_for(SearchOptions(allow=[]))) == []


def test_removed_images_are_never_allowed() -> None:
    filters = Filters(remove(stored(), [1, 4]))
    assert live(filters.trie_for(where("album = 'a1'"))) == list(range(7, 60, 3))
    with pytest.raises(UsageError, match="is not in the index"):
        filters.trie_for(SearchOptions(allow=[4]))


@pytest.mark.parametrize("k", [1, 7, 30, 100])
def test_filtered_search_returns_the_best_allowed_ids(k: int) -> None:
    index = stored()
    assert index.features is not None
    allowed = np.arange(1, 60, 3)
    within = Filters(index).trie_for(where("album = 'a1'"))
    ids = rank(index, index.features, SearchOptions(k=k), within).ids
    assert ids.shape == (60, min(k, 20))
    assert np.isin(ids, allowed).all()
    assert all(len(set(row)) == len(row) for row in ids.tolist())
    own = rank(index, index.features[allowed], SearchOptions(k=1), within).ids
    assert (own[:, 0] == allowed).all()


def test_filter_is_cached_until_32_newer_ones_are_used() -> None:
    filters = Filters(stored())
    first = filters.trie_for(where("width = 101"))
    assert filters.trie_for(where("width = 101")) is first
    listed = filters.trie_for(SearchOptions(allow=[3, 5]))
    assert filters.trie_for(SearchOptions(allow=[5, 3, 3])) is listed
    for width in range(200, 231):
        filters.trie_for(where(f"width = {width}"))
    assert filters.trie_for(where("width = 230")) is filters.trie_for(where("width = 230"))
    assert filters.trie_for(where("width = 101")) is not first


def test_mistake_in_a_condition_raises_every_time() -> None:
    filters = Filters(stored())
    for _ in range(2):
        with pytest.raises(UsageError, match="albun"):
            filters.trie_for(where("albun = 'a1'"))


def test_eight_threads_that_ask_for_different_filters_at_once_get_the_right_ones() -> None:
    filters = Filters(stored())
    widths = [100 + i % 60 for i in range(600)]  # more different filters than are kept
    with ThreadPoolExecutor(8) as pool:
        tries = list(pool.map(lambda width: filters.trie_for(where(f"width = {width}")), widths))
    assert [live(trie) for trie in tries] == [[width - 100] for width in widths]


def test_resolve_ids_of_nothing_is_nothing() -> None:
    assert resolve_ids(stored(), []) == []


def test_resolve_ids_takes_names_numbers_and_numbers_as_text() -> None:
    index = remove(stored(), [5])
    assert resolve_ids(index, ["old/003.jpg", 7, "8", 7]) == [3, 7, 8]
    for wrong in ("nobody.jpg", 60, -1, 5, "old/005.jpg"):
        with pytest.raises(UsageError, match="is not in the index, which has 59 images"):
            resolve_ids(index, [1, wrong])
