from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vitdsi.datasets.folder import ImageRecord, scan_folder
from vitdsi.errors import UsageError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_flat_and_nested(tmp_path: Path) -> None:
    touch(tmp_path, "b/deep/2.jpg", "a.jpg")
    assert scan_folder(tmp_path) == [
        ImageRecord("a.jpg", tmp_path / "a.jpg", None),
        ImageRecord("b/deep/2.jpg", tmp_path / "b/deep/2.jpg", None),
    ]


def test_first_sub_folder_is_the_class(tmp_path: Path) -> None:
    touch(tmp_path, "dogs/3.jpg", "cats/x/1.jpg", "cats/2.jpg")
    records = scan_folder(tmp_path, "folder")
    assert [(r.image_id, r.label) for r in records] == [
        ("cats/2.jpg", "cats"),
        ("cats/x/1.jpg", "cats"),
        ("dogs/3.jpg", "dogs"),
    ]


def test_image_outside_of_the_class_folders_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "dogs/3.jpg", "stray.jpg")
    with pytest.raises(UsageError, match=r"stray\.jpg: lies in no class folder"):
        scan_folder(tmp_path, "folder")


def test_one_file(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    assert scan_folder(tmp_path / "a.jpg") == [ImageRecord("a.jpg", tmp_path / "a.jpg", None)]
    with pytest.raises(UsageError, match="no class folder"):
        scan_folder(tmp_path / "a.jpg", "folder")


def test_wrong_labels(tmp_path: Path) -> None:
    labels: Any = "json"
    with pytest.raises(UsageError, match="labels='json'"):
        scan_folder(tmp_path, labels)
