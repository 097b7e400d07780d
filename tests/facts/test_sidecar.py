"""Tables beside the photos: what is read from them, and which image a row belongs to."""

from __future__ import annotations

import datetime
import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from vitdsi.errors import UsageError
from vitdsi.facts.sidecar import join, read_sidecar
from vitdsi.facts.store import MetadataStore

# ---- reading


def table(path: Path, content: str | bytes) -> dict[str, dict[str, Any]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_sidecar(path)


def error_of(path: Path, content: str | bytes) -> str:
    """The message with which `read_sidecar` refuses a file of this content."""
    with pytest.raises(UsageError) as caught:
        table(path, content)
    message = str(caught.value)
    assert message.startswith(str(path)) and len(message.splitlines()) == 1
    return message


def test_csv_is_read_with_quotes_byte_order_mark_and_crlf(tmp_path: Path) -> None:
    text = 'album,file, count ,share,code,mixed,\n"a ""b"", c",x/1.jpg,1,1,007,1,0\n\n,é.jpg, -2 ,2.5e1,010,x,1\n'
    expected = {
        "x/1.jpg": {"album": 'a "b", c', "count": 1, "share": 1.0, "code": "007", "mixed": "1"},
        "é.jpg": {"count": -2, "share": 25.0, "code": "010", "mixed": "x"},
    }
    for content in (text, "\ufeff" + text, text.replace("\n", "\r\n")):
        read = table(tmp_path / "m.CSV", content)
        assert read == expected
        assert [type(value) for value in read["x/1.jpg"].values()] == [str, int, float, str, str]


def test_tsv_fields_may_hold_commas_and_line_breaks(tmp_path: Path) -> None:
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
def test_csv_column_is_numeric_only_if_every_field_is(
    tmp_path: Path, fields: list[str], expected: list[Any]
) -> None:
    content = "path,x\n" + "".join(f"{i},{field}\n" for i, field in enumerate(fields))
    found = [row.get("x") for row in table(tmp_path / "m.csv", content).values()]
    assert found == expected
    assert [type(value) for value in found] == [type(value) for value in expected]


@pytest.mark.parametrize(
    "key", ["image_id", "file", "filename", "file_name", "path", "image", "Image", "FILE"]
)
def test_each_known_column_name_can_name_the_images(tmp_path: Path, key: str) -> None:
    assert table(tmp_path / "m.csv", f"x,{key}\n1,a\n") == {"a": {"x": 1}}
    assert table(tmp_path / "m.json", json.dumps([{"x": 1, key: "a"}])) == {"a": {"x": 1}}


def test_first_known_column_names_the_images_if_there_are_several(tmp_path: Path) -> None:
    assert table(tmp_path / "m.csv", "image,file,path\n1,2,3\n") == {"2": {"image": 1, "path": 3}}


def test_json_jsonl_and_object_of_objects_are_read(tmp_path: Path) -> None:
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


def test_table_without_rows_is_empty(tmp_path: Path) -> None:
    assert table(tmp_path / "m.csv", "file,x\n") == {}
    assert table(tmp_path / "m.json", "{}") == {}


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("m.csv", "", ["no column names the images", "there are no columns"]),
        (
            "m.csv",
            "a,b\n1,2\n",
            ["image_id or file or filename or file_name or path or image", "the columns are a, b"],
        ),
        ("m.csv", "file,x\na,1\nb\n", ["line 3: 1 fields, but the header has 2"]),
        ("m.csv", 'file,x\n"a\nb",1\n"c\nd",1,2\n', ["line 4: 3 fields"]),
        ("m.csv", "file,x\na,1\n\nb,1\na,2\n", ["line 5: 'a' is listed twice"]),
        ("m.csv", "file,x\n,1\n", ["line 2: names no image"]),
        ("m.csv", "file,x,X\na,1,2\n", ["line 1: two columns are called x"]),
        ("m.csv", b"file,x\na,1\nb,\xe9\n", ["line 3: not UTF-8"]),
        ("m.csv", 'file,x\na,"b\n', ["line 2: unexpected end of data"]),
        ("m.csv", "file,x\na," + "b" * 200_000 + "\n", ["line 2: field larger than field limit"]),
        ("m.tsv", "file,x\na,1\n", ["the columns are file,x"]),
        ("m.json", "", ["line 1: not JSON"]),
        ("m.json", "[\n{},\n{]", ["line 3: not JSON"]),
        ("m.json", '"x"', ["neither a list of objects nor an object"]),
        ("m.json", "[]", ["there are no columns"]),
        ("m.json", '[{"file": "a"}, 3]', ["object 2: not an object"]),
        ("m.json", '[{"file": "a"}, {"x": 3}]', ["object 2: names no image (None)"]),
        ("m.json", '[{"file": true}]', ["object 1: names no image (True)"]),
        ("m.json", '[{"file": "1"}, {"file": 1}]', ["object 2: '1' is listed twice"]),
        ("m.json", '{"a": 1}', ["'a': not an object"]),
        ("m.json", '{"": {}}', ["names no image"]),
        ("m.json", '{"a": {}, "b": {}, "a": {}}', ["'a' occurs twice in one object"]),
        ("m.json", "[" * 100_000, ["JSON that cannot be read"]),
        ("m.json", '[{"file": ' + "1" * 5000 + "}]", ["JSON that cannot be read"]),
        ("m.jsonl", '{"file": "a"}\n\n{"file": }\n', ["line 3: not JSON"]),
        ("m.jsonl", '{"file": "a"}\n[1]\n', ["line 2: not an object"]),
        ("m.jsonl", '{"file": "a"}\n{"file": "a"}\n', ["line 2: 'a' is listed twice"]),
        ("m.txt", "", [".csv, .tsv, .json, .jsonl, .ndjson, .parquet"]),
        ("m", "", ["files ending in .csv"]),
    ],
)
def test_mistake_in_a_table_is_reported_with_its_place(
    tmp_path: Path, name: str, content: str | bytes, parts: list[str]
) -> None:
    message = error_of(tmp_path / name, content)
    assert [part for part in parts if part not in message] == [], message


