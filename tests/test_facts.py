"""Facts from files and from tables, and which image they belong to."""

from __future__ import annotations

import datetime
import importlib
import importlib.util
import json
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers_images import encoded, photo
from PIL import ExifTags, Image, ImageFile, TiffImagePlugin

from vitdsi.errors import UsageError
from vitdsi.facts import join, read_facts, read_sidecar
from vitdsi.images import oriented_size
from vitdsi.metadata import MetadataStore

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


# ---- an image's own facts


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_all_facts(tmp_path: Path, kind: str) -> None:
    # As bytes: of an Exif object Pillow's TIFF writer keeps only the main directory.
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
    assert {type(value) for value in read_facts(path).values()} == {int, float, str}, "no types of Pillow"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "PPM", "TIFF"])
def test_without_exif(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path / "x", kind)
    assert read_facts(path) == {"width": 96, "height": 64, "bytes": path.stat().st_size, "format": kind}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [0, 1, 2, 5, 6, 8, 9])
def test_the_size_is_upright(tmp_path: Path, kind: str, orientation: int) -> None:
    path = written(tmp_path / "x", kind, exif=exif({_BASE.Orientation: orientation}))
    facts = read_facts(path)
    assert (facts["width"], facts["height"]) == oriented_size(path)
    assert (facts["width"] < facts["height"]) == (orientation in (5, 6, 8))


def test_a_photo_with_a_preview_behind_it_is_a_jpeg(tmp_path: Path) -> None:
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
def test_the_camera_is_make_and_model_once(tmp_path: Path, make: str, model: str, camera: str | None) -> None:
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
def test_when_it_was_taken(
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


def test_numbers_that_mean_nothing_are_left_out(tmp_path: Path) -> None:
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
def test_places(
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


def test_what_is_no_readable_image_file_has_no_facts(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("x")
    (tmp_path / "empty.jpg").touch()
    for name in ("text.jpg", "empty.jpg", "nowhere.jpg", "a\0b", "x" * 5000, "."):
        assert read_facts(tmp_path / name) == {}
    sources: list[object] = [photo(), np.zeros((4, 4, 3), np.uint8), encoded(photo(), "PNG"), None, 3]
    for source in sources:
        assert read_facts(source) == {}


def test_broken_exif_leaves_the_other_facts(tmp_path: Path) -> None:
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


def test_truncated_and_damaged_files_never_raise(tmp_path: Path) -> None:
    rng = random.Random(1)
    path = tmp_path / "x"
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "GIF"):
        whole = encoded(photo(), kind, **({} if kind == "GIF" else {"exif": exif(**_FULL)}))
        for _ in range(40):
            broken = bytearray(whole[: rng.randint(1, len(whole))])
            broken[rng.randrange(len(broken))] ^= 255
            path.write_bytes(broken)
            assert len(read_facts(path)) in range(16)


def test_only_the_header_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [written(tmp_path / kind, kind, exif=exif(**_FULL)) for kind in ("JPEG", "PNG", "TIFF")]
    paths += [written(tmp_path / f"plain {kind}", kind) for kind in ("JPEG", "PNG", "TIFF")]

    decoded: list[object] = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: decoded.append(image))
    assert [read_facts(path)["width"] for path in paths] == [96] * 6
    assert decoded == []


# ---- tables


def table(path: Path, content: str | bytes) -> dict[str, dict[str, Any]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_sidecar(path)


def mistake(path: Path, content: str | bytes) -> str:
    with pytest.raises(UsageError) as caught:
        table(path, content)
    message = str(caught.value)
    assert message.startswith(str(path)) and len(message.splitlines()) == 1
    return message


def test_csv(tmp_path: Path) -> None:
    text = 'album,file, count ,share,code,mixed,\n"a ""b"", c",x/1.jpg,1,1,007,1,0\n\n,é.jpg, -2 ,2.5e1,010,x,1\n'
    expected = {
        "x/1.jpg": {"album": 'a "b", c', "count": 1, "share": 1.0, "code": "007", "mixed": "1"},
        "é.jpg": {"count": -2, "share": 25.0, "code": "010", "mixed": "x"},
    }
    for content in (text, "\ufeff" + text, text.replace("\n", "\r\n")):
        read = table(tmp_path / "m.CSV", content)
        assert read == expected
        assert [type(value) for value in read["x/1.jpg"].values()] == [str, int, float, str, str]


def test_tsv_and_lines_within_fields(tmp_path: Path) -> None:
    assert table(tmp_path / "m.tsv", 'image_id\tnote\na, b.jpg\t"one\ntwo"\n') == {
        "a, b.jpg": {"note": "one\ntwo"}
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["1", "", "-2", "0"], [1, None, -2, 0]),
        (["1", "2.5", ".5", "3."], [1.0, 2.5, 0.5, 3.0]),
        (["1e3", "-2E-1"], [1000.0, -0.2]),
        (["1", "007"], ["1", "007"]),
        (["1.5", "00.5"], ["1.5", "00.5"]),
        (["+49", "1"], ["+49", "1"]),
        (["1e999", "1"], ["1e999", "1"]),
        (["nan", "1"], ["nan", "1"]),
        (["1_000", "1"], ["1_000", "1"]),
        (["٣", "1"], ["٣", "1"]),
        (["9" * 500, "1"], ["9" * 500, "1"]),
        (["true", "2019-07-01"], ["true", "2019-07-01"]),
        (["", ""], [None, None]),
    ],
)
def test_a_csv_column_is_numeric_only_where_all_of_it_is(
    tmp_path: Path, fields: list[str], expected: list[Any]
) -> None:
    content = "path,x\n" + "".join(f"{i},{field}\n" for i, field in enumerate(fields))
    found = [row.get("x") for row in table(tmp_path / "m.csv", content).values()]
    assert found == expected
    assert [type(value) for value in found] == [type(value) for value in expected]


