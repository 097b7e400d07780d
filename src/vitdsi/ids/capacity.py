"""How many more codes a collection has room for, and how long they must be.

A *slot* is a string of L digits. A code of fewer digits rules out every slot that begins with it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vitdsi.errors import UsageError
from vitdsi.ids.codes import Codes, Vocabulary

_SPARE_SHARE = 10  # codes that become longer leave room for one in this number of images more


def in_use(codes: Codes, live: npt.NDArray[np.bool_], base: int) -> npt.NDArray[np.bool_]:
    """Return which rows (N,) of codes (N, L) are live; rows of PAD are ids that have no code.

    Raises UsageError unless `live` has one row for each code.
    """
    if len(live) != len(codes):
        raise UsageError(f"live has {len(live)} rows for {len(codes)} codes; give one each")
    used: npt.NDArray[np.bool_] = live.astype(bool) & (codes[:, 0] != Vocabulary(base).pad)
    return used


def has_variable_length(codes: Codes, base: int) -> bool:
    """Return whether codes (N, L) end with EOS."""
    return bool((codes == Vocabulary(base).eos).any())


def slots_taken(codes: Codes, base: int, length: int) -> npt.NDArray[np.object_]:
    """Count the slots of `length` digits that each code (N, L) rules out, as unbounded integers (N,).

    A code that ends with EOS rules out none, because digits may follow where it has its EOS.
    """
    return _slots_of_digits(codes, base, length)[_digits(codes, base)]


def _slots_of_digits(codes: Codes, base: int, length: int) -> npt.NDArray[np.object_]:
    """Return how many slots of `length` digits a code of 1, 2, ... digits rules out, and 0 in the first place."""
    return np.array([0] + [base ** max(length - t, 0) for t in range(1, codes.shape[1] + 1)], dtype=object)


def _digits(codes: Codes, base: int) -> npt.NDArray[np.int64]:
    """Return how many digits each code (N, L) has; 0 for those that end with EOS, which rule out no slots."""
    digits: npt.NDArray[np.int64] = (codes < base).sum(1)
    digits[(codes == Vocabulary(base).eos).any(1)] = 0
    return digits


def free_slots(codes: Codes, base: int, length: int, *, variable: bool = False) -> int:
    """Count the codes of `length` tokens that are free beside live codes (N, L).

    With `variable`, the last of these tokens is EOS.
    """
    if variable:
        return int(base ** (length - 1) - len(codes))
    counts = np.bincount(_digits(codes, base), minlength=codes.shape[1] + 1)
    taken = sum(
        int(n) * slots for n, slots in zip(counts, _slots_of_digits(codes, base, length), strict=True)
    )
    return int(base**length - taken)


def capacity_left(codes: Codes, live: npt.NDArray[np.bool_], base: int) -> int:
    """Count the free codes that are no longer than codes (N, L) are wide, and do not clash with the live ones (N,)."""
    used = codes[in_use(codes, live, base)]
    return free_slots(used, base, codes.shape[1], variable=has_variable_length(codes, base))


def shortest_length(codes: Codes, base: int, minimum: int, count: int, *, variable: bool = False) -> int:
    """Return the smallest number of tokens, at least `minimum`, that leaves `count` codes free beside live `codes`.

    Without `variable`, at least one code of `minimum` digits must be free: below a full level all longer codes are
    taken, too.
    """
    while free_slots(codes, base, minimum, variable=variable) < count:
        minimum += 1
    return minimum


def no_slots_left(images: int, base: int, length: int, count: int) -> UsageError:
    """The error for `count` new images where existing ones use all codes of `length` digits."""
    return UsageError(
        f"0 slots are left for {count} new images: {images} images use all ids of {length} digits in base {base};"
        " give all images new ids (compact), or build with a larger ids.base"
    )


def spare_slots(codes: Codes) -> int:
    """Return how many slots stay free beyond those asked for when the codes of a collection become longer."""
    return max(1, len(codes) // _SPARE_SHARE)


def length_for(codes: Codes, live: npt.NDArray[np.bool_], base: int, count: int) -> int:
    """Return how many digits `count` new codes without EOS need.

    This is the width of codes (N, L) where they leave more than `count` slots free. Otherwise it is long enough for a
    tenth of the collection more. The last slot is never used up: below it there is room for any number of longer codes.

    Raises UsageError if no slot is free.
    """
    used = codes[in_use(codes, live, base)]
    length: int = codes.shape[1]
    free = free_slots(used, base, length)
    if count < free:
        return length
    if not free and count:
        raise no_slots_left(len(used), base, length, count)
    return shortest_length(used, base, length, count + spare_slots(used))
