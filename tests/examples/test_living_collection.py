from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import living_collection
import pytest
from demo_collection import CollectionPaths

from vitdsi import ImageIndex

pytest.importorskip("skimage", reason="the photos are inside scikit-image")


class FakeIndex:
    """Finds the same image for every photo."""

    def search_many(self, images: list[Path], k: int) -> list[list[Any]]:
        return [[SimpleNamespace(image_id="a/0.jpg")] for _ in images]


def test_found_counts_the_copies_whose_source_comes_first(tmp_path: Path) -> None:
    for name in ("a/0.jpg", "a/1.jpg", "b/0.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    paths = CollectionPaths(tmp_path / "images", tmp_path)
    assert living_collection.found(cast(ImageIndex, FakeIndex()), paths) == "1 of 3"


@pytest.mark.slow
def test_main_adds_removes_and_compacts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    living_collection.main(tmp_path)
    out = capsys.readouterr().out
    for words in (
        "indexed 288 photos",
        "added 17 photos, 288 were already there",
        "removed 4",
        "compacted from 305",
    ):
        assert words in out
