from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from vitdsi.errors import IndexFormatError, UsageError
from vitdsi.facts import table as module
from vitdsi.facts.table import Row, Table, write_table

ROWS: list[tuple[int, Row]] = [(3, {"a": "x"}), (5, {"b": 2}), (9, {"a": "y", "b": 3})]
KINDS = {"a": "text", "b": "integer"}


@pytest.fixture(params=["memory", "file"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Table:
    if request.param == "memory":
        return Table.of(ROWS, KINDS)
    write_table(tmp_path / "t.sqlite", ROWS, KINDS)
    return Table.open(tmp_path / "t.sqlite")


def test_table_gives_the_rows_of_ids_and_from_an_id_on(table: Table) -> None:
    assert (table.first, table.last, table.kinds) == (3, 9, KINDS)
    assert table.rows([9, 4, 3], KINDS) == {3: ROWS[0][1], 9: ROWS[2][1]}
    assert list(table.since(4, KINDS)) == ROWS[1:] and list(table.since(10, KINDS)) == []


def test_columns_are_read_as_of_a_wider_kind(table: Table) -> None:
    wider = {"a": "text", "b": "real", "new": "text"}
    assert table.rows([5], wider) == {5: {"b": 2.0}}
    assert table.ids_where('"new" IS NULL AND "b" > ?', [2.5], wider) == [9]


def test_values_are_counted_among_some_ids(table: Table) -> None:
    assert table.counts([3, 5, 9, 77], "a", "text") == {"x": 1, "y": 1}
    assert table.counts([5, 9], "b", "text") == {"2": 1, "3": 1}
    assert table.counts([], "a", "text") == table.counts([3], "unknown", "text") == {}


def test_table_without_rows_has_no_ids() -> None:
    empty = Table.of([], KINDS)
    assert (empty.first, empty.last) == (0, -1)
    assert list(empty.since(0, KINDS)) == [] and empty.ids_where("1", [], KINDS) == []


def test_more_rows_than_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 2)
    made = Table.of([(i, {"b": i}) for i in range(7)], KINDS)
    assert [number for number, _ in made.since(1, KINDS)] == [1, 2, 3, 4, 5, 6]
    assert sorted(made.rows(list(range(9)), KINDS)) == list(range(7))


def test_query_that_takes_too_many_steps_is_stopped(monkeypatch: pytest.MonkeyPatch, table: Table) -> None:
    monkeypatch.setattr(module, "_STEPS", 10)
    monkeypatch.setattr(module, "_MAX_STEPS", 10)
    with pytest.raises(UsageError, match="takes too long"):
        table.ids_where(" OR ".join(["b = 1"] * 50), [], KINDS)


def test_file_cannot_be_changed_through_a_table(tmp_path: Path) -> None:
    write_table(tmp_path / "t.sqlite", ROWS, KINDS)
    with pytest.raises(IndexFormatError, match="readonly"):
        Table.open(tmp_path / "t.sqlite")._read("DELETE FROM facts", [])


def test_blob_of_a_stranger_becomes_text(tmp_path: Path) -> None:
    write_table(tmp_path / "t.sqlite", ROWS, KINDS)
    with closing(sqlite3.connect(tmp_path / "t.sqlite")) as database, database:
        database.execute("UPDATE facts SET a = ? WHERE vitdsi_id = 3", [b"\xffx"])
    assert Table.open(tmp_path / "t.sqlite").rows([3], KINDS) == {3: {"a": "\ufffdx"}}
