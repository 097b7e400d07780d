"""Browsing an index without a query: how many images pass a filter, which ones, and what values they have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vitdsi.errors import UsageError
from vitdsi.facts.facets import Facet, count_values
from vitdsi.search.filters import passing_ids
from vitdsi.state import IndexState

__all__ = ["ImagePage", "IndexedImage", "facets", "page_of_images"]


@dataclass(frozen=True)
class IndexedImage:
    """An image of an index: its internal number, its image_id, its class if there is one, and its facts."""

    id: int
    image_id: str
    label: str | None
    facts: dict[str, Any]


@dataclass(frozen=True)
class ImagePage:
    """A part of the images that pass a filter.

    Attributes:
        total: how many images pass the filter.
        offset: how many of them come before this page.
        images: the images of the page.
    """

    total: int
    offset: int
    images: tuple[IndexedImage, ...]


def page_of_images(
    state: IndexState,
    where: str | None = None,
    allow: Iterable[str | int] | None = None,
    *,
    offset: int = 0,
    limit: int | None = None,
) -> ImagePage:
    """Return the images that pass a filter, in the order in which they were added, from `offset` on.

    Args:
        state: the index.
        where, allow: the filter; see `vitdsi.SearchOptions`.
        offset: the number of images to skip.
        limit: the most images to return; None returns all, and 0 only the total.

    Raises:
        UsageError: the filter is not valid, or a number is negative.
    """
    for name, value in (("offset", offset), ("limit", limit)):
        if value is not None and value < 0:
            raise UsageError(f"{name} is {value}; it must be at least 0")
    ids = passing_ids(state, where, allow)
    page = ids[offset : None if limit is None else offset + limit].tolist()
    facts = state.metadata.rows(page)
    images = (
        IndexedImage(i, state.image_ids[i], None if state.labels is None else state.labels[i], facts[i])
        for i in page
    )
    return ImagePage(len(ids), offset, tuple(images))


def facets(
    state: IndexState,
    by: Sequence[str] | None = None,
    where: str | None = None,
    allow: Iterable[str | int] | None = None,
    *,
    limit: int | None = None,
) -> list[Facet]:
    """Count the values of columns among the images that pass a filter; see `vitdsi.facts.facets.count_values`.

    Raises:
        UsageError: the filter is not valid, there is no such column, or the limit is below 1.
    """
    return count_values(state.metadata, passing_ids(state, where, allow).tolist(), by, limit=limit)
