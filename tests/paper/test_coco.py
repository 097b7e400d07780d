from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from vitdsi.errors import UsageError
from vitdsi.paper.coco import load_coco

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "coco2017mini"


def annotation(number: int, image: int, category: int, area: float, crowd: int = 0) -> dict[str, Any]:
    box = [0, 0, 1, area]
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "area": area,
        "bbox": box,
        "iscrowd": crowd,
    }


def instances(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg"):
        (tmp_path / "images" / name).touch()
    data = {
        "images": [
            {"id": 9 - i, "file_name": f"{name}.jpg", "width": 4, "height": 4}
            for i, name in enumerate("abcd")
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog"}],
        "annotations": [
            annotation(1, 9, 1, 5),
            annotation(2, 9, 7, 9),
            annotation(3, 9, 1, 5),
            annotation(4, 8, 1, 2),
            annotation(5, 8, 7, 90, crowd=1),
            annotation(6, 6, 7, 90, crowd=1),
        ],
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(data))
    return path


def test_photo_has_all_its_categories_and_that_of_its_largest_object(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = load_coco(tmp_path / "images", instances(tmp_path))
    assert [(r.image_id, set(r.labels), r.largest) for r in records] == [
        ("a.jpg", {"cat", "dog"}, "dog"),
        ("b.jpg", {"cat", "dog"}, "cat"),
        ("c.jpg", set(), None),
        ("d.jpg", {"dog"}, "dog"),
    ]
    assert records[0].path == tmp_path / "images" / "a.jpg"
    assert capsys.readouterr() == ("", "")


def test_unlabelled_photos_are_kept_excluded_or_an_error(tmp_path: Path) -> None:
    path = instances(tmp_path)
    excluded = load_coco(tmp_path / "images", path, unlabelled="exclude")
    assert [r.image_id for r in excluded] == ["a.jpg", "b.jpg", "d.jpg"]
    with pytest.raises(UsageError, match=r"1 photos have no annotation, the first is c\.jpg"):
        load_coco(tmp_path / "images", path, unlabelled="error")
    wrong: Any = "drop"
    with pytest.raises(UsageError, match="unlabelled='drop'"):
        load_coco(tmp_path / "images", path, unlabelled=wrong)


def test_missing_photo_raises_with_its_name(tmp_path: Path) -> None:
    path = instances(tmp_path)
    (tmp_path / "images" / "b.jpg").unlink()
    with pytest.raises(UsageError, match=r"1 of the 4 photos of .* are missing, the first is b\.jpg"):
        load_coco(tmp_path / "images", path)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        '{"images": [{"id": 1}], "annotations": [], "categories": []}',
        '{"images": [], "annotations": [], "categories": []}',
    ],
)
def test_broken_or_empty_instances_file_raises(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UsageError, match=r"not a COCO instances file|lists no photos"):
        load_coco(tmp_path, tmp_path / "x.json")


def test_missing_file_or_library_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_coco(tmp_path, tmp_path / "x.json")

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UsageError, match="pip install pycocotools"):
        load_coco(tmp_path, tmp_path / "x.json")


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs shared/data/coco2017mini")
def test_real_coco_photos_all_have_a_largest_category() -> None:
    records = load_coco(SHARED / "images", SHARED / "instances.json", unlabelled="exclude")
    assert len(records) == 1498
    assert len(frozenset().union(*(r.labels for r in records))) == 80
    assert all(r.largest in r.labels for r in records)
