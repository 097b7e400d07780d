from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vitdsi.errors import UsageError
from vitdsi.photos.decode import FORMATS
from vitdsi.photos.find import SUFFIXES, ImageRecord, find_images, scan_folder


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_images_at_any_depth_are_named_by_their_relative_path(tmp_path: Path) -> None:
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


def test_image_outside_the_class_folders_is_refused_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "dogs/3.jpg", "stray.jpg")
    with pytest.raises(UsageError, match=r"stray\.jpg: lies in no class folder"):
        scan_folder(tmp_path, "folder")


def test_single_file_is_a_collection_without_a_class(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    assert scan_folder(tmp_path / "a.jpg") == [ImageRecord("a.jpg", tmp_path / "a.jpg", None)]
    with pytest.raises(UsageError, match="no class folder"):
        scan_folder(tmp_path / "a.jpg", "folder")


def test_unknown_kind_of_labels_is_refused(tmp_path: Path) -> None:
    labels: Any = "json"
    with pytest.raises(UsageError, match="labels='json'"):
        scan_folder(tmp_path, labels)


def test_finds_images_recursively_sorted_without_hidden_ones(tmp_path: Path) -> None:
    for name in (
        "b/z.JPG",
        "b/a.webp",
        "a.png",
        "b-c.tiff",
        ".hidden.jpg",
        ".git/x.jpg",
        "notes.txt",
        "c/._d.jpg",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.jpg").mkdir()
    found = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
    assert found == ["a.png", "b-c.tiff", "b/a.webp", "b/z.JPG"]


def test_symlinks_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "real").mkdir(parents=True)
    outside.mkdir()
    (root / "real" / "1.png").write_bytes(b"x")
    (outside / "2.png").write_bytes(b"x")
    (root / "a-link").symlink_to(root / "real")
    (root / "real" / "loop").symlink_to(root)
    (root / "out").symlink_to(outside)
    (root / "broken.png").symlink_to(root / "nothing.png")
    found = [path.relative_to(root).as_posix() for path in find_images(root)]
    assert found == ["out/2.png", "real/1.png"]


def test_one_file_is_returned_whatever_its_suffix(tmp_path: Path) -> None:
    path = tmp_path / "scan"
    path.write_bytes(b"x")
    assert find_images(path) == [path]


def test_missing_folder_or_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere: no such file or folder"):
        find_images(tmp_path / "nowhere")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UsageError, match=r"no images.*\.jpeg .*\.webp"):
        find_images(tmp_path)


def test_suffixes_belong_to_formats_that_are_read() -> None:
    Image.init()
    known = Image.registered_extensions()
    of_heif = {".heic", ".heif", ".hif"}  # Pillow knows these once pillow-heif is registered
    assert {known[suffix] for suffix in SUFFIXES - of_heif} <= {*FORMATS, "MPO"}
