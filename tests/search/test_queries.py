from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers_backbones import ToyBackbone
from helpers_images import photo
from helpers_stored import stored

from vitdsi.backbones.reader import FeatureReader
from vitdsi.errors import ImageReadError
from vitdsi.photos.regions import MAX_PARTS, Region
from vitdsi.search.options import SearchOptions
from vitdsi.search.queries import photo_queries
from vitdsi.state import IndexState


@pytest.fixture
def reader(toy: type[ToyBackbone]) -> FeatureReader:
    return FeatureReader("pooled", backbone="toy")


def with_labels(state: IndexState) -> IndexState:
    return replace(state, resolved=replace(state.resolved, labels="folder"))


@pytest.mark.parametrize(
    ("regions", "labels", "parts"), [(None, False, 5), (None, True, 1), (3, True, 3), (1, False, 1)]
)
def test_photos_are_read_in_parts_where_pictures_are_compared_or_as_the_options_say(
    reader: FeatureReader, regions: int | None, labels: bool, parts: int
) -> None:
    state = with_labels(stored()) if labels else stored()
    features, read = photo_queries(
        state, reader, [photo(60, 40), photo(40, 60, seed=1)], SearchOptions(regions=regions)
    )
    assert features.shape == (2 * parts, 3)
    assert [len(row) for row in read] == [parts, parts]


def test_the_first_part_is_what_an_index_reads_of_its_own_photos(reader: FeatureReader) -> None:
    given = photo(60, 40)
    features, _ = photo_queries(stored(), reader, [given], SearchOptions(regions=MAX_PARTS))
    torch.testing.assert_close(features[0], reader.load([given]).features[0].float(), atol=1e-3, rtol=1e-3)


def test_a_chosen_region_is_read_alone(reader: FeatureReader) -> None:
    region = Region(0.5, 0, 0.5, 1)
    given = photo(60, 30)
    features, read = photo_queries(stored(), reader, [given], SearchOptions(region=region))
    assert read == [[region]]
    right, _ = photo_queries(stored(), reader, [given.crop((30, 0, 60, 30))], SearchOptions(regions=1))
    torch.testing.assert_close(features, right, atol=0.02, rtol=0.02)


def test_a_photo_with_more_pixels_than_allowed_is_refused(reader: FeatureReader) -> None:
    with pytest.raises(ImageReadError, match="limit of 2399"):
        photo_queries(stored(), reader, [photo(60, 40)], SearchOptions(), max_pixels=2399)
