from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers_duplicates import COPIES, index_with_copies
from helpers_stored import stored

from vitdsi.collection.remove import remove
from vitdsi.errors import UsageError
from vitdsi.search.copies import copies_in_index
from vitdsi.state import IndexState


@pytest.fixture(scope="module")
def state() -> IndexState:
    return index_with_copies()


def test_photos_find_the_images_that_show_the_same_picture(state: IndexState) -> None:
    assert state.features is not None and state.thumbnails is not None
    rows = [5, 62, 30]
    thumbnails = state.thumbnails.all()[rows]
    found = copies_in_index(state, state.features[rows] * 1.01, thumbnails, ["", "", ""])
    assert found == [[5, 62], [5, 62], [30]]


def test_turned_photo_is_found_although_its_features_are_not_near(state: IndexState) -> None:
    assert state.features is not None and state.thumbnails is not None
    turned = torch.rot90(state.thumbnails.all()[[12]], 1, (1, 2))
    assert copies_in_index(state, state.features[[33]], turned, [""]) == [[12]]


def test_files_with_the_same_bytes_come_first(state: IndexState) -> None:
    assert state.features is not None and state.thumbnails is not None
    found = copies_in_index(state, state.features[[5]], state.thumbnails.all()[[5]], [state.hashes[40]])
    assert found == [[40, 5, 62]]


def test_removed_images_are_not_found(state: IndexState) -> None:
    assert state.features is not None and state.thumbnails is not None
    query = (state.features[[5]], state.thumbnails.all()[[5]], [state.hashes[5]])
    assert copies_in_index(remove(state, [5]), *query) == [[62]]
    assert copies_in_index(remove(state, range(65)), *query) == [[]]


def test_no_photos_find_nothing(state: IndexState) -> None:
    assert state.features is not None and state.thumbnails is not None
    assert copies_in_index(state, state.features[:0], state.thumbnails.all()[:0], []) == []


def test_index_without_thumbnails_is_refused() -> None:
    state = stored()
    assert state.features is not None and state.thumbnails is not None
    with pytest.raises(UsageError, match="keeps no features or thumbnails"):
        copies_in_index(replace(state, thumbnails=None), state.features[:1], state.thumbnails.all()[:1], [""])


def test_copies_are_found_without_features_by_the_vectors_of_the_model() -> None:
    state = index_with_copies()
    assert state.features is not None and state.thumbnails is not None
    rows = list(COPIES.values())
    queries = state.features[rows], state.thumbnails.all()[rows], [""] * len(rows)
    found = copies_in_index(replace(state, features=None), *queries)
    assert found == copies_in_index(state, *queries)
