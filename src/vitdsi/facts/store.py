"""The metadata of an index: facts by id, and the ids for which a condition on them holds.

A store never changes: adding, removing and renumbering rows return another store, which shares the unchanged rows. Rows
are plain dictionaries. An SQLite database in memory is built from them when the first condition is evaluated, and a
file of the same form is what an index keeps on disk.
"""

from __future__ import annotations

import datetime
import decimal
import json
import math
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vitdsi.errors import IndexFormatError, UsageError
from vitdsi.facts.conditions import compile_where, quote_identifier

__all__ = ["MetadataStore"]

Value: TypeAlias = "int | float | str"
Row: TypeAlias = "dict[str, Value]"

_KINDS = ("integer", "real", "text")  # every kind can hold the values of the kinds before it
_KIND_RANKS = {int: 0, float: 1, str: 2}
_ID_COLUMN = "vitdsi_id"
_MAX_COLUMNS = 1000  # SQLite allows 2000


class MetadataStore:
    """Facts about images by id.

    A column holds text, integers or real numbers, and its name ignores case. Values are stored as SQLite can hold them:
    true and false as 1 and 0, dates and times as ISO 8601 text, lists and objects as JSON text, integers beyond 64 bits
    as text; NaN and None are missing values. A column of integers and fractions is real. A column with any text is
    text, and its numbers are converted to text; it remains text when the rows with text are removed.

    Several threads may evaluate conditions at the same time.
    """

    def __init__(self, rows: dict[int, Row], kinds: dict[str, str]) -> None:
        """Take ownership of rows that fit these kinds. Use `create` or `load` instead."""
        self._rows = rows
        self._kinds = kinds
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None

    @classmethod
    def create(cls, rows: Mapping[int, Mapping[str, Any]]) -> MetadataStore:
        """Build a store from facts by id.

        Give an empty row for an image without facts, because `ids_where` finds only ids that have a row.

        Raises:
            UsageError: if there are more than 1,000 columns, or one without a name or called vitdsi_id.
        """
        return cls({}, {}).adding(rows)

    def adding(self, rows: Mapping[int, Mapping[str, Any]]) -> MetadataStore:
        """Return a store with these rows too. A row replaces the one that its id had before.

        Raises:
            UsageError: as `create`.
        """
        spelling = {name.casefold(): name for name in self._kinds}
        ranks = {name: _KINDS.index(kind) for name, kind in self._kinds.items()}
        added: dict[int, Row] = {}
        for number, facts in rows.items():
            row: Row = {}
            for given_name, given_value in facts.items():
                value = _storable(given_value)
                if value is None:
                    continue
                name = spelling.get(given_name)
                if name is None:
                    clean = _replace_surrogates(str(given_name)).replace("\0", "")
                    name = spelling[given_name] = spelling.setdefault(clean.casefold(), clean)
                row[name] = value
                ranks[name] = max(ranks.get(name, 0), _KIND_RANKS[type(value)])
            added[int(number)] = row
        kinds = {name: _KINDS[rank] for name, rank in ranks.items()}
        _check_columns(kinds)
        widened = {name for name, kind in self._kinds.items() if kinds[name] != kind}
        kept = {n: _convert(row, kinds, widened) for n, row in self._rows.items()} if widened else self._rows
        not_integer = {name for name, kind in kinds.items() if kind != "integer"}
        return MetadataStore(
            {**kept, **{n: _convert(row, kinds, not_integer) for n, row in added.items()}}, kinds
        )

    def removing(self, ids: Iterable[int]) -> MetadataStore:
        """Return a store without the rows of these ids. Ids without a row are ignored."""
        removed = {int(number) for number in ids}
        return MetadataStore({n: row for n, row in self._rows.items() if n not in removed}, self._kinds)

    def renumbered(self, new_ids: Mapping[int, int]) -> MetadataStore:
        """Return a store with the rows of the ids in `new_ids` (old id -> new id) only, under their new ids.

        Raises:
            ValueError: if two ids have the same new id.
        """
        if len(set(new_ids.values())) < len(new_ids):
            raise ValueError("two ids have the same new id; give each id one of its own")
        rows = {int(new): self._rows[old] for old, new in new_ids.items() if old in self._rows}
        return MetadataStore(rows, self._kinds)

    def columns(self) -> dict[str, str]:
        """Return the kind of each column, "text", "integer" or "real", in the order of first use."""
        return dict(self._kinds)

    def rows(self, ids: Iterable[int]) -> dict[int, dict[str, Any]]:
        """Return a copy of the facts of each of these ids, empty for ids without facts."""
        return {int(number): dict(self._rows.get(int(number), {})) for number in ids}

    def ids_where(self, text: str) -> npt.NDArray[np.int64]:
        """Return the sorted ids for which a condition holds; see `vitdsi.facts.conditions` for its language.

        Raises:
            UsageError: if there is a mistake in the condition.
        """
        condition, values = compile_where(text, self._kinds)
        with self._lock:
            if self._database is None:
                database = sqlite3.connect(":memory:", check_same_thread=False)
                weakref.finalize(self, database.close)
                self._write_table(database)
                self._database = database
            query = f"SELECT {_ID_COLUMN} FROM facts WHERE {condition} ORDER BY {_ID_COLUMN}"
            found = self._database.execute(query, values).fetchall()
        return np.array([number for (number,) in found], dtype=np.int64)

    def save(self, path: Path) -> None:
        """Write the store as an SQLite database. Overwrites an existing file non-atomically and does not sync it."""
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA journal_mode = OFF")
            database.execute("PRAGMA synchronous = OFF")
            self._write_table(database)

    @classmethod
    def load(cls, path: Path) -> MetadataStore:
        """Read a saved store. Writes nothing, not even beside the file, and does not keep the file open.

        Raises:
            FileNotFoundError: if there is no such file.
            IndexFormatError: if the file is not a saved store, or is broken.
        """
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file")
        try:
            uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
            with closing(sqlite3.connect(uri, uri=True)) as database:
                columns = database.execute("SELECT name, lower(type) FROM pragma_table_info('facts')")
                kinds = dict(columns.fetchall())
                if kinds.pop(_ID_COLUMN, "") != "integer" or not set(kinds.values()) <= set(_KINDS):
                    raise ValueError("it has no table of facts")
                # SQLite would read the missing end of the last page as zeros.
                size = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
                if database.execute(size).fetchone() != (path.stat().st_size,):
                    raise ValueError("it is truncated")
                rows = {
                    number: {
                        name: value for name, value in zip(kinds, values, strict=True) if value is not None
                    }
                    for number, *values in database.execute("SELECT * FROM facts")
                }
        except (sqlite3.Error, ValueError) as error:
            if not path.exists():  # another process deleted it in the meantime
                raise FileNotFoundError(f"{path}: no such file") from error
            raise IndexFormatError(
                f"{path}: not the metadata of an index, or broken ({error}); build the index again"
            ) from error
        return cls(rows, kinds)

    def _write_table(self, database: sqlite3.Connection) -> None:
        """Create the only table: the id as its integer key, and every column of the metadata."""
        columns = [f"{_ID_COLUMN} INTEGER PRIMARY KEY"]
        columns += [f"{quote_identifier(name)} {kind.upper()}" for name, kind in self._kinds.items()]
        placeholders = ", ".join("?" * len(columns))
        with database:
            database.execute(f"CREATE TABLE facts ({', '.join(columns)})")
            rows = ((number, *map(row.get, self._kinds)) for number, row in sorted(self._rows.items()))
            database.executemany(f"INSERT INTO facts VALUES ({placeholders})", rows)


