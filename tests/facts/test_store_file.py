"""The file of a store of facts: saved, loaded, broken, read-only or deleted meanwhile."""

from __future__ import annotations

import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from helpers_facts import column, contents, store

from vitdsi.errors import IndexFormatError
from vitdsi.facts.store import MetadataStore


@pytest.mark.parametrize(
    "name", ["m.sqlite", "a b?c#d%41.sqlite", "é🙂.sqlite", ":memory:", "file:x?mode=memory"]
)
def test_loaded_store_equals_the_saved_one_for_any_file_name(tmp_path: Path, name: str) -> None:
    rng = random.Random(0)
    rows = {i: {f"c{j}": rng.choice([None, i, i / 7, f"t{i}"]) for j in range(5) if j < i} for i in range(60)}
    del rows[3]
    facts = MetadataStore.create(rows)
    path = tmp_path / name
    facts.save(path)
    loaded = MetadataStore.load(path)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    assert contents(loaded) == contents(facts)
    assert list(loaded.columns()) == list(facts.columns())
    path.unlink()
    assert loaded.ids_where("not c0 = 'x'").tolist() == [i for i in range(60) if i != 3], (
        "ids with empty rows must be found too"
    )
    assert contents(loaded.adding({60: {"new": 1}}))[0] == {**facts.columns(), "new": "integer"}


def test_save_overwrites_existing_file_and_load_takes_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("m.sqlite")
    path.write_bytes(b"something else")
    store("a").save(path)
    store("a", "b").save(path)
    assert column(MetadataStore.load(path), 3) == ["a", "b", None]


def test_equal_stores_are_saved_as_equal_bytes(tmp_path: Path) -> None:
    facts = store(1, "x", None)
    facts.save(tmp_path / "a")
    facts.save(tmp_path / "b")
    facts.take(range(3)).save(tmp_path / "c")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()


def test_load_works_in_a_read_only_folder_and_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "kept" / "m.sqlite"
    path.parent.mkdir()
    store("a", "b").save(path)
    before = (path.read_bytes(), path.stat().st_mtime_ns, path.parent.stat().st_mtime_ns)
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        loaded = MetadataStore.load(path)
        assert loaded.ids_where("x = 'b'").tolist() == [1]
        assert (path.read_bytes(), path.stat().st_mtime_ns, path.parent.stat().st_mtime_ns) == before
        assert os.listdir(path.parent) == ["m.sqlite"]
    finally:
        path.parent.chmod(0o755)


def test_journal_beside_the_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    store("a").save(path)
    for end in ("-journal", "-wal"):
        Path(f"{path}{end}").write_bytes(b"left by a killed program")
    assert column(MetadataStore.load(path), 1) == ["a"]
    assert len(os.listdir(tmp_path)) == 3


def test_loading_a_missing_file_raises_file_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"m\.sqlite"):
        MetadataStore.load(tmp_path / "m.sqlite")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"text, not a database", b"SQLite format 3\0" + b"\xff" * 200],
    ids=["empty", "text", "header only"],
)
def test_loading_a_broken_file_raises_one_line_with_its_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.sqlite"
    path.write_bytes(content)
    with pytest.raises(
        IndexFormatError, match=r"m\.sqlite: not the metadata of an index, or broken"
    ) as caught:
        MetadataStore.load(path)
    assert len(str(caught.value).splitlines()) == 1
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "table",
    [
        "CREATE TABLE other (vitdsi_id INTEGER PRIMARY KEY)",
        "CREATE TABLE facts (a INTEGER)",
        "CREATE TABLE facts (vitdsi_id TEXT, a INTEGER)",
        "CREATE TABLE facts (vitdsi_id INTEGER PRIMARY KEY, a BLOB)",
        "CREATE VIEW facts AS SELECT 1 AS vitdsi_id",
        "CREATE VIRTUAL TABLE facts USING fts5(vitdsi_id)",
        "CREATE TABLE facts (vitdsi_id INTEGER PRIMARY KEY, a TEXT AS (hex(vitdsi_id)))",
    ],
)
def test_loading_another_database_is_refused(tmp_path: Path, table: str) -> None:
    path = tmp_path / "m.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.execute(table)
    with pytest.raises(IndexFormatError, match="no table of facts"):
        MetadataStore.load(path)


def test_truncated_file_is_refused_and_damaged_file_never_raises_anything_else(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    store(*(f"some text {i}" * 10 for i in range(500))).save(path)
    whole = path.read_bytes()
    rng = random.Random(0)
    refused = 0
    for cut in (100, 4096, len(whole) // 2, len(whole) - 4096, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(IndexFormatError):
            MetadataStore.load(path)
    for _ in range(200):
        damaged = bytearray(whole)
        start = rng.randrange(len(whole))
        damaged[start : start + 8] = rng.randbytes(len(damaged[start : start + 8]))
        path.write_bytes(damaged)
        try:
            facts = MetadataStore.load(path)
            facts.ids_where("x = 'some text'")
            facts.rows(range(0, 500, 7))
        except IndexFormatError:
            refused += 1
    assert refused > 3


def test_loading_a_file_that_is_deleted_meanwhile_raises_file_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.sqlite"
    store("a").save(path)
    connect = sqlite3.connect

    def delete_and_connect(*where: Any, **options: Any) -> sqlite3.Connection:
        path.unlink()
        return connect(*where, **options)

    monkeypatch.setattr(sqlite3, "connect", delete_and_connect)
    with pytest.raises(FileNotFoundError, match=r"m\.sqlite: no such file"):
        MetadataStore.load(path)


def test_loading_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IndexFormatError):
        MetadataStore.load(tmp_path)


def test_saved_file_is_plain_sqlite(tmp_path: Path) -> None:
    MetadataStore.create({7: {"album": "2019", "width": 800, "f": 2.0}}).save(tmp_path / "m.sqlite")
    with closing(sqlite3.connect(tmp_path / "m.sqlite")) as database:
        cursor = database.execute("SELECT * FROM facts")
        assert [name for name, *_ in cursor.description] == ["vitdsi_id", "album", "width", "f"]
        assert cursor.fetchall() == [(7, "2019", 800, 2.0)]


def test_file_with_something_beside_the_table_is_refused(tmp_path: Path) -> None:
    store("a").save(tmp_path / "m.sqlite")
    with closing(sqlite3.connect(tmp_path / "m.sqlite")) as database:
        database.execute("CREATE INDEX other ON facts (x)")
    with pytest.raises(IndexFormatError, match="something else beside it"):
        MetadataStore.load(tmp_path / "m.sqlite")


def test_store_in_several_files_is_one(tmp_path: Path) -> None:
    facts = store(*range(8)).adding({8: {"x": "text"}, 9: {"y": 2}})
    store(*range(8)).save(tmp_path / "a")
    facts.save(tmp_path / "b", first=8)
    loaded = MetadataStore.load(tmp_path / "a", tmp_path / "b")
    assert contents(loaded, 12) == contents(facts, 12)
    assert loaded.ids_where("x = '3' or y = 2 or x = 'text'").tolist() == [3, 8, 9]
    with pytest.raises(IndexFormatError, match="b: its ids are not higher"):
        MetadataStore.load(tmp_path / "a", tmp_path / "b", tmp_path / "b")
