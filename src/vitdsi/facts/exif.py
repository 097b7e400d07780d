"""Facts in an image file: its size and format, and EXIF data about time, camera and place."""

from __future__ import annotations

import contextlib
import datetime
import math
import re
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from vitdsi.errors import ImageReadError
from vitdsi.photos.decode import displayed_size, open_image

__all__ = ["read_facts"]

_EXIF, _GPS = ExifTags.Base, ExifTags.GPS
_TIME = re.compile(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d):(\d\d)", re.ASCII)


def read_facts(source: object) -> dict[str, Any]:
    """Read the facts in an image file's header, without decoding its pixels.

    This function never raises an error: whatever cannot be read is left out.

    Args:
        source: the path of an image file. Anything else has no facts.

    Returns:
        An empty dictionary if `source` is not the path of a readable image. Otherwise always `width` and `height`
        (pixels, after the EXIF orientation has been applied), `bytes` and `format`, and, where EXIF data give them,
        `taken` (local time as ISO 8601 text), `year`, `month`, `camera`, `lens`, `iso`, `f_number`, `exposure`
        (seconds), `focal_length` (millimetres), `latitude` and `longitude` (degrees; south and west are negative).
    """
    if not isinstance(source, (str, Path)):
        return {}
    try:
        with open_image(source) as (image, _):
            return {**_file_facts(image), "bytes": Path(source).stat().st_size, **_camera_facts(image)}
    except (ImageReadError, OSError):
        return {}


def _file_facts(image: Image.Image) -> dict[str, Any]:
    width, height = displayed_size(image, _read_tags(image).get(_EXIF.Orientation))
    # MPO is a JPEG photo that is followed by a preview of itself.
    return {"width": width, "height": height, "format": "JPEG" if image.format == "MPO" else image.format}


def _camera_facts(image: Image.Image) -> dict[str, Any]:
    main = _read_tags(image)
    if not main:
        return {}
    photo, gps = _read_tags(image, ExifTags.IFD.Exif), _read_tags(image, ExifTags.IFD.GPSInfo)
    facts: dict[str, Any] = {}
    taken = _parse_time(photo.get(_EXIF.DateTimeOriginal)) or _parse_time(main.get(_EXIF.DateTime))
    if taken is not None:
        facts |= {"taken": taken.isoformat(), "year": taken.year, "month": taken.month}
    iso = _parse_number(photo.get(_EXIF.ISOSpeedRatings))
    facts |= {
        "camera": _camera_name(_clean_text(main.get(_EXIF.Make)), _clean_text(main.get(_EXIF.Model))),
        "lens": _clean_text(photo.get(_EXIF.LensModel)),
        "iso": None if iso is None else int(iso),
        "f_number": _parse_number(photo.get(_EXIF.FNumber)),
        "exposure": _parse_number(photo.get(_EXIF.ExposureTime)),
        "focal_length": _parse_number(photo.get(_EXIF.FocalLength)),
    }
    facts = {name: value for name, value in facts.items() if value}  # cameras write zero for unknown values
    latitude = _parse_degrees(gps.get(_GPS.GPSLatitude), gps.get(_GPS.GPSLatitudeRef), limit=90)
    longitude = _parse_degrees(gps.get(_GPS.GPSLongitude), gps.get(_GPS.GPSLongitudeRef), limit=180)
    if latitude is not None and longitude is not None:
        facts |= {"latitude": latitude, "longitude": longitude}
    return facts


def _read_tags(image: Image.Image, ifd: int | None = None) -> dict[int, Any]:
    """Return the readable tags of an EXIF directory `ifd`, or of the main directory."""
    tags: dict[int, Any] = {}
    # Pillow may raise almost any exception on broken data.
    with contextlib.suppress(Exception):
        # A PNG's own getexif() decodes the whole image, because its EXIF data may follow the pixels.
        exif = Image.Image.getexif(image)
        if ifd is not None:
            return exif.get_ifd(ifd)
        for tag in exif:
            with contextlib.suppress(Exception):
                tags[tag] = exif[tag]
    return tags


def _clean_text(value: object) -> str:
    """Return the text before the first NUL with runs of white space collapsed, or "" if `value` is not text."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return " ".join(value.partition("\0")[0].split()) if isinstance(value, str) else ""


def _camera_name(make: str, model: str) -> str:
    """Join make and model, without the make where the model repeats it (NIKON CORPORATION, NIKON D850)."""
    repeated = make and model.lower().startswith(make.split()[0].lower())
    return model if repeated else f"{make} {model}".strip()


def _parse_time(value: object) -> datetime.datetime | None:
    match = _TIME.match(_clean_text(value))
    try:
        return datetime.datetime.fromisoformat("{}-{}-{}T{}:{}:{}".format(*match.groups())) if match else None
    except ValueError:  # such as 0000:00:00 00:00:00, which cameras without a clock write
        return None


def _parse_number(value: Any) -> float | None:
    """Return a finite number of at least zero (the first one of a tuple), or None."""
    try:
        number = float(value[0] if isinstance(value, tuple) else value)
    except (TypeError, ValueError, IndexError, ArithmeticError):
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _parse_degrees(value: object, hemisphere: object, *, limit: int) -> float | None:
    """Convert (degrees, minutes, seconds) to degrees, negative for south and west; None beyond `limit`."""
    if not isinstance(value, tuple) or len(value) != 3:
        return None
    parts = [_parse_number(part) for part in value]
    if None in parts:
        return None
    degrees = sum(part / unit for part, unit in zip(parts, (1, 60, 3600), strict=True) if part is not None)
    if degrees > limit:
        return None
    return round(-degrees if _clean_text(hemisphere).upper() in ("S", "W") else degrees, 7)
