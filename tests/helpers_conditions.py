"""Rows of facts, and the rows of them for which SQLite says that a condition holds."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from vitdsi.facts.conditions import compile_where, quote_identifier

COLUMNS = {
    "album": "text",
    "Width": "integer",
    "height": "integer",
    "f_number": "real",
    "taken": "text",
    "camera model": "text",
    'odd " ` name': "text",
    "größe": "real",
    "in": "integer",
}
ROWS: list[dict[str, Any]] = [
    {"album": "2019", "Width": 800, "height": 600, "f_number": 2.8, "taken": "2019-07-01T12:00:00"},
    {"album": "it's", "Width": 600, "height": 800, "f_number": 4.0, "taken": "2018-12-31T23:59:59"},
    {"album": 'say "hi"', "Width": 0, "camera model": "Canon EOS 5D", 'odd " ` name': "yes", "in": 1},
    {"album": "IMG_1", "größe": -1.5, "Width": 2**53 + 1},
    {},
]


def found(
    text: str, rows: Sequence[Mapping[str, Any]] = ROWS, columns: Mapping[str, str] = COLUMNS
) -> list[int]:
    """The positions of the rows for which the condition holds."""
    condition, values = compile_where(text, columns)
    names = [f"{quote_identifier(name)} {kind.upper()}" for name, kind in columns.items()]
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute(f"CREATE TABLE facts (number INTEGER PRIMARY KEY, {', '.join(names)})")
        places = ", ".join("?" * (1 + len(columns)))
        table = [(i, *map(row.get, columns)) for i, row in enumerate(rows)]
        database.executemany(f"INSERT INTO facts VALUES ({places})", table)
        query = f"SELECT number FROM facts WHERE {condition} ORDER BY 1"
        return [number for (number,) in database.execute(query, values)]
