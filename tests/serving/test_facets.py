"""Facets: counts of values under a filter."""

from __future__ import annotations

import pytest

from vitdsi.serving.errors import ApiError
from vitdsi.serving.facets import facets, ids_where
from vitdsi.serving.served import Served


def test_values_are_counted_among_the_images_of_the_filter(served: Served) -> None:
    everything = facets(served, ids_where(served, None), ["album", "width"])
    assert everything["album"] == [{"value": "hills", "count": 3}, {"value": "sea", "count": 3}]
    assert everything["width"] == [{"value": 48, "count": 12}]
    some = facets(served, ids_where(served, "stars > 4"), ["album"])
    assert some["album"] == [{"value": "hills", "count": 3}, {"value": "sea", "count": 1}]
    assert facets(served, ids_where(served, "stars > 40"), ["album"]) == {"album": []}


def test_an_unknown_field_is_refused(served: Served) -> None:
    with pytest.raises(ApiError, match="album"):
        facets(served, served.live, ["colour"])
