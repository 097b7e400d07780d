"""Facets: which values the columns of the metadata have, and how many images have each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vitdsi.errors import UsageError
from vitdsi.facts.store import MetadataStore
from vitdsi.facts.table import Value

__all__ = ["Facet", "count_values"]

MAX_VALUES = 50  # of a column that is counted without being asked for


@dataclass(frozen=True)
class Facet:
    """The values of one column of the metadata among some images.

    Attributes:
        column: the name of the column.
        values: the most frequent values, each with its number of images; equally frequent ones are sorted.
        distinct: how many different values there are, of which `values` may be a part.
        missing: how many of the images have no value.
    """

    column: str
    values: tuple[tuple[Value, int], ...]
    distinct: int
    missing: int


def count_values(
    store: MetadataStore, ids: Iterable[int], by: Sequence[str] | None = None, *, limit: int | None = None
) -> list[Facet]:
    """Count the values of columns among the images of these ids.

    Args:
        store: the metadata.
        ids: the images, such as those that pass a filter.
        by: the columns; names ignore case. None stands for all columns with 1 to 50 different values.
        limit: the number of values of each column that are returned at most.

    Raises:
        UsageError: there is no such column, or the limit is below 1.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}; it must be at least 1")
    columns = list(store.columns()) if by is None else [_column(store, name) for name in by]
    numbers = list(ids)
    facets = []
    for name in columns:
        counts = store.counts(numbers, name)
        if by is None and not 1 <= len(counts) <= MAX_VALUES:
            continue
        # The values of a column are of one kind, so they can be sorted.
        ranked = sorted(counts.items(), key=lambda item: item[0])
        ranked.sort(key=lambda item: item[1], reverse=True)
        facets.append(Facet(name, tuple(ranked[:limit]), len(counts), len(numbers) - counts.total()))
    return facets


def _column(store: MetadataStore, name: str) -> str:
    """Return the spelling of a column in the store."""
    for column in store.columns():
        if column.casefold() == name.casefold():
            return column
    known = ", ".join(store.columns()) or "none, because the index has no metadata"
    raise UsageError(f"unknown column {name!r}; the columns are {known}")