@pytest.mark.parametrize(
    "key", ["image_id", "file", "filename", "file_name", "path", "image", "Image", "FILE"]
)
def test_the_column_that_names_images(tmp_path: Path, key: str) -> None:
    assert table(tmp_path / "m.csv", f"x,{key}\n1,a\n") == {"a": {"x": 1}}
    assert table(tmp_path / "m.json", json.dumps([{"x": 1, key: "a"}])) == {"a": {"x": 1}}


def test_the_first_of_several_such_columns_counts(tmp_path: Path) -> None:
    assert table(tmp_path / "m.csv", "image,file,path\n1,2,3\n") == {"2": {"image": 1, "path": 3}}


def test_json_and_jsonl(tmp_path: Path) -> None:
    rows = [{"file": "a", "x": 1, "tags": ["u", "v"], "no": None}, {"y": True, "file": "é"}, {"file": 7}]
    expected = {"a": {"x": 1, "tags": ["u", "v"]}, "é": {"y": True}, "7": {}}
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n\n" for row in rows)
    assert table(tmp_path / "m.json", json.dumps(rows)) == expected
    assert table(tmp_path / "m.json", "\ufeff" + json.dumps(rows)) == expected
    assert table(tmp_path / "m.jsonl", lines) == expected
    assert table(tmp_path / "m.ndjson", lines.replace("\n", "\r\n")) == expected
    assert table(tmp_path / "m.json", '{"a": {"x": 1, "file": "kept", "z": null}, "b": {}}') == {
        "a": {"x": 1, "file": "kept"},
        "b": {},
    }
    assert table(tmp_path / "m.jsonl", '{"file": "a", "x": "one\u2028line"}') == {"a": {"x": "one\u2028line"}}


def test_tables_without_rows(tmp_path: Path) -> None:
    assert table(tmp_path / "m.csv", "file,x\n") == {}
    assert table(tmp_path / "m.json", "{}") == {}


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("m.csv", "", ["no column names the images", "there are no columns"]),
        ("m.csv", "a,b\n1,2\n", ["image_id, file, filename, file_name, path, image", "the columns are a, b"]),
        ("m.csv", "file,x\na,1\nb\n", ["line 3: 1 fields, but the header has 2"]),
        ("m.csv", 'file,x\n"a\nb",1\n"c\nd",1,2\n', ["line 4: 3 fields"]),
        ("m.csv", "file,x\na,1\n\nb,1\na,2\n", ["line 5: 'a' is there twice"]),
        ("m.csv", "file,x\n,1\n", ["line 2: names no image"]),
        ("m.csv", "file,x,X\na,1,2\n", ["line 1: two columns are called x"]),
        ("m.csv", b"file,x\na,1\nb,\xe9\n", ["line 3: not UTF-8"]),
        ("m.csv", 'file,x\na,"b\n', ["line 2: unexpected end of data"]),
        ("m.csv", "file,x\na," + "b" * 200_000 + "\n", ["line 2: field larger than field limit"]),
        ("m.tsv", "file,x\na,1\n", ["the columns are file,x"]),
        ("m.json", "", ["line 1: not JSON"]),
        ("m.json", "[\n{},\n{]", ["line 3: not JSON"]),
        ("m.json", '"x"', ["not a list of objects"]),
        ("m.json", "[]", ["there are no columns"]),
        ("m.json", '[{"file": "a"}, 3]', ["object 2: not an object"]),
        ("m.json", '[{"file": "a"}, {"x": 3}]', ["object 2: names no image (None)"]),
        ("m.json", '[{"file": true}]', ["object 1: names no image (True)"]),
        ("m.json", '[{"file": "1"}, {"file": 1}]', ["object 2: '1' is there twice"]),
        ("m.json", '{"a": 1}', ["'a': not an object"]),
        ("m.json", '{"": {}}', ["names no image"]),
        ("m.json", '{"a": {}, "b": {}, "a": {}}', ["'a' is there twice"]),
        ("m.json", "[" * 100_000, ["not JSON that can be read"]),
        ("m.json", '[{"file": ' + "1" * 5000 + "}]", ["not JSON that can be read"]),
        ("m.jsonl", '{"file": "a"}\n\n{"file": }\n', ["line 3: not JSON"]),
        ("m.jsonl", '{"file": "a"}\n[1]\n', ["line 2: not an object"]),
        ("m.jsonl", '{"file": "a"}\n{"file": "a"}\n', ["line 2: 'a' is there twice"]),
        ("m.txt", "", [".csv, .tsv, .json, .jsonl, .ndjson, .parquet"]),
        ("m", "", ["files ending in .csv"]),
    ],
)
def test_mistakes_in_tables(tmp_path: Path, name: str, content: str | bytes, parts: list[str]) -> None:
    message = mistake(tmp_path / name, content)
    assert [part for part in parts if part not in message] == [], message


