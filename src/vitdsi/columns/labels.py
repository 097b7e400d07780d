"""Labels: the class of each image, as a number and a list of classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

from vitdsi.columns.segments import Array, Column, Ids

__all__ = ["Labels"]


class Labels(Sequence[str]):
    """The classes of N images.

    Attributes:
        classes: the names of the classes, in the order in which they first occurred.
        rows: (N,) int32, the number of the class of each image.
    """

    def __init__(self, classes: Sequence[str], rows: Column) -> None:
        """Take ownership of classes and rows. Use `of` instead."""
        self.classes, self.rows = tuple(classes), rows

    @classmethod
    def of(cls, labels: Sequence[str]) -> Labels:
        """Return the names of classes as labels."""
        return cls((), Column([np.empty(0, np.int32)])).joined(labels)

    @property
    def numbers(self) -> Array:
        """The number of the class of each image (N,)."""
        return self.rows.since(0)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return self.at(np.arange(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(f"there are {len(self)} labels, and none at {index}")
        return self.at(np.array([index % len(self)]))[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self.at(np.arange(len(self))))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and not isinstance(other, str) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def at(self, ids: Ids) -> list[str]:
        """Return the classes of these ids (n,), in their order."""
        return [self.classes[number] for number in self.rows.at(ids).tolist()]

    def joined(self, more: Sequence[str]) -> Labels:
        """Return these labels, then more."""
        number_of = {name: number for number, name in enumerate(self.classes)}
        numbers = np.array([number_of.setdefault(name, len(number_of)) for name in more], np.int32)
        return Labels(tuple(number_of), self.rows.joined(numbers))

    def take(self, ids: Ids) -> Labels:
        """Return the labels of these ids, in their order. Classes without images are kept."""
        return Labels(self.classes, self.rows.take(ids))