def _storable(value: Any) -> Value | None:
    """Convert a value as the docstring of the class says; None is a missing value."""
    if isinstance(value, str):
        return _replace_surrogates(value)
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else str(value)
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, decimal.Decimal):
        value = float(value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, int):  # and bool, which is a subclass
        return int(value) if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, (datetime.date, datetime.time)):  # and datetime, which is a subclass of date
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (list, tuple, dict)):
        return _replace_surrogates(json.dumps(value, ensure_ascii=False, default=str))
    return _replace_surrogates(str(value))


def _replace_surrogates(text: str) -> str:
    """Replace lone surrogates, which SQLite refuses, and return a plain `str` also for its subclasses."""
    return text if type(text) is str and text.isascii() else text.encode("utf-8", "replace").decode()


def _convert(row: Row, kinds: dict[str, str], names: set[str]) -> Row:
    """Convert the values of these columns to their kind; return the same object if nothing changes."""
    changed: Row = {}
    for name in names & row.keys():
        value = row[name]
        if kinds[name] == "text" and not isinstance(value, str):
            changed[name] = str(value)
        elif kinds[name] == "real" and isinstance(value, int):
            changed[name] = float(value)
    return {**row, **changed} if changed else row


def _check_columns(kinds: dict[str, str]) -> None:
    if len(kinds) > _MAX_COLUMNS:
        raise UsageError(
            f"the metadata has {len(kinds)} columns, but at most {_MAX_COLUMNS} are allowed; drop some of them"
        )
    for name in kinds:
        if name.casefold() == _ID_COLUMN or not name:
            raise UsageError(f"{name!r} cannot be the name of a metadata column; rename it")
