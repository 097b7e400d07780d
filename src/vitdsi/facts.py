"""Where facts about images come from: the files themselves (size, EXIF), and tables that people keep beside them."""

from __future__ import annotations

import contextlib
import csv
import datetime
import importlib
import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from vitdsi.errors import ImageReadError, UsageError
from vitdsi.images import _readable

__all__ = ["join", "read_facts", "read_sidecar"]

_KEYS = ("image_id", "file", "filename", "file_name", "path", "image")
_EXIF, _GPS = ExifTags.Base, ExifTags.GPS

# No leading zeros and no plus: such are codes. Longer ones stay text too.
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_DECIMAL = re.compile(r"-?(?:(?:0|[1-9][0-9]{0,99})(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_TIME = re.compile(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d):(\d\d)", re.ASCII)


def read_facts(source: object) -> dict[str, Any]:
    """What an image file says about itself, from its header alone; {} where `source` is no path of a readable image.

    Always: width and height (pixels, upright), bytes, format. Where EXIF has them: taken (local time as ISO text),
    year, month, camera, lens, iso, f_number, exposure (s), focal_length (mm), latitude, longitude (degrees).
    Never raises.
    """
    if not isinstance(source, (str, Path)):
        return {}
    try:
        with _readable(source) as (image, _):
            return {**_of_the_file(image), "bytes": Path(source).stat().st_size, **_of_the_camera(image)}
    except (ImageReadError, OSError):
        return {}


def _of_the_file(image: Image.Image) -> dict[str, Any]:
    width, height = image.size
    # A TIFF swaps its size by itself, already when it is opened.
    if image.format != "TIFF" and _exif(image).get(_EXIF.Orientation) in (5, 6, 7, 8):
        width, height = height, width
    kind = "JPEG" if image.format == "MPO" else image.format  # MPO: a photo with its preview behind it
    return {"width": width, "height": height, "format": kind}


def _exif(image: Image.Image, ifd: int | None = None) -> dict[int, Any]:
    """The readable tags of the main directory or of another."""
    tags: dict[int, Any] = {}
    # Pillow's readers raise nearly anything on broken data.
    with contextlib.suppress(Exception):
        # Not image.getexif(): that decodes all of a PNG, in which EXIF may also stand behind the pixels.
        exif = Image.Image.getexif(image)
        if ifd is not None:
            return exif.get_ifd(ifd)
        for tag in exif:
            with contextlib.suppress(Exception):
                tags[tag] = exif[tag]
    return tags


def _of_the_camera(image: Image.Image) -> dict[str, Any]:
    main = _exif(image)
    if not main:
        return {}
    photo, gps = _exif(image, ExifTags.IFD.Exif), _exif(image, ExifTags.IFD.GPSInfo)
    facts: dict[str, Any] = {}
    taken = _time(photo.get(_EXIF.DateTimeOriginal)) or _time(main.get(_EXIF.DateTime))
    if taken is not None:
        facts |= {"taken": taken.isoformat(), "year": taken.year, "month": taken.month}
    iso = _number(photo.get(_EXIF.ISOSpeedRatings))
    facts |= {
        "camera": _camera(_words(main.get(_EXIF.Make)), _words(main.get(_EXIF.Model))),
        "lens": _words(photo.get(_EXIF.LensModel)),
        "iso": None if iso is None else int(iso),
        "f_number": _number(photo.get(_EXIF.FNumber)),
        "exposure": _number(photo.get(_EXIF.ExposureTime)),
        "focal_length": _number(photo.get(_EXIF.FocalLength)),
    }
    facts = {name: value for name, value in facts.items() if value}  # zero is how cameras say unknown
    latitude = _degrees(gps.get(_GPS.GPSLatitude), gps.get(_GPS.GPSLatitudeRef), 90)
    longitude = _degrees(gps.get(_GPS.GPSLongitude), gps.get(_GPS.GPSLongitudeRef), 180)
    if latitude is not None and longitude is not None:
        facts |= {"latitude": latitude, "longitude": longitude}
    return facts


