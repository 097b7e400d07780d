"""Small stores of facts; shared by the tests of the store and of its file."""

from __future__ import annotations

from typing import Any

from vitdsi.facts.store import MetadataStore


def store(*values: Any, name: str = "x") -> MetadataStore:
    """One column, ids 0, 1, ..."""
    return MetadataStore.create({i: {name: value} for i, value in enumerate(values)})


def column(store: MetadataStore, count: int, name: str = "x") -> list[Any]:
    return [row.get(name) for row in store.rows(range(count)).values()]


def contents(store: MetadataStore, count: int = 100) -> tuple[dict[str, str], dict[int, dict[str, Any]]]:
    return store.columns(), store.rows(range(count))
