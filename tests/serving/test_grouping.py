"""Groups of copies, which one to keep, and decisions that stick."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from helpers_serving import client, refusal

from vitdsi.errors import UsageError
from vitdsi.index import ImageIndex
from vitdsi.serving import grouping


def _members(client: TestClient) -> list[set[str]]:
    groups = client.get("/v1/duplicates").json()["groups"]
    return [{image["image_id"] for image in group["images"]} for group in groups]


def test_groups_say_which_copy_to_keep(proving: TestClient) -> None:
    (group,) = proving.get("/v1/duplicates").json()["groups"]
    assert [image["image_id"] for image in group["images"]] == ["3.png", "small.png"]
    assert group["images"][1]["width"] == 200
    assert (group["keep"], group["reason"]) == ("3.png", "most pixels: 240 x 180, the next 200 x 150")


def test_a_group_that_should_be_kept_is_not_shown_again(proving: TestClient, tmp_path: Path) -> None:
    number = proving.get("/v1/images/small.png").json()["id"]
    answer = proving.post("/v1/duplicates/keep", json={"images": [str(number), "3.png"]})
    assert answer.json() == {"kept": ["3.png", "small.png"]}
    assert _members(proving) == []
    index = tmp_path / "textures.dsi"
    with client(index) as later:
        assert _members(later) == []
    read = ImageIndex.load(index, device="cpu")
    assert (read.state_.generation, len(read.state_.decisions)) == (2, 1)


def test_a_decision_about_other_images_leaves_a_group(proving: TestClient) -> None:
    proving.post("/v1/duplicates/keep", json={"images": ["3.png", "4.png"]})
    assert _members(proving) == [{"3.png", "small.png"}]


def test_decisions_need_a_writable_server_and_known_images(reading: TestClient, proving: TestClient) -> None:
    assert "--writable" in refusal(reading.post("/v1/duplicates/keep", json={"images": ["0", "1"]}), 403)
    refusal(proving.post("/v1/duplicates/keep", json={"images": ["0", "nothing"]}), 404)
    for body in ({}, {"images": ["0"]}, {"images": ["0", "0"]}, {"images": "01"}, []):
        refusal(proving.post("/v1/duplicates/keep", json=body), 422)


def test_groups_are_searched_once_for_a_state(writing: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr(grouping, "near_identical", lambda state: calls.append(state) or [])
    _members(writing)
    _members(writing)
    assert len(calls) == 1
    writing.delete("/v1/images/5")
    _members(writing)
    assert len(calls) == 2


def test_after_an_error_groups_are_searched_again(
    reading: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Any] = [UsageError("the index keeps no features"), [[0, 1]]]

    def search(_: object) -> list[list[int]]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    monkeypatch.setattr(grouping, "near_identical", search)
    assert "keeps no features" in refusal(reading.get("/v1/duplicates"), 422)
    assert len(_members(reading)) == 1
