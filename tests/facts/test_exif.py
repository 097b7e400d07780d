"""Facts in the headers of image files, also of broken ones."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers_images import encoded, photo
from PIL import ExifTags, Image, ImageFile, TiffImagePlugin

from vitdsi.facts.exif import read_facts
from vitdsi.facts.store import MetadataStore
from vitdsi.photos.decode import oriented_size

_BASE, _GPS = ExifTags.Base, ExifTags.GPS


def rational(value: str) -> TiffImagePlugin.IFDRational:
    fraction = Fraction(value)
    return TiffImagePlugin.IFDRational(fraction.numerator, fraction.denominator)


def exif(
    main: dict[int, Any] | None = None, shot: dict[int, Any] | None = None, gps: dict[int, Any] | None = None
) -> Image.Exif:
    tags = Image.Exif()
    tags.update(main or {})
    if shot:
        tags.get_ifd(ExifTags.IFD.Exif).update(shot)
    if gps:
        tags.get_ifd(ExifTags.IFD.GPSInfo).update(gps)
    return tags


_FULL = {
    "main": {_BASE.Make: "Canon", _BASE.Model: "Canon EOS 5D", _BASE.DateTime: "2020:01:02 03:04:05"},
    "shot": {
        _BASE.DateTimeOriginal: "2019:07:01 12:30:00",
        _BASE.LensModel: "EF 50mm\0\0",
        _BASE.ISOSpeedRatings: 400,
        _BASE.FNumber: rational("2.8"),
        _BASE.ExposureTime: rational("1/250"),
        _BASE.FocalLength: rational("50"),
    },
    "gps": {
        _GPS.GPSLatitudeRef: "S",
        _GPS.GPSLatitude: (rational("33"), rational("51"), rational("25.2")),
        _GPS.GPSLongitudeRef: "E",
        _GPS.GPSLongitude: (rational("151"), rational("12"), rational("36")),
    },
}


def written(path: Path, kind: str = "JPEG", **options: Any) -> Path:
    path.write_bytes(encoded(photo(), kind, **options))
    return path


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_full_exif_is_read_from_every_format(tmp_path: Path, kind: str) -> None:
    # Given an Exif object, Pillow's TIFF writer would keep only the main directory, so give bytes.
    path = written(tmp_path / "x", kind, exif=exif(**_FULL).tobytes())
    expected = {
        "width": 96,
        "height": 64,
        "bytes": path.stat().st_size,
        "format": kind,
        "taken": "2019-07-01T12:30:00",
        "year": 2019,
        "month": 7,
        "camera": "Canon EOS 5D",
        "lens": "EF 50mm",
        "iso": 400,
        "f_number": 2.8,
        "exposure": 0.004,
        "focal_length": 50.0,
        "latitude": -33.857,
        "longitude": 151.21,
    }
    assert read_facts(path) == expected
    assert read_facts(str(path)) == expected
    assert {type(value) for value in read_facts(path).values()} == {int, float, str}, (
        "Pillow's own number types must not leak"
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "PPM", "TIFF"])
def test_image_without_exif_has_size_and_format_only(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path / "x", kind)
    assert read_facts(path) == {"width": 96, "height": 64, "bytes": path.stat().st_size, "format": kind}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [0, 1, 2, 5, 6, 8, 9])
def test_width_and_height_follow_the_exif_orientation(tmp_path: Path, kind: str, orientation: int) -> None:
    path = written(tmp_path / "x", kind, exif=exif({_BASE.Orientation: orientation}))
    facts = read_facts(path)
    assert (facts["width"], facts["height"]) == oriented_size(path)
    assert (facts["width"] < facts["height"]) == (orientation in (5, 6, 8))


def test_mpo_counts_as_jpeg(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    photo().save(path, "MPO", save_all=True, append_images=[photo(seed=1)], exif=exif(**_FULL))
    with Image.open(path) as image:
        assert image.format == "MPO"
    assert read_facts(path)["format"] == "JPEG"
    assert read_facts(path)["year"] == 2019


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("Canon", "Canon EOS 5D", "Canon EOS 5D"),
        ("NIKON CORPORATION", "NIKON D850", "NIKON D850"),
        ("Apple", "iPhone 12", "Apple iPhone 12"),
        ("  SONY \0junk", " ILCE-7 ", "SONY ILCE-7"),
        ("", "D1", "D1"),
        ("Leica", "", "Leica"),
        ("", " ", None),
    ],
)
def test_camera_joins_make_and_model_without_repeating_the_make(
    tmp_path: Path, make: str, model: str, camera: str | None
) -> None:
    path = written(tmp_path / "x", exif=exif({_BASE.Make: make, _BASE.Model: model}))
    assert read_facts(path).get("camera") == camera


@pytest.mark.parametrize(
    ("original", "changed", "taken"),
    [
        ("2019:07:01 12:30:00", None, "2019-07-01T12:30:00"),
        (None, "2020:01:02 03:04:05", "2020-01-02T03:04:05"),
        ("0000:00:00 00:00:00", "2020:01:02 03:04:05", "2020-01-02T03:04:05"),
        ("2019:13:01 12:30:00", None, None),
        ("2019-07-01T12:30:00", None, "2019-07-01T12:30:00"),
        ("2019-07-01 12:30:00.25", None, "2019-07-01T12:30:00"),
        ("2019:07:01", None, None),
        ("    :  :     :  :  ", None, None),
        ("٢٠١٩:07:01 12:30:00", None, None),
    ],
)
def test_taken_is_the_first_valid_of_original_and_changed_time(
    tmp_path: Path, original: str | None, changed: str | None, taken: str | None
) -> None:
    tags = exif(
        {_BASE.DateTime: changed} if changed else None,
        {_BASE.DateTimeOriginal: original} if original else None,
    )
    facts = read_facts(written(tmp_path / "x", exif=tags))
    assert facts.get("taken") == taken
    assert (facts.get("year"), facts.get("month")) == (
        (int(taken[:4]), int(taken[5:7])) if taken else (None, None)
    )


def test_zero_and_undefined_numbers_are_left_out(tmp_path: Path) -> None:
    nothing = TiffImagePlugin.IFDRational(0, 0)
    tags = exif(
        None,
        {
            _BASE.FNumber: nothing,
            _BASE.ExposureTime: rational("0"),
            _BASE.ISOSpeedRatings: (200, 0),
            _BASE.FocalLength: rational("0"),
        },
        {
            _GPS.GPSLatitudeRef: "N",
            _GPS.GPSLatitude: (nothing, nothing, nothing),
            _GPS.GPSLongitudeRef: "W",
            _GPS.GPSLongitude: (rational("10"), rational("0"), rational("0")),
        },
    )
    facts = read_facts(written(tmp_path / "x", exif=tags))
    assert set(facts) == {"width", "height", "bytes", "format", "iso"}
    assert facts["iso"] == 200


@pytest.mark.parametrize(
    ("latitude", "longitude", "expected"),
    [
        (("N", "0"), ("W", "0"), (0.0, 0.0)),
        (("S", "90"), ("w", "180"), (-90.0, -180.0)),
        (("N", "91"), ("W", "10"), None),
        (("N", "10"), ("E", "181"), None),
    ],
)
def test_coordinates_out_of_range_are_left_out(
    tmp_path: Path,
    latitude: tuple[str, str],
    longitude: tuple[str, str],
    expected: tuple[float, float] | None,
) -> None:
    zero = rational("0")
    tags = exif(
        {_BASE.Make: "x"},
        None,
        {
            _GPS.GPSLatitudeRef: latitude[0],
            _GPS.GPSLatitude: (rational(latitude[1]), zero, zero),
            _GPS.GPSLongitudeRef: longitude[0],
            _GPS.GPSLongitude: (rational(longitude[1]), zero, zero),
        },
    )
    facts = read_facts(written(tmp_path / "x", exif=tags))
    if expected is None:
        assert "latitude" not in facts and "longitude" not in facts
    else:
        assert (facts["latitude"], facts["longitude"]) == expected


def test_anything_but_the_path_of_an_image_has_no_facts(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("x")
    (tmp_path / "empty.jpg").touch()
    for name in ("text.jpg", "empty.jpg", "nowhere.jpg", "a\0b", "x" * 5000, "."):
        assert read_facts(tmp_path / name) == {}
    sources: list[object] = [photo(), np.zeros((4, 4, 3), np.uint8), encoded(photo(), "PNG"), None, 3]
    for source in sources:
        assert read_facts(source) == {}


def test_broken_exif_keeps_size_and_format(tmp_path: Path) -> None:
    whole = encoded(photo(), "JPEG", exif=exif(**_FULL))
    start = whole.index(b"Exif\0\0") + 6
    end = whole.index(b"2019:07:01")
    rng = random.Random(0)
    complete = 0
    path = tmp_path / "x.jpg"
    for _ in range(300):
        broken = bytearray(whole)
        for _ in range(rng.randint(1, 20)):
            broken[rng.randrange(start, end)] = rng.randrange(256)
        path.write_bytes(broken)
        facts = read_facts(path)
        assert {facts["width"], facts["height"]} == {96, 64}
        assert facts["bytes"] == len(whole)
        MetadataStore.create({0: facts})
        complete += len(facts) == 15
    assert complete < 250


def test_truncated_or_damaged_files_never_raise(tmp_path: Path) -> None:
    rng = random.Random(1)
    path = tmp_path / "x"
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "GIF"):
        whole = encoded(photo(), kind, **({} if kind == "GIF" else {"exif": exif(**_FULL)}))
        for _ in range(40):
            broken = bytearray(whole[: rng.randint(1, len(whole))])
            broken[rng.randrange(len(broken))] ^= 255
            path.write_bytes(broken)
            assert len(read_facts(path)) in range(16)


def test_pixels_are_never_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [written(tmp_path / kind, kind, exif=exif(**_FULL)) for kind in ("JPEG", "PNG", "TIFF")]
    paths += [written(tmp_path / f"plain {kind}", kind) for kind in ("JPEG", "PNG", "TIFF")]

    decoded: list[object] = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: decoded.append(image))
    assert [read_facts(path)["width"] for path in paths] == [96] * 6
    assert decoded == []
