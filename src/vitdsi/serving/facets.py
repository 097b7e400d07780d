"""Facets: how many of some images have each value of a field."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from vitdsi.serving.errors import ApiError
from vitdsi.serving.served import Served

__all__ = ["MAX_VALUES", "facets", "ids_where"]

MAX_VALUES = 100  # values of a field, the most frequent ones


def ids_where(served: Served, where: str | None) -> npt.NDArray[np.int64]:
    """Return the live ids for which a condition holds, ascending; all live ids without one.

    Raises:
        UsageError: the condition is not valid.
    """
    if not where:
        return served.live
    return np.intersect1d(served.live, served.state.metadata.ids_where(where))


def facets(served: Served, ids: npt.NDArray[np.int64], fields: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Count the values of fields among images. Values that more images have come first.

    Raises:
        ApiError: 422, there is no such field.
    """
    known = served.state.metadata.columns()
    for field in fields:
        if field not in known:
            raise ApiError(
                422, f"there is no field {field[:60]!r}; the fields are {', '.join(known) or 'none'}"
            )
    counts: dict[str, Counter[Any]] = {field: Counter() for field in fields}
    for row in served.state.metadata.rows(ids.tolist()).values() if fields else ():
        for field in fields:
            if field in row:
                counts[field][row[field]] += 1
    return {
        field: [
            {"value": value, "count": count}
            for value, count in sorted(counted.items(), key=lambda item: (-item[1], item[0]))[:MAX_VALUES]
        ]
        for field, counted in counts.items()
    }
