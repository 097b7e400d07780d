"""The metadata of an index: facts by id, and the ids for which a condition on them holds.

A store never changes: adding rows, or taking some, returns another store. It consists of tables
(`vitdsi.facts.table`) with the facts of ascending ids: those in files are read where they are, and what was added since
is in memory.
"""

from __future__ import annotations

import datetime
import decimal
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vitdsi.columns.segments import segments_to_keep
from vitdsi.errors import IndexFormatError, UsageError
from vitdsi.facts.conditions import compile_where
from vitdsi.facts.table import ID_COLUMN, KINDS, Row, Table, Value, converted, write_table

__all__ = ["MetadataStore"]

_KIND_RANKS = {int: 0, float: 1, str: 2}
_MAX_COLUMNS = 1000  # SQLite allows 2000


class MetadataStore:
    """Facts about images by id.

    A column holds text, integers or real numbers, and its name ignores case. Values are stored as SQLite can hold them:
    true and false as 1 and 0, dates and times as ISO 8601 text, lists and objects as JSON text, integers beyond 64 bits
    as text; NaN and None are missing values. A column of integers and fractions is real. A column with any text is
    text, and its numbers are converted to text.

    The facts of removed images stay until `take` leaves them out. Several threads may evaluate conditions at the same
    time.
    """

    def __init__(self, tables: Sequence[Table], kinds: dict[str, str]) -> None:
        """Take ownership of tables with ascending ids. Use `create` or `load` instead."""
        self._tables, self._kinds = tuple(tables), kinds

    @classmethod
    def create(cls, rows: Mapping[int, Mapping[str, Any]]) -> MetadataStore:
        """Build a store from facts by id.

        Give an empty row for an image without facts, because `ids_where` finds only ids that have a row.

        Raises:
            UsageError: if there are more than 1,000 columns, or one without a name or called vitdsi_id.
        """
        return cls([], {}).adding(rows)

    def adding(self, rows: Mapping[int, Mapping[str, Any]]) -> MetadataStore:
        """Return a store with these rows too, whose ids must be higher than all that it has.

        Raises:
            UsageError: as `create`.
            ValueError: an id is not higher.
        """
        kinds, added = _fitted(rows, self._kinds)
        if not added:
            return self
        if added[0][0] <= max((table.last for table in self._tables), default=-1):
            raise ValueError(f"the id {added[0][0]} is not higher than those that have facts")
        lengths = [table.last - table.first + 1 for table in self._tables]
        kept = segments_to_keep(lengths, len(added))
        merged = [row for table in self._tables[kept:] for row in table.since(0, kinds)]
        return MetadataStore([*self._tables[:kept], Table.of([*merged, *added], kinds)], kinds)

    def take(self, ids: Iterable[int]) -> MetadataStore:
        """Return a store with the rows of these ids only, ascending, as ids 0, 1, ..."""
        numbers = [int(number) for number in ids]
        return MetadataStore([Table.of(enumerate(self.rows(numbers).values()), self._kinds)], self._kinds)

    def columns(self) -> dict[str, str]:
        """Return the kind of each column, "text", "integer" or "real", in the order of first use."""
        return dict(self._kinds)

    def rows(self, ids: Iterable[int]) -> dict[int, Row]:
        """Return a copy of the facts of each of these ids, empty for ids without facts."""
        found: dict[int, Row] = {int(number): {} for number in ids}
        for table in self._tables:
            inside = [number for number in found if table.first <= number <= table.last]
            found.update(table.rows(inside, self._kinds))
        return found

    def counts(self, ids: Iterable[int], name: str) -> Counter[Value]:
        """Return how many of these ids have each value of a column, which must exist."""
        numbers = np.fromiter(ids, dtype=np.int64)
        counted: Counter[Value] = Counter()
        for table in self._tables:
            inside = numbers[(table.first <= numbers) & (numbers <= table.last)]
            counted += table.counts(inside.tolist(), name, self._kinds[name])
        return counted

    def ids_where(self, text: str) -> npt.NDArray[np.int64]:
        """Return the sorted ids for which a condition holds; see `vitdsi.facts.conditions` for its language.

        Raises:
            UsageError: if there is a mistake in the condition, or it takes too long.
            IndexFormatError: if a file is broken.
        """
        condition, values = compile_where(text, self._kinds)
        found = [table.ids_where(condition, values, self._kinds) for table in self._tables]
        return np.array([number for ids in found for number in ids], dtype=np.int64)

    def save(self, path: Path, first: int = 0) -> None:
        """Write the rows of the ids from `first` on as an SQLite database.

        Overwrites an existing file non-atomically and does not sync it.
        """
        write_table(path, self._since(first), self._kinds)

    def _since(self, first: int) -> Iterator[tuple[int, Row]]:
        for table in self._tables:
            yield from table.since(first, self._kinds)

    @classmethod
    def load(cls, *paths: Path) -> MetadataStore:
        """Open a store that was saved in one or more files, with ascending ids.

        The files stay open, and are read where they are. Nothing is written, not even beside them.

        Raises:
            FileNotFoundError: if there is no such file.
            IndexFormatError: if a file is not a saved store, or is broken.
        """
        tables = [Table.open(path) for path in paths]
        kinds: dict[str, str] = {}
        last = -1
        for path, table in zip(paths, tables, strict=True):
            if table.first <= min(last, table.last):
                raise IndexFormatError(f"{path}: its ids are not higher than those of the file before it")
            last = max(last, table.last)
            for name, kind in table.kinds.items():
                kinds[name] = max(kinds.get(name, kind), kind, key=KINDS.index)
        _check_columns(kinds)
        return cls(tables, kinds)


def _fitted(
    rows: Mapping[int, Mapping[str, Any]], known: Mapping[str, str]
) -> tuple[dict[str, str], list[tuple[int, Row]]]:
    """Return the kinds of all columns, those that are known and those of the rows, and the rows by ascending id."""
    spelling = {name.casefold(): name for name in known}
    ranks = {name: KINDS.index(kind) for name, kind in known.items()}
    added: list[tuple[int, Row]] = []
    for number, facts in sorted(rows.items()):
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
        added.append((int(number), row))
    kinds = {name: KINDS[rank] for name, rank in ranks.items()}
    _check_columns(kinds)
    return kinds, [
        (n, {name: converted(value, kinds[name]) for name, value in row.items()}) for n, row in added
    ]


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


def _check_columns(kinds: dict[str, str]) -> None:
    if len(kinds) > _MAX_COLUMNS:
        raise UsageError(
            f"the metadata has {len(kinds)} columns, but at most {_MAX_COLUMNS} are allowed; drop some of them"
        )
    for name in kinds:
        if name.casefold() == ID_COLUMN or not name:
            raise UsageError(f"{name!r} cannot be the name of a metadata column; rename it")
