"""Pictures: made from files inside the folder only, kept within a bound."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from helpers_images import photo
from PIL import Image

from vitdsi.columns.names import Names
from vitdsi.serving.errors import ApiError
from vitdsi.serving.pictures import Pictures, is_inside
from vitdsi.serving.served import Served


def _size(thumbnail: tuple[bytes, bool]) -> tuple[int, int]:
    return Image.open(io.BytesIO(thumbnail[0])).size


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("a.jpg", True),
        ("a/b c.jpg", True),
        ("a..b/c.jpg", True),
        ("../a.jpg", False),
        ("a/../../b.jpg", False),
        ("/etc/passwd", False),
        ("", False),
        (".", False),
        ("a\\..\\b.jpg", False),
        ("a\0.jpg", False),
    ],
)
def test_names_that_lead_out_of_the_folder_are_recognised(name: str, inside: bool) -> None:
    assert is_inside(name) is inside


def test_no_file_outside_the_folder_is_opened(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    photo().save(tmp_path / "secret.png")
    pictures = Pictures(tmp_path / "photos", 10_000, 1000)
    for name in ("../secret.png", str(tmp_path / "secret.png"), "x/../../secret.png", "x" * 5000):
        assert pictures.file(name) is None
        with pytest.raises(ApiError):
            pictures.photo(name)


def test_an_index_whose_names_lead_elsewhere_shows_no_file(served: Served, tmp_path: Path) -> None:
    """An index may come from somebody else."""
    (tmp_path / "photos").mkdir()
    photo(200, 100).save(tmp_path / "secret.png")
    state = replace(served.state, image_ids=Names.of(["../secret.png", *served.state.image_ids[1:]]))
    pictures = Pictures(tmp_path / "photos", 100_000, 100_000)
    assert _size(pictures.thumbnail(replace(served, state=state), 0, 256)) == (32, 32)


def test_a_thumbnail_keeps_the_proportions(served: Served, photos: Path) -> None:
    pictures = Pictures(photos, 10_000, 100_000)
    assert _size(pictures.thumbnail(served, 0, 32)) == (48, 40)  # not enlarged
    photo(400, 200).save(photos.parent / "large.png")
    state = replace(served.state, image_ids=Names.of(["large.png", *served.state.image_ids[1:]]))
    wide = replace(served, state=state)
    assert _size(Pictures(photos.parent, 100_000, 0).thumbnail(wide, 0, 128)) == (128, 64)


def test_without_a_readable_file_the_small_grey_picture_is_shown(served: Served, tmp_path: Path) -> None:
    for folder in (None, tmp_path):
        assert _size(Pictures(folder, 10_000, 0).thumbnail(served, 0, 256)) == (32, 32)
    broken = tmp_path / served.state.image_ids[0]
    broken.parent.mkdir()
    broken.write_bytes(b"no image")
    assert _size(Pictures(tmp_path, 10_000, 0).thumbnail(served, 0, 256)) == (32, 32)
    without = replace(served, state=replace(served.state, thumbnails=None))
    with pytest.raises(ApiError, match="--images"):
        Pictures(None, 10_000, 0).thumbnail(without, 0, 256)


def test_kept_thumbnails_stay_within_their_bound(served: Served, photos: Path) -> None:
    one = len(Pictures(photos, 10_000, 0).thumbnail(served, 0, 64)[0])
    pictures = Pictures(photos, 10_000, 3 * one)
    for number in range(12):
        pictures.thumbnail(served, number, 64)
        assert pictures.kept_bytes <= 3 * one
    assert pictures.kept_bytes > 0
    pictures.clear()
    assert pictures.kept_bytes == 0


def test_a_kept_thumbnail_is_not_made_again(
    served: Served, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = Pictures(photos, 10_000, 1_000_000)
    first = pictures.thumbnail(served, 0, 64)
    monkeypatch.setattr("vitdsi.serving.pictures.decode", None)
    assert pictures.thumbnail(served, 0, 60) == first  # sides are rounded up


def test_the_grey_picture_is_replaced_when_the_file_comes(
    served: Served, photos: Path, tmp_path: Path
) -> None:
    pictures = Pictures(tmp_path, 10_000, 1_000_000)
    grey, of_file = pictures.thumbnail(served, 0, 64)
    assert not of_file
    file = tmp_path / served.state.image_ids[0]
    file.parent.mkdir()
    shutil.copy(photos / served.state.image_ids[0], file)
    picture, of_file = pictures.thumbnail(served, 0, 64)
    assert of_file and picture != grey


def test_the_media_type_is_that_of_the_content(tmp_path: Path) -> None:
    photo().save(tmp_path / "a.html", "PNG")
    (tmp_path / "b.png").write_text("<script>", "utf-8")
    pictures = Pictures(tmp_path, 10_000, 0)
    assert pictures.photo("a.html") == (tmp_path / "a.html", "image/png")
    with pytest.raises(ApiError):
        pictures.photo("b.png")