def test_no_such_file(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for name in ("nowhere.csv", "folder.csv"):
        with pytest.raises(UsageError, match=f"{name}: no such file"):
            read_sidecar(tmp_path / name)


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def without(name: str, package: str | None = None) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    assert "pip install 'vitdsi[parquet]'" in mistake(tmp_path / "m.parquet", b"PAR1")


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="needs pyarrow")
def test_parquet(tmp_path: Path) -> None:
    arrow = importlib.import_module("pyarrow")
    parquet = importlib.import_module("pyarrow.parquet")
    columns = {
        "file": ["a", "b"],
        "x": [1, None],
        "when": [datetime.datetime(2019, 7, 1), None],
        "tags": [["u"], None],
        "f": [None, 2.5],
    }
    parquet.write_table(arrow.table(columns), tmp_path / "m.parquet")
    found = read_sidecar(tmp_path / "m.parquet")
    assert found == {"a": {"x": 1, "when": datetime.datetime(2019, 7, 1), "tags": ["u"]}, "b": {"f": 2.5}}
    assert MetadataStore.create(join(["a", "b"], found)[0]).ids_where("`when` >= '2019-07'").tolist() == [0]
    assert "not Parquet, or broken" in mistake(tmp_path / "broken.parquet", b"PAR1 no")
    parquet.write_table(arrow.table({"x": [1]}), tmp_path / "other.parquet")
    with pytest.raises(UsageError, match="the columns are x"):
        read_sidecar(tmp_path / "other.parquet")


def test_a_table_becomes_filters(tmp_path: Path) -> None:
    rows, unknown = join(
        ["x/a.jpg", "x/b.jpg"], table(tmp_path / "m.csv", "file,zip,Rank\na.jpg,0123,3\nb.jpg,,4\n")
    )
    facts = MetadataStore.create(rows)
    assert unknown == [] and facts.columns() == {"zip": "text", "Rank": "integer"}
    assert facts.ids_where("zip = '0123' or rank > 3").tolist() == [0, 1]


# ---- which image is meant


@pytest.mark.parametrize(
    ("image_ids", "names", "matched", "unknown"),
    [
        (["x/a", "x/b"], ["x/b", "x/a"], {0: "x/a", 1: "x/b"}, []),
        (["x/a", "y/b"], ["a", "b", "c"], {0: "a", 1: "b"}, ["c"]),
        (["x/a", "y/a"], ["a"], {}, ["a"]),
        (["x/a", "y/a"], ["x/a"], {0: "x/a"}, []),
        (["x/a", "y/a"], ["x/a", "a"], {0: "x/a"}, ["a"]),
        (["x/a"], ["p/a", "q/a"], {}, ["p/a", "q/a"]),
        (["x/a"], ["/home/me/x/a"], {0: "/home/me/x/a"}, []),
        (["x/a"], ["C:\\photos\\a"], {0: "C:\\photos\\a"}, []),
        (["a", "x/a"], ["a"], {0: "a"}, []),
        (["a"], ["A", "b"], {}, ["A", "b"]),
        ([], ["a"], {}, ["a"]),
        (["a"], [], {}, []),
    ],
)
def test_join(image_ids: list[str], names: list[str], matched: dict[int, str], unknown: list[str]) -> None:
    rows, left = join(image_ids, {name: {"from": name} for name in names})
    assert rows == {position: {"from": name} for position, name in matched.items()}
    assert left == unknown


def test_join_copies_the_facts() -> None:
    given = {"a": {"x": 1}}
    join(["a"], given)[0][0]["x"] = 2
    assert given == {"a": {"x": 1}}