def test_missing_file_or_folder_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for name in ("nowhere.csv", "folder.csv"):
        with pytest.raises(UsageError, match=f"{name}: no such file"):
            read_sidecar(tmp_path / name)


def test_unreadable_file_is_a_usage_error_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    message = error_of(tmp_path / "m.csv", "file\n")
    assert "cannot be read (Permission denied); make the file readable" in message


def test_parquet_without_pyarrow_names_the_extra_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.import_module

    def without(name: str, package: str | None = None) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    assert "pip install 'vitdsi[parquet]'" in error_of(tmp_path / "m.parquet", b"PAR1")


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="needs pyarrow")
def test_parquet_is_read_and_broken_parquet_is_reported(tmp_path: Path) -> None:
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
    assert "not a Parquet file, or a broken one" in error_of(tmp_path / "broken.parquet", b"PAR1 no")
    parquet.write_table(arrow.table({"x": [1]}), tmp_path / "other.parquet")
    with pytest.raises(UsageError, match="the columns are x"):
        read_sidecar(tmp_path / "other.parquet")


def test_joined_table_can_be_filtered(tmp_path: Path) -> None:
    rows, unknown = join(
        ["x/a.jpg", "x/b.jpg"], table(tmp_path / "m.csv", "file,zip,Rank\na.jpg,0123,3\nb.jpg,,4\n")
    )
    facts = MetadataStore.create(rows)
    assert unknown == [] and facts.columns() == {"zip": "text", "Rank": "integer"}
    assert facts.ids_where("zip = '0123' or rank > 3").tolist() == [0, 1]


# ---- joining


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
def test_join_matches_whole_image_ids_or_unique_file_names(
    image_ids: list[str], names: list[str], matched: dict[int, str], unknown: list[str]
) -> None:
    rows, left = join(image_ids, {name: {"from": name} for name in names})
    assert rows == {position: {"from": name} for position, name in matched.items()}
    assert left == unknown


def test_join_copies_the_facts_of_the_table() -> None:
    given = {"a": {"x": 1}}
    join(["a"], given)[0][0]["x"] = 2
    assert given == {"a": {"x": 1}}
