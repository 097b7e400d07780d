"""The collection by HTTP."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from helpers_images import encoded, photographed, textured
from helpers_images import photo as another
from helpers_serving import PNG, names, refusal

from vitdsi.index import ImageIndex


def _png(seed: int) -> bytes:
    buffer = io.BytesIO()
    another(seed=seed).save(buffer, "PNG")
    return buffer.getvalue()


def test_images_are_listed_in_pages(reading: TestClient) -> None:
    pages = [reading.get(f"/v1/images?offset={offset}&limit=5").json() for offset in (0, 5, 10, 15)]
    assert [len(page["images"]) for page in pages] == [5, 5, 2, 0]
    assert {page["total"] for page in pages} == {12}
    listed = [image["image_id"] for page in pages for image in page["images"]]
    assert len(set(listed)) == 12


def test_a_filter_restricts_the_list_the_total_and_the_facets(reading: TestClient) -> None:
    page = reading.get(
        "/v1/images", params={"where": 'album = "sea"', "facets": "album,stars", "limit": 1}
    ).json()
    assert page["total"] == 3
    assert len(page["images"]) == 1
    assert page["facets"]["album"] == [{"value": "sea", "count": 3}]
    assert [facet["value"] for facet in page["facets"]["stars"]] == [1, 3, 5]


@pytest.mark.parametrize(
    "query",
    [
        "where=nothing",
        "facets=colour",
        "limit=100000",
        "offset=-1",
        "facets=" + ",".join(map(str, range(30))),
    ],
)
def test_a_page_that_cannot_be_is_refused(reading: TestClient, query: str) -> None:
    refusal(reading.get(f"/v1/images?{query}"), 422)


def test_an_image_is_described_by_name(reading: TestClient) -> None:
    described = reading.get("/v1/images/round/01.png").json()
    assert described["metadata"]["stars"] == 1
    refusal(reading.get("/v1/images/round/02.png"), 404)


def test_the_summary_says_what_can_be_asked(reading: TestClient) -> None:
    info = reading.get("/v1/info").json()
    assert (info["images"], info["generation"], info["writable"], info["photos"]) == (12, 1, False, True)
    assert info["fields"]["album"] == "text"
    assert info["bytes"]["model"] > 0
    assert info["limits"]["k"] == 1000
    assert info["verify"]


def test_nothing_changes_unless_the_server_is_writable(reading: TestClient, photo: bytes, dsi: Path) -> None:
    answer = reading.post("/v1/images?image_id=new.png", content=photo, headers=PNG)
    assert "--writable" in refusal(answer, 403)
    assert "--writable" in refusal(reading.delete("/v1/images/0"), 403)
    assert ImageIndex.load(dsi, device="cpu").state_.generation == 1


def test_an_image_is_added_found_and_removed(writing: TestClient, copied: Path) -> None:
    body = _png(7)
    added = writing.post("/v1/images?image_id=new/a.png", content=body, headers=PNG).json()
    assert (added["added"], added["images"], added["generation"]) == (["new/a.png"], 13, 2)
    assert "new/a.png" in names(writing.post("/v1/search?k=13", content=body, headers=PNG))
    assert writing.get("/v1/images/new/a.png").json()["metadata"]["format"] == "PNG"
    assert ImageIndex.load(copied, device="cpu").state_.generation == 2
    removed = writing.delete("/v1/images/new/a.png").json()
    assert (removed["removed"], removed["images"], removed["generation"]) == (["new/a.png"], 12, 3)
    refusal(writing.delete("/v1/images/new/a.png"), 404)
    assert "new/a.png" not in names(writing.post("/v1/search?k=13", content=body, headers=PNG))


def test_an_added_image_can_be_proven(proving: TestClient) -> None:
    body = encoded(textured(seed=9), "PNG")
    assert proving.post("/v1/images?image_id=new.png", content=body, headers=PNG).json()["images"] == 8
    query = encoded(photographed(textured(seed=9)), "PNG")
    first = proving.post("/v1/search?k=1", content=query, headers=PNG).json()["results"][0]
    assert (first["image_id"], first["certain"]) == ("new.png", True)


def test_several_files_are_added_under_their_names(writing: TestClient) -> None:
    files = [
        ("image", (name, body)) for name, body in (("a.png", _png(8)), ("b/c.png", _png(9)), ("d.png", b"no"))
    ]
    answer = writing.post("/v1/images", files=files).json()
    assert answer["added"] == ["a.png", "b/c.png"]
    assert [skipped["image_id"] for skipped in answer["skipped"]] == ["d.png"]
    again = writing.post("/v1/images", files=files[:1]).json()
    assert (again["added"], again["unchanged"], again["generation"]) == ([], 1, answer["generation"])


def test_an_image_with_the_same_name_is_replaced_only_on_demand(writing: TestClient) -> None:
    refusal(writing.post("/v1/images?image_id=round/01.png", content=_png(5), headers=PNG), 422)
    answer = writing.post(
        "/v1/images?image_id=round/01.png&replace=true", content=_png(5), headers=PNG
    ).json()
    assert (answer["replaced"], answer["images"]) == (["round/01.png"], 12)


def test_an_addition_without_a_name_or_an_image_is_refused(writing: TestClient, photo: bytes) -> None:
    refusal(writing.post("/v1/images", content=photo, headers=PNG), 400)
    refusal(writing.post("/v1/images?image_id=a.png", content=b"no", headers=PNG), 422)
    refusal(writing.post("/v1/images", files={"image": ("", b"")}), 400)
