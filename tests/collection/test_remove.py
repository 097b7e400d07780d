from __future__ import annotations

import numpy as np
from helpers_stored import add, collection, own_first, stored

from vitdsi.collection.info import info
from vitdsi.collection.remove import remove
from vitdsi.ids.capacity import slots_taken
from vitdsi.search.filters import passing_ids
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import indexing_accuracy, rank, rankings


def test_removed_image_is_never_found_again() -> None:
    index = stored()
    gone = [3, 17, 41]
    smaller = remove(index, gone)
    assert index.features is not None
    everything = SearchOptions(k=60, rerank=False)
    before, after = rank(index, index.features, everything), rank(smaller, index.features, everything)
    left = ~np.isin(before.ids, gone)
    assert np.array_equal(after.ids, before.ids[left].reshape(60, 57))
    np.testing.assert_allclose(after.log_probs, before.log_probs[left].reshape(60, 57), atol=1e-5)
    assert after.proven.all()
    assert passing_ids(smaller, "width > 0").tolist() == sorted(set(range(60)) - set(gone))
    # the code is free, and who gets it is found under its own id
    grown = add(smaller, 3)
    again = rank(grown, index.features[gone], SearchOptions(k=60)).ids
    assert not np.isin(again, gone).any()
    assert own_first(grown, range(60, 63)) == 1.0


def test_removed_images_are_no_part_of_the_capacity_and_of_what_is_counted() -> None:
    index = stored(labels=True)
    smaller = remove(index, [3, 17, 41])
    before, after = info(index, None), info(smaller, None)
    assert (after["images"], after["removed"]) == (57, 3)
    freed = slots_taken(index.trie.codes.numpy()[[3, 17, 41]], 8, index.trie.max_length).sum()
    assert after["capacity_left"] == before["capacity_left"] + freed
    assert indexing_accuracy(smaller) == (1.0, 57)
    grown = add(smaller, 3)
    live = grown.trie.live_ids().tolist()
    assert live == [i for i in range(63) if i not in (3, 17, 41)]
    assert info(grown, None)["images"] == 60


def test_after_all_images_were_removed_new_ones_can_be_added() -> None:
    empty = remove(stored(), range(60))
    assert stored().features is not None
    found = rank(empty, stored().features[:3], SearchOptions(k=5))
    assert found.ids.shape == (3, 0) and found.proven.all()
    grown = add(empty, 2)
    assert sorted(rankings(grown, collection(2, 1).features, SearchOptions(k=2))[0].tolist()) == [60, 61]