def _words(value: object) -> str:
    """The text before the first NUL, on one line."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return " ".join(value.partition("\0")[0].split()) if isinstance(value, str) else ""


def _camera(make: str, model: str) -> str:
    """Both, without repeating the make: NIKON CORPORATION and NIKON D850 is NIKON D850."""
    repeated = make and model.lower().startswith(make.split()[0].lower())
    return model if repeated else f"{make} {model}".strip()


def _time(value: object) -> datetime.datetime | None:
    match = _TIME.match(_words(value))
    try:
        return datetime.datetime.fromisoformat("{}-{}-{}T{}:{}:{}".format(*match.groups())) if match else None
    except ValueError:  # 0000:00:00 00:00:00, as cameras without a clock write
        return None


def _number(value: Any) -> float | None:
    """Finite and not negative; the first of several."""
    try:
        number = float(value[0] if isinstance(value, tuple) else value)
    except (TypeError, ValueError, IndexError, ArithmeticError):
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _degrees(value: object, side: object, most: int) -> float | None:
    """Degrees, minutes and seconds to degrees; south and west are negative."""
    if not isinstance(value, tuple) or len(value) != 3:
        return None
    parts = [_number(part) for part in value]
    if None in parts:
        return None
    degrees = sum(part / unit for part, unit in zip(parts, (1, 60, 3600), strict=True) if part is not None)
    if degrees > most:
        return None
    return round(-degrees if _words(side).upper() in ("S", "W") else degrees, 7)


def read_sidecar(path: Path) -> dict[str, dict[str, Any]]:
    """image_id -> facts, from a .csv, .tsv, .json, .jsonl or .parquet file.

    The images are named by the first column there is of image_id, file, filename, file_name, path and image; JSON may
    also be one object whose names are the images. In CSV and TSV an empty field is missing, and a column is numeric
    where every field is a number as one writes it: 007 is not. A column without a name is left out.

    Raises:
        UsageError: no such file, another suffix, unreadable, no such column, an image named twice, rows of other
            lengths than the header; with the line or the row.
    """
    path = Path(path)
    readers = {
        ".csv": _read_csv,
        ".tsv": _read_csv,
        ".json": _read_json,
        ".jsonl": _read_jsonl,
        ".ndjson": _read_jsonl,
        ".parquet": _read_parquet,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UsageError(
            f"{path}: metadata is read from files ending in {', '.join(readers)}; give one of these"
        )
    if not path.is_file():
        raise UsageError(f"{path}: no such file; give the file of metadata")
    try:
        return reader(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from error


def _text(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}, line {line}: not UTF-8; save the file as UTF-8") from error


def _read_csv(path: Path) -> dict[str, dict[str, Any]]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.reader(io.StringIO(_text(path), newline=""), delimiter=delimiter, strict=True)
    lines: list[str] = []
    rows: list[list[str]] = []
    try:
        header = [name.strip() for name in next(reader, [])]
        before = reader.line_num
        for row in reader:
            if row and len(row) != len(header):
                raise UsageError(
                    f"{path}, line {before + 1}: {len(row)} fields, but the header has {len(header)}"
                )
            if row:
                lines.append(f"line {before + 1}")
                rows.append(row)
            before = reader.line_num
    except csv.Error as error:
        raise UsageError(f"{path}, line {reader.line_num}: {error}") from error
    key = _key(path, header)
    names = [name.casefold() for name in header if name]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UsageError(f"{path}, line 1: two columns are called {twice[0]}; rename one")
    images = [row[header.index(key)] for row in rows]
    columns = {
        name: _typed([row[i].strip() for row in rows])
        for i, name in enumerate(header)
        if name not in ("", key)
    }
    facts = ({name: values[i] for name, values in columns.items()} for i in range(len(rows)))
    return _by_image(path, zip(lines, images, facts, strict=True))


def _typed(fields: list[str]) -> list[Any]:
    """A column of CSV: numbers if all of it are; None where empty."""
    if all(_WHOLE.fullmatch(field) for field in fields if field):
        return [int(field) if field else None for field in fields]
    if all(_DECIMAL.fullmatch(field) and math.isfinite(float(field)) for field in fields if field):
        return [float(field) if field else None for field in fields]
    return [field or None for field in fields]


def _read_json(path: Path) -> dict[str, dict[str, Any]]:
    table = _json(path, _text(path))
    if isinstance(table, dict):
        named = [(f"{image!r}", image, facts) for image, facts in table.items()]
        for place, _, facts in named:
            _check_object(path, place, facts)
        return _by_image(path, named)
    if not isinstance(table, list):
        raise UsageError(f"{path}: not a list of objects, nor an object of objects by image_id")
    return _from_objects(path, ((f"object {i}", row) for i, row in enumerate(table, 1)))


def _read_jsonl(path: Path) -> dict[str, dict[str, Any]]:
    lines = enumerate(_text(path).split("\n"), 1)
    return _from_objects(path, ((f"line {i}", _json(path, line, i)) for i, line in lines if line.strip()))


def _read_parquet(path: Path) -> dict[str, dict[str, Any]]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise UsageError(
            f"{path}: Parquet needs pyarrow; pip install 'vitdsi[parquet]', or give CSV"
        ) from error
    try:
        rows = parquet.read_table(path).to_pylist()
    except Exception as error:  # pyarrow's own kinds
        raise UsageError(f"{path}: not Parquet, or broken ({str(error).partition(chr(10))[0]})") from error
    return _from_objects(path, ((f"row {i}", row) for i, row in enumerate(rows, 1)))


def _json(path: Path, text: str, line: int = 1) -> Any:
    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(found)) < len(found):
            name = Counter(name for name, _ in found).most_common(1)[0][0]
            raise UsageError(f"{path}: {name!r} is there twice in one object; remove one")
        return dict(found)

    try:
        return json.loads(text, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}, line {line + error.lineno - 1}: not JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; thousands of levels
        raise UsageError(f"{path}: not JSON that can be read ({error})") from error


def _from_objects(path: Path, places: Iterable[tuple[str, Any]]) -> dict[str, dict[str, Any]]:
    rows = list(places)
    for place, row in rows:
        _check_object(path, place, row)
    key = _key(path, list(dict.fromkeys(name for _, row in rows for name in row)))
    named = (
        (place, row.get(key), {name: value for name, value in row.items() if name != key})
        for place, row in rows
    )
    return _by_image(path, named)


def _check_object(path: Path, place: str, row: object) -> None:
    if not isinstance(row, dict):
        raise UsageError(f"{path}, {place}: not an object of facts")


def _key(path: Path, columns: Sequence[str]) -> str:
    """The column that names the images."""
    spelled = {name.casefold(): name for name in columns}
    for name in _KEYS:
        if name in spelled:
            return spelled[name]
    found = f"the columns are {', '.join(columns[:30])}" if columns else "there are no columns"
    raise UsageError(f"{path}: no column names the images; one must be {', '.join(_KEYS)}, but {found}")


def _by_image(path: Path, rows: Iterable[tuple[str, Any, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """From (place for messages, image, facts); missing values are left out."""
    table: dict[str, dict[str, Any]] = {}
    for place, given, facts in rows:
        if isinstance(given, bool) or not isinstance(given, (str, int)) or given == "":
            raise UsageError(f"{path}, {place}: names no image ({given!r}); fill it in or remove it")
        image = str(given)
        if image in table:
            raise UsageError(f"{path}, {place}: {image!r} is there twice; remove one")
        table[image] = {name: value for name, value in facts.items() if value is not None}
    return table


def join(
    image_ids: Sequence[str], sidecar: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[int, dict[str, Any]], list[str]]:
    """Facts by position, and the names in the sidecar that are no image's.

    A name is an image's whole image_id, or else its last part, where no other image and no other name ends in it.
    """
    ends = Counter(_last(image_id) for image_id in image_ids)
    others = Counter(_last(name) for name in sidecar)
    by_end = {_last(name): name for name in sidecar}
    rows: dict[int, dict[str, Any]] = {}
    used: set[str] = set()
    for position, image_id in enumerate(image_ids):
        end = _last(image_id)
        name = image_id
        if name not in sidecar and ends[end] == others[end] == 1:
            name = by_end[end]
        if name in sidecar:
            rows[position] = dict(sidecar[name])
            used.add(name)
    return rows, [name for name in sidecar if name not in used]


def _last(name: str) -> str:
    """What comes after the last slash, of either kind."""
    return re.split(r"[/\\]", name)[-1]
