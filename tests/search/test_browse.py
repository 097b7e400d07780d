from __future__ import annotations

import pytest
from helpers_stored import stored

from vitdsi.collection.remove import remove
from vitdsi.errors import UsageError
from vitdsi.search.browse import facets, page_of_images
from vitdsi.state import IndexState


@pytest.fixture(scope="module")
def state() -> IndexState:
    return stored()


def test_pages_are_parts_of_one_list_and_say_the_total(state: IndexState) -> None:
    everything = page_of_images(state)
    assert everything.total == len(everything.images) == 60
    assert everything.images[3].image_id == state.image_ids[3]
    assert everything.images[3].facts == {"width": 103, "album": "a0"}
    pages = [page_of_images(state, offset=offset, limit=25) for offset in (0, 25, 50, 75)]
    assert [len(page.images) for page in pages] == [25, 25, 10, 0]
    assert sum((page.images for page in pages), ()) == everything.images
    assert {page.total for page in pages} == {60}


def test_only_live_images_that_pass_the_filter_are_counted(state: IndexState) -> None:
    smaller = remove(state, [0, 3])
    page = page_of_images(smaller, 'album = "a0"', offset=1, limit=2)
    assert page.total == 18
    assert [image.id for image in page.images] == [9, 12]
    assert page_of_images(smaller, 'album = "a0"', [6, 7], limit=0).total == 1


def test_negative_numbers_are_refused(state: IndexState) -> None:
    with pytest.raises(UsageError, match="offset is -1"):
        page_of_images(state, offset=-1)
    with pytest.raises(UsageError, match="limit is -2"):
        page_of_images(state, limit=-2)


def test_facets_count_values_under_a_filter(state: IndexState) -> None:
    (album,) = facets(remove(state, [0]), ["ALBUM"], "width < 110")
    assert (album.column, album.values) == ("album", (("a0", 3), ("a1", 3), ("a2", 3)))
