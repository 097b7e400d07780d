from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers_images import difference, encoded, photo, stored_with
from PIL import Image

from vitdsi.errors import ImageReadError, VitdsiError
from vitdsi.facts.exif import read_facts
from vitdsi.photos.decode import decode, oriented_size
from vitdsi.photos.find import find_images
from vitdsi.photos.heif import HEADER_BYTES, formats_for


def heic(image: Image.Image, **options: Any) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    return encoded(image, "HEIF", quality=95, **options)


@pytest.fixture
def without_pillow_heif(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)


def test_heic_is_recognised_by_its_content_whatever_its_name(tmp_path: Path) -> None:
    data = heic(photo(96, 64))
    for name in ("IMG_0001.HEIC", "IMG_0001.jpg"):
        (tmp_path / name).write_bytes(data)
        image = decode(tmp_path / name)
        assert (image.mode, image.size) == ("RGB", (96, 64))
        assert difference(image, photo(96, 64)) < 4
    assert difference(decode(data), photo(96, 64)) < 4


def test_opener_is_registered_when_the_first_file_is_met(monkeypatch: pytest.MonkeyPatch) -> None:
    data = heic(photo())
    monkeypatch.delitem(Image.OPEN, "HEIF")
    assert decode(data).size == photo().size
    assert "HEIF" in Image.OPEN


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_of_heic_is_applied_once(tmp_path: Path, orientation: int) -> None:
    upright = photo(48, 32)
    stored = stored_with(upright, orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "x.heic"
    path.write_bytes(heic(stored, exif=exif.tobytes()))
    image = decode(path)
    assert image.size == oriented_size(path) == (48, 32)
    assert difference(image, upright) < 8
    facts = read_facts(path)
    assert (facts["width"], facts["height"], facts["format"]) == (48, 32, "HEIF")


def test_heic_files_of_a_folder_are_found(tmp_path: Path) -> None:
    for name in ("a.heic", "b.HEIF", "c.hif", "d.avif"):
        (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in find_images(tmp_path)] == ["a.heic", "b.HEIF", "c.hif", "d.avif"]


@pytest.mark.usefixtures("without_pillow_heif")
def test_heic_without_the_extra_says_what_to_install(tmp_path: Path) -> None:
    path = tmp_path / "x.heic"
    path.write_bytes(b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf" + b"\0" * 40)
    with pytest.raises(ImageReadError, match=r"x\.heic: HEIC needs pillow-heif; .*vitdsi\[heic\]"):
        decode(path)


def test_avif_without_a_reader_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    Image.init()
    monkeypatch.delitem(Image.OPEN, "AVIF", raising=False)
    with pytest.raises(VitdsiError, match=r"AVIF needs Pillow 11\.3"):
        formats_for(b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miafMA1B")


def test_avif_is_left_to_pillow_also_under_the_general_brand() -> None:
    Image.init()
    if "AVIF" not in Image.OPEN:
        pytest.skip("this Pillow reads no AVIF")
    data = encoded(photo(), "AVIF", quality=95)
    assert formats_for(data[:HEADER_BYTES]) == ("AVIF",)
    assert formats_for(b"\0\0\0\x18ftypmif1\0\0\0\0avifmiaf") == ("AVIF",)
    assert difference(decode(data), photo()) < 4


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "JPEG2000"])
def test_other_files_are_left_to_their_readers(kind: str) -> None:
    assert formats_for(encoded(photo(), kind)[:HEADER_BYTES]) == ()
    assert formats_for(b"") == ()
    assert formats_for(b"\0\0\0\x18ftypisom\0\0\0\0isommp42") == ()


def test_truncated_heic_cannot_be_read() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = heic(noise)
    with pytest.raises(ImageReadError):
        decode(data[: len(data) // 2])
