"""Codes for images added to a living collection, without a change to anybody else's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from vitdsi.errors import UsageError
from vitdsi.ids.context import IdContext
from vitdsi.ids.descend import descend, slots_taken
from vitdsi.ids.residual import residual
from vitdsi.ids.semantic import semantic
from vitdsi.ids.slots import Gaps, by_class
from vitdsi.ids.vectors import Vectors, directions
from vitdsi.tokens import Codes, Vocabulary, decode_numbers, encode_numbers

_NUMBERS = ("random", "clustered")
_TREES = {"semantic": semantic, "residual": residual}
_LARGEST = 2**62  # numbers below are counted in int64
_SPARE = 10  # where ids become longer, there is room for a tenth of the collection more than asked for

_T = TypeVar("_T", bound=Sequence[str] | npt.NDArray[Any])


def capacity_left(existing: Codes, live: npt.NDArray[np.bool_], base: int) -> int:
    """Free slots: how many codes no longer than `existing` (N, L) is wide do not clash with the live (N,) ones."""
    codes = existing[_in_use(existing, live, base)]
    return _slots(codes, base, existing.shape[1], variable=_variable(existing, base))


def length_for(existing: Codes, live: npt.NDArray[np.bool_], base: int, count: int) -> int:
    """How many digits codes without EOS need so that `count` more have room, and one is still free: as many as they
    have where that will do, else enough for a tenth of the collection more."""
    codes, length = existing[_in_use(existing, live, base)], existing.shape[1]
    return (
        length if count < _slots(codes, base, length) else _length(codes, base, length, count + _spare(codes))
    )


def grow(
    scheme: str,
    existing: Codes,
    live: npt.NDArray[np.bool_],
    count: int,
    base: int,
    *,
    seed: int = 0,
    features: Vectors | None = None,
    new_features: Vectors | None = None,
    labels: Sequence[str] | None = None,
    new_labels: Sequence[str] | None = None,
) -> Codes:
    """Codes (n, L') for new images, prefix-free with the live ones; those stay, with PAD on the right if L' > L.

    - random: free numbers, drawn by seed.
    - clustered: the free number nearest to those of the same class.
    - semantic, residual: a free digit in the node that is reached by always going to the branch with the nearest
      mean, or near it where it is full (see `ids.descend`).

    Ids become longer where free slots do not suffice, and already where they just would: below one free slot any
    number of longer ids has room, so the last one is never used up. Numbers that end with EOS have room always.

    Args:
        existing: (N, L) codes; rows of PAD for ids that never lived.
        live: (N,) which ids are in use. The codes of the others are free, and may be given again.
        count: number of new images, n.
        base: digits are 0 .. base - 1.
        features, new_features: (N, D) and (n, D), for semantic and residual; rows of dead ids are not read.
        labels, new_labels: N and n classes, for clustered.

    Raises:
        UsageError: no slot is free, ids would become too long, or what the scheme needs is missing.
    """
    if scheme not in (*_NUMBERS, *_TREES):
        known = ", ".join((*_NUMBERS, *_TREES))
        raise UsageError(f"ids.scheme is {scheme!r}; images can be added to one of {known}")
    in_use = _in_use(existing, live, base)
    if count == 0:
        return np.empty((0, existing.shape[1]), dtype=np.int64)
    if not _variable(existing, base) and capacity_left(existing, live, base) == 0:
        raise UsageError(
            f"0 slots are left for {count} new images: {in_use.sum()} images use all ids of {existing.shape[1]}"
            f" digits in base {base}; give all images new ids (compact), or build with a larger ids.base"
        )
    if scheme in _TREES:
        known_features = _both(scheme, "features", features, new_features, len(existing), count)
        codes = _in_tree(scheme, existing, in_use, base, seed, *known_features)
    else:
        classes = None
        if scheme == "clustered":
            classes = _both(scheme, "classes", labels, new_labels, len(existing), count)
        codes = _as_numbers(existing, in_use, count, base, seed, classes)
    return _widened(codes, existing.shape[1], base)


def _as_numbers(
    existing: Codes,
    in_use: npt.NDArray[np.bool_],
    count: int,
    base: int,
    seed: int,
    classes: tuple[Sequence[str], Sequence[str]] | None,
) -> Codes:
    codes, variable = existing[in_use], _variable(existing, base)
    length = existing.shape[1]
    if variable:
        length = _length(codes, base, length, count, variable=True)
        digits = length - 1
        starts = decode_numbers(codes, base)
        ends = starts + 1
    else:
        if _slots(codes, base, length) <= count:
            length = _length(codes, base, length, count + _spare(codes))
        digits = length
    if base**digits > _LARGEST:
        raise UsageError(
            f"new ids would have {digits} digits in base {base}, too many; give all images new ids (compact)"
        )
    if not variable:
        powers = base ** np.arange(digits - 1, -1, -1, dtype=np.int64)
        starts = (np.where(codes < base, codes, 0) * powers[: codes.shape[1]]).sum(1)
        ends = starts + slots_taken(codes, base, digits).astype(np.int64)
    gaps = Gaps(starts, ends, base**digits)
    if classes is None:
        numbers = gaps.draw(count, np.random.default_rng(seed))
    else:
        old = np.asarray(classes[0], dtype=object)[in_use]
        numbers = np.empty(count, dtype=np.int64)
        for label, positions in by_class(classes[1]).items():
            same = old == label
            numbers[positions] = gaps.near(starts[same], ends[same], len(positions))
    return encode_numbers(numbers, base, length=digits, variable=variable)


def _in_tree(
    scheme: str,
    existing: Codes,
    in_use: npt.NDArray[np.bool_],
    base: int,
    seed: int,
    features: Vectors,
    new_features: Vectors,
) -> Codes:
    codes, width, count = existing[in_use], existing.shape[1], len(new_features)
    if not len(codes):
        return _TREES[scheme](IdContext(count, base, seed, features=new_features))
    centre = features[in_use].mean(0)
    vectors, new = directions(features[in_use], centre), directions(new_features, centre)
    if count <= _slots(codes, base, width):
        found = descend(codes, base, width, vectors, new)
        if _slots(np.concatenate([codes, found]), base, width):
            return found
    spare = _spare(codes)
    length = _length(codes, base, width, count + spare)
    # the places of images that do not exist are those that stay free
    return descend(codes, base, length, vectors, new[np.arange(count + spare) % count])[:count]


def _in_use(existing: Codes, live: npt.NDArray[np.bool_], base: int) -> npt.NDArray[np.bool_]:
    if len(live) != len(existing):
        raise UsageError(f"live has {len(live)} rows for {len(existing)} codes; give one each")
    used: npt.NDArray[np.bool_] = live.astype(bool) & (existing[:, 0] != Vocabulary(base).pad)
    return used


def _both(
    scheme: str, what: str, old: _T | None, new: _T | None, count: int, new_count: int
) -> tuple[_T, _T]:
    if old is None or new is None or len(old) != count or len(new) != new_count:
        raise UsageError(
            f"ids.scheme {scheme!r} needs {what} of all {count} images and of the {new_count} new ones"
        )
    return old, new


def _variable(codes: Codes, base: int) -> bool:
    return bool((codes == Vocabulary(base).eos).any())


def _slots(codes: Codes, base: int, length: int, *, variable: bool = False) -> int:
    """Free codes of `length` tokens."""
    if variable:
        return int(base ** (length - 1) - len(codes))
    return int(base**length - slots_taken(codes, base, length).sum())


def _length(codes: Codes, base: int, shortest: int, count: int, *, variable: bool = False) -> int:
    """The fewest tokens of which there are `count` free codes."""
    while _slots(codes, base, shortest, variable=variable) < count:
        shortest += 1
    return shortest


def _spare(codes: Codes) -> int:
    return max(1, len(codes) // _SPARE)


def _widened(codes: Codes, length: int, base: int) -> Codes:
    missing = max(0, length - codes.shape[1])
    return np.pad(codes, ((0, 0), (0, missing)), constant_values=Vocabulary(base).pad)
