"""Searching by HTTP gives what searching in Python gives."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from helpers_images import encoded, photographed, textured
from helpers_serving import PNG, client, names, refusal
from PIL import Image

from vitdsi.collection.storage import read_index, write_index
from vitdsi.index import ImageIndex
from vitdsi.photos.regions import Region


@pytest.mark.parametrize(
    ("parameters", "options"),
    [
        ({}, {}),
        ({"k": "3"}, {"k": 3}),
        ({"k": "5", "where": 'album = "sea"'}, {"k": 5, "where": 'album = "sea"'}),
        ({"allow": ["round/01.png", "3"]}, {"allow": ["round/01.png", "3"]}),
        ({"min_score": "0.5"}, {"min_score": 0.5}),
        ({"collapse": "true"}, {"collapse": True}),
        ({"where": ""}, {}),
        ({"k": "3", "offset": "2"}, {"k": 3, "offset": 2}),
        ({"regions": "3"}, {"regions": 3}),
        ({"regions": "auto", "region": ""}, {}),
        ({"region": "0,0,0.3,0.3"}, {"region": Region(0, 0, 0.3, 0.3)}),
        ({"region": "0.5,0.5,0.00000001,0.00000001"}, {"region": Region(0.5, 0.5, 1e-8, 1e-8)}),
        ({"any_rotation": "true", "verify": "false"}, {"any_rotation": True, "verify": False}),
    ],
)
def test_results_are_those_of_the_index(
    reading: TestClient, dsi: Path, photo: bytes, parameters: dict[str, str], options: dict[str, object]
) -> None:
    answer = reading.post("/v1/search", params=parameters, content=photo, headers=PNG)
    expected = ImageIndex.load(dsi, device="cpu").search(photo, **options)  # type: ignore[arg-type]
    assert names(answer) == [result.image_id for result in expected]
    for got, result in zip(answer.json()["results"], expected, strict=True):
        assert (got["rank"], got["id"], got["proven"]) == (result.rank, result.id, result.proven)
        assert (got["region"], got["inliers"]) == (list(result.region or ()), result.inliers)
        assert got["score"] == pytest.approx(result.score, abs=1e-5)
        assert got["log_prob"] == pytest.approx(result.log_prob, abs=1e-4)
    assert answer.json()["generation"] == 1


def test_an_image_of_the_index_finds_others_without_itself(reading: TestClient) -> None:
    answer = reading.get("/v1/search", params={"id": "round/01.png", "k": 4})
    assert len(names(answer)) == 4
    assert "round/01.png" not in names(answer)
    assert [result["rank"] for result in answer.json()["results"]] == [1, 2, 3, 4]
    number = reading.get("/v1/images/round/01.png").json()["id"]
    assert names(reading.get("/v1/search", params={"id": number, "k": 4})) == names(answer)


def test_an_image_that_the_filter_leaves_out_can_still_be_searched_with(reading: TestClient) -> None:
    answer = reading.get("/v1/search", params={"id": "round/01.png", "k": 2, "where": 'album = "hills"'})
    assert len(names(answer)) == 2


def test_a_thing_in_a_photo_is_proven_and_outlined(proving: TestClient, textures: Path) -> None:
    query = encoded(photographed(textured(seed=5)), "PNG")
    first, *others = proving.post("/v1/search", content=query, headers=PNG).json()["results"]
    expected = ImageIndex.load(textures, device="cpu").search(query)[0]
    assert (first["image_id"], first["certain"], first["inliers"]) == ("5.png", True, expected.inliers)
    assert first["outline"] == [list(corner) for corner in expected.outline or ()]
    assert [result["certain"] for result in others] == [False] * 6
    one = proving.post("/v1/search?k=1&min_score=0.5", content=query, headers=PNG)
    assert names(one) == ["5.png"]
    plain = proving.post("/v1/search?verify=false", content=query, headers=PNG).json()["results"]
    assert {result["inliers"] for result in plain} == {None}


def test_pages_are_parts_of_the_verified_list(proving: TestClient) -> None:
    query = encoded(photographed(textured(seed=5)), "PNG")
    pages = [
        proving.post(f"/v1/search?k=3&offset={offset}", content=query, headers=PNG).json()["results"]
        for offset in (0, 3, 6)
    ]
    everything = proving.post("/v1/search", content=query, headers=PNG).json()["results"]
    assert [result for page in pages for result in page] == everything


def test_an_image_of_the_index_finds_another_that_is_proven_to_show_the_same(proving: TestClient) -> None:
    first, *others = proving.get("/v1/search", params={"id": "small.png"}).json()["results"]
    assert (first["image_id"], first["certain"]) == ("3.png", True)
    assert "small.png" not in {result["image_id"] for result in others}


def test_an_index_without_keypoints_proves_nothing(textures: Path, tmp_path: Path) -> None:
    write_index(tmp_path / "plain.dsi", replace(read_index(textures), keypoints=None))
    query = encoded(textured(seed=1), "PNG")
    with client(tmp_path / "plain.dsi") as opened:
        assert not opened.get("/v1/info").json()["verify"]
        results = opened.post("/v1/search", content=query, headers=PNG).json()["results"]
        assert {result["inliers"] for result in results} == {None}
        for answer in (
            opened.post("/v1/search?verify=true", content=query, headers=PNG),
            opened.get("/v1/search?verify=true&id=1.png"),
        ):
            assert "no keypoints" in refusal(answer, 422)


@pytest.mark.parametrize("parameter", ["regions=5", "region=0,0,1,0.5", "any_rotation=true"])
def test_an_image_of_the_index_is_searched_with_whole_and_upright(
    reading: TestClient, parameter: str
) -> None:
    assert "whole and upright" in refusal(reading.get(f"/v1/search?id=0&{parameter}"), 422)


def test_an_unknown_image_is_not_found(reading: TestClient) -> None:
    assert "no image" in refusal(reading.get("/v1/search?id=nothing.png"), 404)
    assert "id" in refusal(reading.get("/v1/search"), 422)


@pytest.mark.parametrize(
    ("parameters", "part"),
    [
        ({"k": "0"}, "k is '0'"),
        ({"k": "1001"}, "k is 1001; it must be at most 1000"),
        ({"k": "1", "offset": "1000"}, "offset + k is 1001; it must be at most 1000"),
        ({"offset": "-1"}, "offset is '-1'"),
        ({"regions": "many"}, "regions is 'many'"),
        ({"regions": "100"}, "regions is 100"),
        ({"region": "1,2,3"}, "four numbers"),
        ({"region": "nan,0,1,1"}, "inside of the photo"),
        ({"region": "0,0,1,1", "regions": "2"}, "do not go together"),
        ({"min_score": "2"}, "between 0 and 1"),
        ({"min_score": "high"}, "auto"),
        ({"min_score": "nan"}, "between 0 and 1"),
        ({"where": "nothing = 1"}, "unknown column nothing"),
        ({"allow": "nothing.png"}, "not in the index"),
        ({"collapse": "perhaps"}, "collapse is 'perhaps'"),
    ],
)
def test_an_option_that_is_not_valid_is_refused(
    reading: TestClient, photo: bytes, parameters: dict[str, str], part: str
) -> None:
    assert part in refusal(reading.post("/v1/search", params=parameters, content=photo, headers=PNG), 422)
    assert part in refusal(reading.get("/v1/search", params={"id": "0", **parameters}), 422)


def test_the_least_score_can_be_that_of_the_index(reading: TestClient, photo: bytes) -> None:
    assert reading.post("/v1/search?min_score=auto", content=photo, headers=PNG).status_code == 200


@pytest.mark.parametrize("content", [b"no image", b"\x89PNG\r\n\x1a\n", b"<svg/>"])
def test_what_is_no_image_is_refused(reading: TestClient, content: bytes) -> None:
    assert "cannot be read" in refusal(reading.post("/v1/search", content=content, headers=PNG), 422)


def test_an_image_with_too_many_pixels_is_refused(dsi: Path) -> None:
    buffer = io.BytesIO()
    Image.new("1", (500, 500)).save(buffer, "PNG")
    with client(dsi, max_pixels=100_000) as opened:
        answer = opened.post("/v1/search", content=buffer.getvalue(), headers=PNG)
        assert "limit of 100000" in refusal(answer, 413)


def test_a_full_server_says_when_to_come_back(reading: TestClient, photo: bytes) -> None:
    engine = reading.app.state.engine  # type: ignore[attr-defined]
    engine.searches.taken += engine.settings.max_waiting
    try:
        answer = reading.post("/v1/search", content=photo, headers=PNG)
    finally:
        engine.searches.taken -= engine.settings.max_waiting
    refusal(answer, 429)
    assert answer.headers["retry-after"] == "1"
