"""Content hashes: the first 64 bits of the hash of each image file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

from vitdsi.columns.segments import Array, Column, Ids

__all__ = ["HASH_DIGITS", "ContentHashes"]

HASH_DIGITS = 16
"""Hexadecimal digits of a content hash that an index keeps."""


class ContentHashes(Sequence[str]):
    """The content hashes of N image files, 8 bytes each: hexadecimal texts, "" for images that were not files.

    Of a longer hash the first 64 bits are kept. Two different files out of N have the same 64 bits with a probability
    of about N^2 / 2^65: 3e-8 for a million files.
    """

    def __init__(self, rows: Column) -> None:
        """Take ownership of the hashes as integers (N,) int64, 0 for none. Use `of` instead."""
        self.rows = rows

    @classmethod
    def of(cls, hashes: Sequence[str]) -> ContentHashes:
        """Return hexadecimal texts of at least 16 digits, or "", as content hashes."""
        return cls(Column([_numbers(hashes)]))

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return _texts(self.rows.at(np.arange(*index.indices(len(self)))))
        if not -len(self) <= index < len(self):
            raise IndexError(f"there are {len(self)} hashes, and none at {index}")
        return _texts(self.rows.at(np.array([index % len(self)])))[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self.at(np.arange(len(self))))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and not isinstance(other, str) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    @property
    def complete(self) -> bool:
        """Whether all images were files."""
        return bool(self.rows.since(0).all())

    def at(self, ids: Ids) -> list[str]:
        """Return the hashes of these ids (n,), in their order."""
        return _texts(self.rows.at(ids))

    def find(self, hashes: Sequence[str]) -> list[list[int]]:
        """Return the rows of each of these hashes, ascending; none for ""."""
        wanted, numbers = _numbers(hashes), self.rows.since(0)
        rows = np.flatnonzero(np.isin(numbers, wanted[wanted != 0]))
        by_number: dict[int, list[int]] = {}
        for row, number in zip(rows.tolist(), numbers[rows].tolist(), strict=True):
            by_number.setdefault(number, []).append(row)
        return [by_number.get(number, []) for number in wanted.tolist()]

    def joined(self, more: Sequence[str]) -> ContentHashes:
        """Return these hashes, then more."""
        return ContentHashes(self.rows.joined(_numbers(more)))

    def take(self, ids: Ids) -> ContentHashes:
        """Return the hashes of these ids, in their order."""
        return ContentHashes(self.rows.take(ids))


def _numbers(hashes: Sequence[str]) -> Array:
    digits = "".join(text[:HASH_DIGITS].ljust(HASH_DIGITS, "0") for text in hashes)
    return np.frombuffer(bytes.fromhex(digits), ">i8").astype(np.int64)


def _texts(numbers: Array) -> list[str]:
    digits = numbers.astype(">i8").tobytes().hex()
    return [
        digits[HASH_DIGITS * i : HASH_DIGITS * (i + 1)] if number else ""
        for i, number in enumerate(numbers.tolist())
    ]
