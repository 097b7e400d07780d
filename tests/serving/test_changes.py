"""Adding and removing: names that are refused, and images that are too large."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from helpers_cli import TINY
from helpers_images import encoded, photo
from helpers_serving import PNG, refusal

from vitdsi.config import load_config
from vitdsi.index import ImageIndex
from vitdsi.serving.changes import add_images, remove_images
from vitdsi.serving.errors import ApiError
from vitdsi.serving.holder import IndexHolder

_IMAGE = encoded(photo(seed=3), "PNG")


@pytest.mark.parametrize(
    "name",
    [
        "../evil.png",
        "/etc/passwd",
        "a/../../b.png",
        "a\\b.png",
        "a\x00b",
        "a\r\nSet-Cookie: b",
        "x" * 501,
        ".",
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(writing: TestClient, name: str) -> None:
    answer = writing.post("/v1/images", params={"image_id": name}, content=_IMAGE, headers=PNG)
    assert "cannot be called" in refusal(answer, 422)


def test_an_image_with_too_many_pixels_is_not_added(copied: Path) -> None:
    with pytest.raises(ApiError, match="96 x 64 pixels") as caught:
        add_images(IndexHolder(copied, "cpu"), [("a.png", _IMAGE)], replace_changed=False, max_pixels=6000)
    assert caught.value.status_code == 413


def test_no_room_for_temporary_files_is_one_line_and_changes_nothing(
    writing: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = writing.get("/v1/images").json()["total"]
    with monkeypatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
        answer = writing.post("/v1/images", params={"image_id": "full.png"}, content=_IMAGE, headers=PNG)
        assert "make room for temporary files" in refusal(answer, 500)
    assert writing.get("/v1/images").json()["total"] == before


def test_names_say_the_class_where_an_index_has_classes(photos: Path, tmp_path: Path) -> None:
    config = load_config(overrides=[*TINY, "labels=folder", "training.max_epochs=2", "device=cpu"])
    ImageIndex(config).fit(photos).save(tmp_path / "classes.dsi")
    holder = IndexHolder(tmp_path / "classes.dsi", "cpu")
    with pytest.raises(ApiError, match="CLASS/NAME"):
        add_images(holder, [("a.png", _IMAGE)], replace_changed=False, max_pixels=10_000)
    served, result = add_images(holder, [("round/a.png", _IMAGE)], replace_changed=False, max_pixels=10_000)
    assert (served.state.labels or [])[served.number("round/a.png")] == "round"
    assert result.image_ids == ["round/a.png"]
    after, removed = remove_images(holder, "round/a.png")
    assert removed == "round/a.png"
    assert len(after.live) == len(served.live) - 1
