"""Ids as codes: short sequences of digits in some base, as the decoder writes them.

The tokens of base b are the digits 0 .. b-1, EOS = b and PAD = b + 1; BOS = b + 2 is only ever an input. The *code*
of an id is its token sequence, padded on the right with PAD. The codes of a collection are prefix-free. Digits of a
fixed length are so by construction, and numbers of variable length because each ends with EOS (section 2.2 of the
paper).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vitdsi.errors import UsageError

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of one base. Raises UsageError for a base below 2."""

    base: int

    def __post_init__(self) -> None:
        if self.base < 2:
            raise UsageError(f"base is {self.base}; it must be at least 2 (10 writes decimal digits)")

    @property
    def eos(self) -> int:
        """The token that ends an id of variable length."""
        return self.base

    @property
    def pad(self) -> int:
        """The token that fills a code after its end."""
        return self.base + 1

    @property
    def bos(self) -> int:
        """The decoder's first input, which is never an output."""
        return self.base + 2

    @property
    def outputs(self) -> int:
        """The number of output tokens: the digits, EOS and PAD."""
        return self.base + 2


def digits_needed(count: int, base: int) -> int:
    """Return how many digits write every number below `count` in `base`. Raises UsageError for a base below 2."""
    Vocabulary(base)  # the loop below would not end for a base below 2
    length = 1
    while base**length < count:
        length += 1
    return length


def encode_numbers(numbers: npt.ArrayLike, base: int, *, length: int, variable: bool = False) -> Codes:
    """Write numbers (N,) as codes.

    Codes of fixed length are zero-padded digits, (N, length). Codes of variable length have no leading zeros, then
    EOS, then PAD, (N, length + 1). Raises UsageError for a number that does not fit in `length` digits.
    """
    values = np.asarray(numbers, dtype=np.int64)
    vocabulary = Vocabulary(base)
    if values.size and (values.min() < 0 or values.max() >= base**length):
        raise UsageError(f"ids must be in 0..{base**length - 1} for {length} digits of base {base}")
    powers = base ** np.arange(length - 1, -1, -1, dtype=np.int64)
    digits: Codes = values[:, None] // powers % base
    if not variable:
        return digits
    codes = np.full((len(values), length + 1), vocabulary.pad, dtype=np.int64)
    used = np.maximum(1, length - (digits != 0).argmax(1) * (values > 0) - (length - 1) * (values == 0))
    column = np.arange(length + 1)
    source = column[None, :] + (length - used)[:, None]
    inside = column[None, :] < used[:, None]
    rows = np.broadcast_to(np.arange(len(values))[:, None], source.shape)
    codes[inside] = digits[rows[inside], source[inside]]
    codes[np.arange(len(values)), used] = vocabulary.eos
    return codes


def decode_numbers(codes: Codes, base: int) -> npt.NDArray[np.int64]:
    """Return the numbers (N,) that codes (N, L) write. It inverts `encode_numbers`, for fixed and variable length."""
    numbers = np.zeros(len(codes), dtype=np.int64)
    for token in codes.T:
        is_digit = token < base
        numbers = np.where(is_digit, numbers * base + token, numbers)
    return numbers
