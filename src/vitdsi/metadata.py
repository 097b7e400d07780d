"""What is known about the images of an index, by id, and which of them a condition holds for.

A store never changes: adding, removing and renumbering return another one that shares the rows. Rows are plain
dictionaries; an SQLite database in memory is made from them when the first condition is asked, and a file of the
same form is what is kept on the disk.
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
from vitdsi.where import compile_where, quoted_name

__all__ = ["MetadataStore"]

Value: TypeAlias = "int | float | str"
Row: TypeAlias = "dict[str, Value]"

_KINDS = ("integer", "real", "text")  # each can hold what those before it can
_TYPES = {int: 0, float: 1, str: 2}
_KEY = "vitdsi_id"
_MAX_COLUMNS = 1000  # SQLite allows 2000


class MetadataStore:
    """Facts by id. Columns are text, integer or real, and the same in upper and lower case.

    A value is kept as SQLite can: true and false as 1 and 0, dates as ISO text, lists and objects as JSON text, NaN
    and None as missing, integers beyond 64 bits as text. A column with integers and fractions is real; one with any
    text is text, and its numbers become text. It stays so when rows are removed.

    Conditions may be asked from several threads.
    """

    def __init__(self, rows: dict[int, Row], kinds: dict[str, str]) -> None:
        """Use `create` or `load`; the rows must fit the kinds, and belong to the store from now on."""
        self._rows = rows
        self._kinds = kinds
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None

    @classmethod
    def create(cls, rows: Mapping[int, Mapping[str, Any]]) -> MetadataStore:
        """The store of these facts by id. An image about which nothing is known needs a row too, an empty one:
        `ids_where` finds only ids that have a row.

        Raises:
            UsageError: more than 1,000 columns, or one called vitdsi_id.
        """
        return cls({}, {}).adding(rows)

    def adding(self, rows: Mapping[int, Mapping[str, Any]]) -> MetadataStore:
        """With these rows too; one for an id that has a row replaces it. Errors as for `create`."""
        spellings = {name.casefold(): name for name in self._kinds}
        ranks = {name: _KINDS.index(kind) for name, kind in self._kinds.items()}
        fresh: dict[int, Row] = {}
        for number, row in rows.items():
            plain: Row = {}
            for given, found in row.items():
                value = _plain(found)
                if value is None:
                    continue
                name = spellings.get(given)
                if name is None:
                    written = _clean(str(given)).replace("\0", "")
                    name = spellings[given] = spellings.setdefault(written.casefold(), written)
                plain[name] = value
                ranks[name] = max(ranks.get(name, 0), _TYPES[type(value)])
            fresh[int(number)] = plain
        kinds = {name: _KINDS[rank] for name, rank in ranks.items()}
        _check_columns(kinds)
        widened = {name for name, kind in self._kinds.items() if kinds[name] != kind}
        old = {n: _fit(row, kinds, widened) for n, row in self._rows.items()} if widened else self._rows
        wide = {name for name, kind in kinds.items() if kind != "integer"}
        return MetadataStore({**old, **{n: _fit(row, kinds, wide) for n, row in fresh.items()}}, kinds)

    def removing(self, ids: Iterable[int]) -> MetadataStore:
        """Without the rows of these ids; one that has no row is ignored."""
        gone = {int(number) for number in ids}
        return MetadataStore({n: row for n, row in self._rows.items() if n not in gone}, self._kinds)

    def renumbered(self, numbers: Mapping[int, int]) -> MetadataStore:
        """Old id -> new id; rows of other ids are dropped.

        Raises:
            ValueError: two ids get the same new one.
        """
        if len(set(numbers.values())) < len(numbers):
            raise ValueError("two ids would get the same number")
        rows = {int(new): self._rows[old] for old, new in numbers.items() if old in self._rows}
        return MetadataStore(rows, self._kinds)

    def columns(self) -> dict[str, str]:
        """Name -> "text", "integer" or "real", in the order in which they were first given."""
        return dict(self._kinds)

    def rows(self, ids: Iterable[int]) -> dict[int, dict[str, Any]]:
        """What is known about each of these ids; an empty dictionary where nothing is."""
        return {int(number): dict(self._rows.get(int(number), {})) for number in ids}

    def ids_where(self, text: str) -> npt.NDArray[np.int64]:
        """The sorted ids for which the condition holds; see `vitdsi.where` for how it is written.

        Raises:
            UsageError: a mistake in the condition.
        """
        condition, values = compile_where(text, self._kinds)
        with self._lock:
            if self._database is None:
                database = sqlite3.connect(":memory:", check_same_thread=False)
                weakref.finalize(self, database.close)
                self._fill(database)
                self._database = database
            query = f"SELECT {_KEY} FROM facts WHERE {condition} ORDER BY {_KEY}"
            found = self._database.execute(query, values).fetchall()
        return np.array([number for (number,) in found], dtype=np.int64)

    def save(self, path: Path) -> None:
        """Write an SQLite database; a file that is there is replaced, not at once."""
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA journal_mode = OFF")
            database.execute("PRAGMA synchronous = OFF")  # whoever keeps the file syncs it
            self._fill(database)

    @classmethod
    def load(cls, path: Path) -> MetadataStore:
        """Read a saved store. Nothing is written, also not beside the file, and it is not kept open.

        Raises:
            FileNotFoundError: there is no such file.
            IndexFormatError: it is not a saved store, or is broken.
        """
        if not path.exists():
            raise FileNotFoundError(f"{path}: there is no such file")
        try:
            address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
            with closing(sqlite3.connect(address, uri=True)) as database:
                columns = database.execute("SELECT name, lower(type) FROM pragma_table_info('facts')")
                kinds = dict(columns.fetchall())
                if kinds.pop(_KEY, "") != "integer" or not set(kinds.values()) <= set(_KINDS):
                    raise ValueError("it has no table of facts")
                size = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
                if database.execute(size).fetchone() != (path.stat().st_size,):
                    raise ValueError("it is not whole")  # SQLite takes the rest of the last page for zeros
                rows = {
                    number: {
                        name: value for name, value in zip(kinds, values, strict=True) if value is not None
                    }
                    for number, *values in database.execute("SELECT * FROM facts")
                }
        except (sqlite3.Error, ValueError) as error:
            if not path.exists():  # it was deleted in the meantime
                raise FileNotFoundError(f"{path}: there is no such file") from error
            raise IndexFormatError(f"{path}: not the metadata of an index, or broken ({error})") from error
        return cls(rows, kinds)

    def _fill(self, database: sqlite3.Connection) -> None:
        """Make the one table: an integer key, and a column for each name."""
        columns = [f"{_KEY} INTEGER PRIMARY KEY"]
        columns += [f"{quoted_name(name)} {kind.upper()}" for name, kind in self._kinds.items()]
        places = ", ".join("?" * len(columns))
        with database:
            database.execute(f"CREATE TABLE facts ({', '.join(columns)})")
            rows = ((number, *map(row.get, self._kinds)) for number, row in sorted(self._rows.items()))
            database.executemany(f"INSERT INTO facts VALUES ({places})", rows)


def _plain(value: Any) -> Value | None:
    """As the class says; None where it is missing."""
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else str(value)
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, decimal.Decimal):
        value = float(value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, int):  # bool too
        return int(value) if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, (datetime.date, datetime.time)):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (list, tuple, dict)):
        return _clean(json.dumps(value, ensure_ascii=False, default=str))
    return _clean(str(value))


def _clean(text: str) -> str:
    """Without lone surrogates, which no database takes."""
    return text if type(text) is str and text.isascii() else text.encode("utf-8", "replace").decode()


def _fit(row: Row, kinds: dict[str, str], names: set[str]) -> Row:
    """The row with the values of these columns as their kind; the same object where nothing changes."""
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
            f"the metadata has {len(kinds)} columns, at most {_MAX_COLUMNS} are allowed; drop those not needed"
        )
    for name in kinds:
        if name.casefold() == _KEY or not name:
            raise UsageError(f"{name!r} cannot be the name of a metadata column; rename it")
