"""Tables that people keep beside their photos: reading them, and matching their rows with images."""

from __future__ import annotations

import csv
import importlib
import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from vitdsi.errors import UsageError

__all__ = ["join", "read_sidecar"]

Table: TypeAlias = "dict[str, dict[str, Any]]"  # name of an image -> its facts

_IMAGE_COLUMNS = ("image_id", "file", "filename", "file_name", "path", "image")
_COLUMNS_SHOWN = 30  # in an error message

# Leading zeros and plus signs mark codes, such as 007 and +49, which stay text. So do very long numbers.
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_DECIMAL = re.compile(r"-?(?:(?:0|[1-9][0-9]{0,99})(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")


def read_sidecar(path: Path) -> Table:
    """Read facts about images from a .csv, .tsv, .json, .jsonl (or .ndjson) or .parquet file.

    Images are named by the first existing column among image_id, file, filename, file_name, path and image. A JSON
    file may also hold a single object whose keys name the images. In CSV and TSV files an empty field is a missing
    value, a column is numeric only if all of its fields are plain numbers (007 is not one), and columns without a
    name are ignored.

    Returns:
        The facts of each image by its name. Missing values are left out.

    Raises:
        UsageError: if the file does not exist, cannot be read, has another suffix or no column that names the images,
            names an image twice, or has a row whose length differs from the header's. The message gives the line or
            row.
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
        raise UsageError(f"{path}: no such file; give the path of a metadata file")
    try:
        return reader(path)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read ({error.strerror or error}); make the file readable or give another one"
        ) from error


def join(
    image_ids: Sequence[str], table: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[int, dict[str, Any]], list[str]]:
    """Match the rows of a sidecar table with images.

    A name in the table matches the image with exactly this image_id. Otherwise it matches the image whose file name
    is the last part of the name, provided that no other image and no other name in the table ends in it.

    Args:
        image_ids: the image_id of each image.
        table: facts by the name of an image, as returned by `read_sidecar`.

    Returns:
        A copy of the facts of each matched image by its position in `image_ids`, and the names in the table that match
        no image.
    """
    images_by_file = Counter(_file_name(image_id) for image_id in image_ids)
    names_by_file = Counter(_file_name(name) for name in table)
    name_of_file = {_file_name(name): name for name in table}
    rows: dict[int, dict[str, Any]] = {}
    matched: set[str] = set()
    for position, image_id in enumerate(image_ids):
        file = _file_name(image_id)
        name = image_id
        if name not in table and images_by_file[file] == names_by_file[file] == 1:
            name = name_of_file[file]
        if name in table:
            rows[position] = dict(table[name])
            matched.add(name)
    return rows, [name for name in table if name not in matched]


def _file_name(name: str) -> str:
    """Return the part after the last slash or backslash."""
    return re.split(r"[/\\]", name)[-1]


# ---- CSV and TSV


def _read_csv(path: Path) -> Table:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.reader(io.StringIO(_read_text(path), newline=""), delimiter=delimiter, strict=True)
    places: list[str] = []
    rows: list[list[str]] = []
    try:
        header = [name.strip() for name in next(reader, [])]
        previous_line = reader.line_num
        for row in reader:
            place = f"line {previous_line + 1}"  # a quoted field may span several lines
            previous_line = reader.line_num
            if not row:
                continue
            if len(row) != len(header):
                raise UsageError(
                    f"{path}, {place}: {len(row)} fields, but the header has {len(header)}; put values that contain"
                    " the separator in quotes"
                )
            places.append(place)
            rows.append(row)
    except csv.Error as error:
        raise UsageError(f"{path}, line {reader.line_num}: {error}; correct the line") from error
    key = _image_column(path, header)
    counts = Counter(name.casefold() for name in header if name)
    if repeated := [name for name, count in counts.items() if count > 1]:
        raise UsageError(f"{path}, line 1: two columns are called {repeated[0]}; rename one of them")
    images = [row[header.index(key)] for row in rows]
    columns = {
        name: _parse_column([row[i].strip() for row in rows])
        for i, name in enumerate(header)
        if name not in ("", key)
    }
    facts = ({name: values[i] for name, values in columns.items()} for i in range(len(rows)))
    return _by_image(path, zip(places, images, facts, strict=True))


def _read_text(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}, line {line}: not UTF-8; save the file as UTF-8") from error


def _parse_column(fields: list[str]) -> list[Any]:
    """Convert the fields to numbers if all of them are numbers; empty fields become None."""
    if all(_INTEGER.fullmatch(field) for field in fields if field):
        return [int(field) if field else None for field in fields]
    if all(_DECIMAL.fullmatch(field) and math.isfinite(float(field)) for field in fields if field):
        return [float(field) if field else None for field in fields]
    return [field or None for field in fields]


# ---- JSON, JSON lines and Parquet


def _read_json(path: Path) -> Table:
    content = _parse_json(path, _read_text(path))
    if isinstance(content, dict):
        rows = [(repr(image), image, facts) for image, facts in content.items()]
        for place, _, facts in rows:
            _check_object(path, place, facts)
        return _by_image(path, rows)
    if not isinstance(content, list):
        raise UsageError(
            f"{path}: neither a list of objects nor an object that maps image_ids to objects; write one of these"
        )
    return _from_objects(path, ((f"object {i}", row) for i, row in enumerate(content, 1)))


def _read_jsonl(path: Path) -> Table:
    lines = enumerate(_read_text(path).split("\n"), 1)
    return _from_objects(
        path, ((f"line {i}", _parse_json(path, line, i)) for i, line in lines if line.strip())
    )


def _read_parquet(path: Path) -> Table:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise UsageError(
            f"{path}: reading Parquet needs pyarrow; pip install 'vitdsi[parquet]', or give a CSV file"
        ) from error
    try:
        rows = parquet.read_table(path).to_pylist()
    except Exception as error:  # pyarrow's exceptions have no public base class
        reason = str(error).partition("\n")[0]
        raise UsageError(f"{path}: not a Parquet file, or a broken one ({reason}); write it again") from error
    return _from_objects(path, ((f"row {i}", row) for i, row in enumerate(rows, 1)))


def _parse_json(path: Path, text: str, first_line: int = 1) -> Any:
    def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            name = Counter(name for name, _ in pairs).most_common(1)[0][0]
            raise UsageError(f"{path}: the key {name!r} occurs twice in one object; remove one of them")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=without_repeats)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise UsageError(f"{path}, line {line}: not JSON ({error.msg}); correct the line") from error
    except (
        ValueError,
        RecursionError,
    ) as error:  # thousands of digits in a number, or thousands of nested levels
        raise UsageError(f"{path}: JSON that cannot be read ({error}); simplify it") from error


def _from_objects(path: Path, objects: Iterable[tuple[str, Any]]) -> Table:
    """Build a table from (place in the file, object with facts and the name of an image)."""
    rows = list(objects)
    for place, row in rows:
        _check_object(path, place, row)
    key = _image_column(path, list(dict.fromkeys(name for _, row in rows for name in row)))
    return _by_image(
        path,
        (
            (place, row.get(key), {name: value for name, value in row.items() if name != key})
            for place, row in rows
        ),
    )


def _check_object(path: Path, place: str, row: object) -> None:
    if not isinstance(row, dict):
        raise UsageError(f"{path}, {place}: not an object; write the facts of each image as one object")


# ---- all formats


def _image_column(path: Path, columns: Sequence[str]) -> str:
    """Return the column that names the images, as the file spells it."""
    spelled = {name.casefold(): name for name in columns}
    for name in _IMAGE_COLUMNS:
        if name in spelled:
            return spelled[name]
    found = f"the columns are {', '.join(columns[:_COLUMNS_SHOWN])}" if columns else "there are no columns"
    raise UsageError(f"{path}: no column names the images; call one {' or '.join(_IMAGE_COLUMNS)} ({found})")


def _by_image(path: Path, rows: Iterable[tuple[str, Any, dict[str, Any]]]) -> Table:
    """Build a table from (place in the file, name of an image, facts), without missing values."""
    table: Table = {}
    for place, name, facts in rows:
        if isinstance(name, bool) or not isinstance(name, (str, int)) or name == "":
            raise UsageError(
                f"{path}, {place}: names no image ({name!r}); fill in the name or remove the row"
            )
        image = str(name)
        if image in table:
            raise UsageError(f"{path}, {place}: {image!r} is listed twice; remove one of its rows")
        table[image] = {column: value for column, value in facts.items() if value is not None}
    return table
