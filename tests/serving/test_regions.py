"""A region of a photo as the query."""

from __future__ import annotations

import io

import pytest
import torch
from fastapi.testclient import TestClient
from helpers_serving import PNG, refusal
from PIL import Image

from vitdsi.serving.errors import ApiError
from vitdsi.serving.regions import Region, parse_region, query_features
from vitdsi.serving.served import Served


def _encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_a_region_is_four_numbers() -> None:
    assert parse_region("0.1,0.2,0.5,0.8") == Region(0.1, 0.2, 0.5, 0.8)
    assert parse_region(None) is parse_region("") is None


@pytest.mark.parametrize(
    "text", ["1,2,3", "a,b,c,d", "0,0,0,1", "0.5,0,0.6,1", "-0.1,0,1,1", "nan,0,1,1", "0,0,nan,1"]
)
def test_a_region_that_is_not_in_the_photo_is_refused(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_region(text)
    assert caught.value.status_code == 422


def test_the_features_of_a_region_are_those_of_the_cropped_photo(served: Served) -> None:
    red, blue = Image.new("RGB", (40, 40), "red"), Image.new("RGB", (40, 40), "blue")
    both = Image.new("RGB", (80, 40))
    both.paste(red, (0, 0))
    both.paste(blue, (40, 0))
    features = query_features(served.reader, _encoded(both), Region(0.5, 0, 0.5, 1), 10_000)
    assert torch.equal(features, query_features(served.reader, _encoded(blue), None, 10_000))


def test_a_search_with_a_region_differs(reading: TestClient, photo: bytes) -> None:
    whole, part = (
        reading.post("/v1/search", params=params, content=photo, headers=PNG).json()["results"]
        for params in ({}, {"region": "0,0,0.3,0.3"})
    )
    assert [r["log_prob"] for r in whole] != [r["log_prob"] for r in part]
    refusal(reading.post("/v1/search?region=1,1,1,1", content=photo, headers=PNG), 422)
