"""Groups of copies, which one to keep, and decisions that stick."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from helpers_serving import client, refusal

from vitdsi.errors import UsageError
from vitdsi.serving import grouping
from vitdsi.serving.errors import ApiError
from vitdsi.serving.grouping import add_decision, choose_copy, read_decisions


@pytest.fixture
def grouped(writing: TestClient, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """A server that finds two groups."""
    monkeypatch.setattr(grouping, "near_identical", lambda state: [[0, 1, 2], [3, 4]])
    return writing


def _members(client: TestClient) -> list[set[int]]:
    return [
        {image["id"] for image in group["images"]} for group in client.get("/v1/duplicates").json()["groups"]
    ]


def test_groups_say_which_copy_to_keep(grouped: TestClient) -> None:
    group = grouped.get("/v1/duplicates").json()["groups"][1]
    assert {image["id"] for image in group["images"]} == {3, 4}
    assert group["images"][0]["width"] == 48
    assert group["keep"] in {image["image_id"] for image in group["images"]}
    assert group["reason"]


def test_a_group_that_should_be_kept_is_not_shown_again(
    grouped: TestClient, copied: Path, photos: Path
) -> None:
    assert _members(grouped) == [{0, 1, 2}, {3, 4}]
    names = [grouped.get(f"/v1/images/{number}").json()["image_id"] for number in (3, 4)]
    assert grouped.post("/v1/duplicates/keep", json={"images": names}).json() == {"kept": sorted(names)}
    assert _members(grouped) == [{0, 1, 2}]
    with client(copied, images=photos) as later:
        assert _members(later) == [{0, 1, 2}]


def test_a_further_copy_brings_a_group_back(grouped: TestClient) -> None:
    grouped.post("/v1/duplicates/keep", json={"images": ["0", "1"]})
    assert _members(grouped) == [{0, 1, 2}, {3, 4}]


def test_decisions_need_a_writable_server_and_known_images(reading: TestClient, grouped: TestClient) -> None:
    assert "--writable" in refusal(reading.post("/v1/duplicates/keep", json={"images": ["0", "1"]}), 403)
    refusal(grouped.post("/v1/duplicates/keep", json={"images": ["0", "nothing"]}), 404)
    for body in ({}, {"images": ["0"]}, {"images": "01"}, []):
        refusal(grouped.post("/v1/duplicates/keep", json=body), 422)


def test_groups_are_searched_once_for_a_state(grouped: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr(grouping, "near_identical", lambda state: calls.append(state) or [])
    _members(grouped)
    _members(grouped)
    assert len(calls) == 1
    grouped.delete("/v1/images/5")
    _members(grouped)
    assert len(calls) == 2


def test_after_an_error_groups_are_searched_again(
    grouped: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Any] = [UsageError("the index keeps no features"), [[0, 1]]]

    def search(_: object) -> list[list[int]]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    monkeypatch.setattr(grouping, "near_identical", search)
    assert "keeps no features" in refusal(grouped.get("/v1/duplicates"), 422)
    assert _members(grouped) == [{0, 1}]


def _copy(name: str, side: int | None, size: int | None, time: str | None) -> dict[str, Any]:
    return {"image_id": name, "width": side, "height": side, "bytes": size, "time": time}


@pytest.mark.parametrize(
    ("copies", "keep", "reason"),
    [
        ([_copy("a", 10, 99, None), _copy("b", 20, 5, None)], "b", "most pixels"),
        ([_copy("a", 10, 5, "2001"), _copy("b", 10, 6, "2020")], "b", "least compressed"),
        ([_copy("a", 10, 5, "2020"), _copy("b", 10, 5, "2001")], "b", "oldest"),
        ([_copy("b", 10, 5, None), _copy("a", 10, 5, None)], "a", "equal"),
        ([_copy("a", None, None, None), _copy("b", 1, 1, None)], "b", "most pixels"),
    ],
)
def test_the_largest_least_compressed_oldest_copy_is_kept(
    copies: list[dict[str, Any]], keep: str, reason: str
) -> None:
    kept, why = choose_copy(copies)
    assert kept == keep
    assert reason in why


def test_a_larger_decision_replaces_the_smaller_one(tmp_path: Path) -> None:
    assert read_decisions(tmp_path) == []
    for names in ({"a", "b"}, {"c", "d"}, {"a", "b", "e"}):
        add_decision(tmp_path, names)
    assert read_decisions(tmp_path) == [{"c", "d"}, {"a", "b", "e"}]


def test_a_broken_file_of_decisions_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "kept.json").write_text("[", "utf-8")
    with pytest.raises(ApiError, match="broken"):
        read_decisions(tmp_path)
