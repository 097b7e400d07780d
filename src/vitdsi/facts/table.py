"""Tables of facts: one SQLite database each, in memory or in a file that is only read, with the facts of some ids.

A file may come from a stranger. So it is opened read-only and as if nobody changed it, must hold nothing but the table,
and no query may run for ever. SQLite's extensions cannot be loaded, and functions in its schema are not trusted.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

from vitdsi.errors import IndexFormatError, UsageError
from vitdsi.facts.conditions import quote_identifier

__all__ = ["ID_COLUMN", "KINDS", "Row", "Table", "Value", "write_table"]

Value: TypeAlias = "int | float | str"
Row: TypeAlias = "dict[str, Value]"

KINDS = ("integer", "real", "text")
"""The kinds of columns; every kind can hold the values of the kinds before it."""

ID_COLUMN = "vitdsi_id"
"""The column of the ids, which no column of the metadata may be called."""

_FACTS = "facts"
_STEPS, _MAX_STEPS = 1_000_000, 5_000_000_000  # instructions of SQLite between two looks, and of a query
_ROWS_AT_ONCE = 500
_AMONG = f"{ID_COLUMN} IN (SELECT value FROM json_each(?))"
_CASTS = {"real": "CAST({} AS REAL)", "text": "vitdsi_text({})"}


class Table:
    """The facts of some ids. Several threads may read them; nothing changes.

    Attributes:
        kinds: the kind of each column.
        first, last: the lowest and the highest id, 0 and -1 without any.
    """

    def __init__(self, database: sqlite3.Connection, name: str) -> None:
        """Take ownership of a database, which errors call by this name. Use `of` or `open` instead."""
        weakref.finalize(self, database.close)
        self._database, self._name, self._lock = database, name, threading.Lock()
        self.kinds = dict(database.execute(f"SELECT name, lower(type) FROM pragma_table_info('{_FACTS}')"))
        if self.kinds.pop(ID_COLUMN, "") != "integer" or not set(self.kinds.values()) <= set(KINDS):
            raise ValueError("it has no table of facts")
        # Each of them alone is found in the tree of the ids; together, SQLite would read all rows.
        least, most = (f"(SELECT {name}({ID_COLUMN}) FROM {_FACTS})" for name in ("min", "max"))
        query = f"SELECT {least}, {most}"
        low, high = database.execute(query).fetchone()
        self.first, self.last = (0, -1) if low is None else (int(low), int(high))
        database.create_function("vitdsi_text", 1, _as_text, deterministic=True)

    @classmethod
    def of(cls, rows: Iterable[tuple[int, Row]], kinds: Mapping[str, str]) -> Table:
        """Return rows of these kinds, by ascending id, as a table in memory."""
        database = sqlite3.connect(":memory:", check_same_thread=False)
        _fill(database, rows, kinds)
        return cls(database, "the metadata")

    @classmethod
    def open(cls, path: Path) -> Table:
        """Open a file. It stays open and is read where it is; nothing is written, not even beside it.

        Raises:
            FileNotFoundError: there is no such file.
            IndexFormatError: the file is not a table of facts, or is broken.
        """
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file")
        database = None
        try:
            uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
            database = sqlite3.connect(uri, uri=True, check_same_thread=False)
            for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "query_only = ON"):
                database.execute(f"PRAGMA {pragma}")
            _check(database, path)
            return cls(database, str(path))
        except (sqlite3.Error, ValueError) as error:
            if database is not None:
                database.close()
            if not path.exists():  # another process deleted it in the meantime
                raise FileNotFoundError(f"{path}: no such file") from error
            raise _broken(str(path), error) from error

    def ids_where(self, condition: str, values: Sequence[object], kinds: Mapping[str, str]) -> list[int]:
        """Return the ids, ascending, for which an SQL expression holds.

        Args:
            condition: the expression, over columns of these kinds.
            values: the values of its question marks.
            kinds: the kind of each column, which may be later in `KINDS` than here; others have no values here.
        """
        source = _FACTS
        if kinds != self.kinds:
            columns = [
                f"{self._column(name, kind)} AS {quote_identifier(name)}" for name, kind in kinds.items()
            ]
            source = f"(SELECT {', '.join([ID_COLUMN, *columns])} FROM {_FACTS})"
        query = f"SELECT {ID_COLUMN} FROM {source} WHERE {condition} ORDER BY {ID_COLUMN}"
        return [number for (number,) in self._read(query, values)]

    def _column(self, name: str, kind: str) -> str:
        if name not in self.kinds:
            return "NULL"
        quoted = quote_identifier(name)
        return quoted if self.kinds[name] == kind else _CASTS[kind].format(quoted)

    def rows(self, ids: Sequence[int], kinds: Mapping[str, str]) -> dict[int, Row]:
        """Return the facts of those of these ids that the table has, with the values as columns of these kinds."""
        query = f"SELECT * FROM {_FACTS} WHERE {_AMONG}"
        return dict(self._as_rows(self._read(query, [json.dumps(ids)]), kinds)) if ids else {}

    def counts(self, ids: Sequence[int], name: str, kind: str) -> Counter[Value]:
        """Return how many of these ids have each value of a column, with the values as those of this kind."""
        if name not in self.kinds or not ids:
            return Counter()
        column = quote_identifier(name)
        query = f"SELECT {column}, count(*) FROM {_FACTS} WHERE {column} IS NOT NULL AND {_AMONG} GROUP BY {column}"
        counted: Counter[Value] = Counter()
        for value, count in self._read(query, [json.dumps(ids)]):
            counted[converted(value, kind)] += count
        return counted

    def since(self, first: int, kinds: Mapping[str, str]) -> Iterator[tuple[int, Row]]:
        """Yield the facts of the ids from `first` on, ascending, with the values as columns of these kinds."""
        while first <= self.last:
            query = (
                f"SELECT * FROM {_FACTS} WHERE {ID_COLUMN} >= ? ORDER BY {ID_COLUMN} LIMIT {_ROWS_AT_ONCE}"
            )
            found = list(self._as_rows(self._read(query, [first]), kinds))
            if not found:
                return
            yield from found
            first = found[-1][0] + 1

    def _as_rows(self, found: Iterable[Sequence[Any]], kinds: Mapping[str, str]) -> Iterator[tuple[int, Row]]:
        for number, *values in found:
            pairs = zip(self.kinds, values, strict=True)
            yield number, {name: converted(value, kinds[name]) for name, value in pairs if value is not None}

    def _read(self, query: str, values: Sequence[object]) -> list[Any]:
        with self._lock:
            looks = iter(range(_MAX_STEPS // _STEPS))
            self._database.set_progress_handler(lambda: next(looks, None) is None, _STEPS)
            try:
                return self._database.execute(query, values).fetchall()
            except sqlite3.OperationalError as error:
                if str(error) == "interrupted":
                    raise UsageError("the condition takes too long; give a simpler one") from error
                raise _broken(self._name, error) from error
            except sqlite3.Error as error:
                raise _broken(self._name, error) from error


def converted(value: Any, kind: str) -> Value:
    """Return a value as one of a column of this kind."""
    if isinstance(value, bytes):  # only in a file that somebody else made
        value = value.decode("utf-8", "replace")
    if kind == "text":
        return str(value)
    return float(value) if kind == "real" and isinstance(value, int) else value


def write_table(path: Path, rows: Iterable[tuple[int, Row]], kinds: Mapping[str, str]) -> None:
    """Write rows, by ascending id, to a file. Overwrites an existing file non-atomically and does not sync it."""
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        _fill(database, rows, kinds)


def _fill(database: sqlite3.Connection, rows: Iterable[tuple[int, Row]], kinds: Mapping[str, str]) -> None:
    """Create the only table: the id as its integer key, and every column of the metadata."""
    columns = [f"{ID_COLUMN} INTEGER PRIMARY KEY"]
    columns += [f"{quote_identifier(name)} {kind.upper()}" for name, kind in kinds.items()]
    with database:
        database.execute(f"CREATE TABLE {_FACTS} ({', '.join(columns)})")
        values = ((number, *map(row.get, kinds)) for number, row in rows)
        database.executemany(f"INSERT INTO {_FACTS} VALUES ({', '.join('?' * len(columns))})", values)


def _check(database: sqlite3.Connection, path: Path) -> None:
    found = database.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    if [entry[:2] for entry in found] != [("table", _FACTS)] or not found[0][2].startswith("CREATE TABLE"):
        raise ValueError("it has no table of facts, or something else beside it")
    if database.execute(f"SELECT count(*) FROM pragma_table_xinfo('{_FACTS}') WHERE hidden").fetchone() != (
        0,
    ):
        raise ValueError("it has no table of facts, but one with computed columns")
    # SQLite would read the missing end of the last page as zeros.
    size = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
    if database.execute(size).fetchone() != (path.stat().st_size,):
        raise ValueError("it is truncated")


def _broken(name: str, error: Exception) -> IndexFormatError:
    return IndexFormatError(
        f"{name}: not the metadata of an index, or broken ({error}); build the index again"
    )


def _as_text(value: Any) -> str | None:
    return None if value is None else str(value)
