from __future__ import annotations

import numpy as np
import pytest
from helpers_stored import stored

from vitdsi import living
from vitdsi.errors import UsageError
from vitdsi.filters import Filters, find
from vitdsi.ranking import search_inputs
from vitdsi.trie import Trie


def live(trie: Trie | None) -> list[int]:
    assert trie is not None
    return trie.live_ids().tolist()


def test_no_filter() -> None:
    assert Filters().get(stored(), None, None) is None


def test_where_and_allow_hold_together() -> None:
    index, filters = stored(), Filters()
    a1 = list(range(1, 60, 3))
    assert live(filters.get(index, "album = 'a1'", None)) == a1
    assert live(filters.get(index, None, ["old/004.jpg", 7, "8"])) == [4, 7, 8]
    assert live(filters.get(index, "album = 'a1'", range(10))) == [1, 4, 7]
    assert live(filters.get(index, "width > 1000", None)) == []
    assert live(filters.get(index, None, [])) == []


def test_removed_images_are_never_allowed() -> None:
    index = living.remove(stored(), [1, 4])
    assert live(Filters().get(index, "album = 'a1'", None)) == list(range(7, 60, 3))
    with pytest.raises(UsageError, match="is not in the index"):
        Filters().get(index, None, [4])


@pytest.mark.parametrize("k", [1, 7, 30, 100])
def test_there_are_as_many_results_as_can_be_and_the_best_of_the_allowed(k: int) -> None:
    index = stored()
    assert index.inputs is not None
    allowed = np.arange(1, 60, 3)
    within = Filters().get(index, "album = 'a1'", None)
    ids, scores = search_inputs(index, index.inputs.float(), k, within=within, beam_size=100)
    assert ids.shape == (60, min(k, 20))
    assert np.isin(ids, allowed).all()
    assert all(len(set(row)) == len(row) for row in ids.tolist())
    if k >= 20:
        np.testing.assert_allclose(scores.sum(1), 1, atol=1e-4)
    own, _ = search_inputs(index, index.inputs[allowed].float(), 1, within=within)
    assert (own[:, 0] == allowed).all()


def test_a_filter_is_built_once_and_the_oldest_is_forgotten() -> None:
    index, filters = stored(), Filters()
    first = filters.get(index, "width = 101", None)
    assert filters.get(index, "width = 101", None) is first
    assert filters.get(index, None, [3, 5]) is filters.get(index, None, [5, 3, 3])
    for width in range(200, 231):
        filters.get(index, f"width = {width}", None)
    assert len(filters._tries) == 32
    assert filters.get(index, "width = 101", None) is not first


def test_mistakes_are_not_kept() -> None:
    filters = Filters()
    for _ in range(2):
        with pytest.raises(UsageError, match="albun"):
            filters.get(stored(), "albun = 'a1'", None)
    assert find(stored(), []) == []
