"""Segments: a column grows at the end, and only the new rows and the last, small segments are copied or written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "Column", "Ids", "Ragged", "segments_to_keep"]

Array: TypeAlias = npt.NDArray[Any]
Ids: TypeAlias = npt.NDArray[np.int64]

_RATIO = 4  # of the lengths of a segment and of the next one, at least


def segments_to_keep(lengths: Sequence[int], added: int) -> int:
    """Return how many of the segments stay as they are when `added` rows follow them.

    The others are merged with the new rows. Each segment then has at least 4 times as many rows as the next one, as in
    a log-structured merge tree (O'Neil et al. 1996): N rows are in at most log4 N segments, and each of them is copied
    at most as often, however few are added at a time.
    """
    count = len(lengths)
    while count and lengths[count - 1] < _RATIO * added:
        count -= 1
        added += lengths[count]
    return count


class Column:
    """Rows (N, *shape) of equal length, in segments. Nothing is changed in place.

    Args:
        segments: one or more arrays (n, *shape) of the same type, in order.
    """

    def __init__(self, segments: Sequence[Array]) -> None:
        self._segments = [segment for segment in segments if len(segment)] or list(segments[:1])
        self._starts = np.cumsum([0, *map(len, self._segments)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def at(self, ids: Ids) -> Array:
        """Return the rows of these ids (n,), in their order: (n, *shape)."""
        if len(self._segments) == 1:
            found: Array = self._segments[0][ids]
            return found
        first = self._segments[0]
        rows = np.empty((len(ids), *first.shape[1:]), first.dtype)
        which = np.searchsorted(self._starts, ids, side="right") - 1
        for number, segment in enumerate(self._segments):
            here = which == number
            rows[here] = segment[ids[here] - self._starts[number]]
        return rows

    def since(self, row: int) -> Array:
        """Return the rows from this one on. The whole of a column with one segment is not copied."""
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        if number >= len(self._segments):
            return self._segments[-1][:0]
        parts = self._segments[number:]
        parts[0] = parts[0][row - int(self._starts[number]) :]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def joined(self, more: Array) -> Column:
        """Return these rows, then those of `more` (n, *shape)."""
        if not len(more):
            return self
        kept = segments_to_keep([len(segment) for segment in self._segments], len(more))
        return Column([*self._segments[:kept], np.concatenate([*self._segments[kept:], more])])

    def take(self, ids: Ids) -> Column:
        """Return the rows of these ids as another column."""
        return Column([self.at(ids)])


@dataclass(frozen=True)
class Ragged:
    """Rows of different lengths. Those of row i are values[offsets[i] : offsets[i + 1]].

    Attributes:
        values: (P, *shape), the values of all rows.
        offsets: (N + 1,) int64, ascending from 0 to P.
    """

    values: Array
    offsets: Ids

    @classmethod
    def of(cls, values: Array, lengths: Array) -> Ragged:
        """Return values (P, *shape) as rows of these lengths (N,)."""
        return cls(values, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64))

    @classmethod
    def concatenated(cls, parts: Sequence[Ragged]) -> Ragged:
        """Return the rows of one or more parts, one after the other."""
        if len(parts) == 1:
            return parts[0]
        values = np.concatenate([part.values for part in parts])
        return cls.of(values, np.concatenate([np.diff(part.offsets) for part in parts]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> Array:
        found: Array = self.values[self.offsets[row] : self.offsets[row + 1]]
        return found

    def since(self, row: int) -> Ragged:
        """Return the rows from this one on. All rows are not copied."""
        if not row:
            return self
        first = self.offsets[row]
        return Ragged(self.values[first:], self.offsets[row:] - first)

    def take(self, ids: Ids) -> Ragged:
        """Return the rows of these ids (n,), in their order."""
        return self._beginning(self.offsets[ids], np.diff(self.offsets)[ids])

    def first(self, count: int) -> Ragged:
        """Return the first `count` values of each row, or all where there are fewer."""
        return self._beginning(self.offsets[:-1], np.minimum(np.diff(self.offsets), count))

    def _beginning(self, starts: Ids, lengths: Ids) -> Ragged:
        """Return rows of these lengths (n,), whose values begin at `starts` (n,)."""
        ends = np.cumsum(lengths)
        places = np.repeat(starts - ends + lengths, lengths) + np.arange(ends[-1] if len(ends) else 0)
        return Ragged.of(self.values[places], lengths)
