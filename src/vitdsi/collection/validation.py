"""What must hold of the arrays of an index that somebody else may have made, checked when it is opened.

Arrays have the expected type and shape, and numbers that point into others are in range. Values without such a meaning,
such as weights, can be anything: they change what is found, and nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vitdsi.columns.segments import Array

__all__ = ["check_array", "check_numbers", "check_offsets"]


def check_array(name: str, array: Array, kind: str, *shape: int | None) -> None:
    """Check the type and the shape of an array, where None stands for any length.

    Args:
        name: the name of the array, for errors.
        array: the array.
        kind: the name of its type, such as `uint8`, or the first letters of several, such as `float`.
        shape: its lengths.

    Raises:
        ValueError: it has another type or shape.
    """
    fits = len(array.shape) == len(shape) and all(
        b in (None, a) for a, b in zip(array.shape, shape, strict=True)
    )
    if not fits or not array.dtype.name.startswith(kind):
        raise ValueError(f"{name} are {array.dtype.name} {array.shape}, where {kind} {shape} is expected")


def check_numbers(name: str, numbers: Any, end: int, first: int = 0) -> None:
    """Check that all numbers of an array or a tensor are from `first` up to, but not including, `end`.

    Raises:
        ValueError: one is not.
    """
    if len(numbers) and not first <= int(numbers.min()) <= int(numbers.max()) < end:
        raise ValueError(f"{name} are not all from {first} to {end - 1}")


def check_offsets(name: str, offsets: Array, count: int) -> None:
    """Check that offsets (N + 1,) int64 ascend from 0 to `count`.

    Raises:
        ValueError: they do not.
    """
    check_array(name, offsets, "int64", None)
    ascend = len(offsets) and offsets[0] == 0 and offsets[-1] == count and bool((np.diff(offsets) >= 0).all())
    if not ascend:
        raise ValueError(f"{name} do not ascend from 0 to {count}")
