"""Id schemes that write numbers: a scheme chooses a number for each image, and this base class writes its digits."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import numpy.typing as npt

from vitdsi.errors import UsageError
from vitdsi.ids.capacity import length_for, shortest_length, slots_taken
from vitdsi.ids.codes import Codes, decode_numbers, digits_needed, encode_numbers
from vitdsi.ids.free_numbers import FreeNumbers
from vitdsi.ids.scheme import Growth, IdContext, IdScheme

Numbers = npt.NDArray[np.int64]

_LARGEST_NUMBER = 2**62  # numbers are held as int64


class NumberScheme(IdScheme):
    """Base class of schemes that give each image a number."""

    @abstractmethod
    def numbers(self, context: IdContext) -> Numbers:
        """Return the number (N,) of each image: a permutation of 0 .. N-1."""

    @abstractmethod
    def new_numbers(self, growth: Growth, free: FreeNumbers) -> Numbers:
        """Return different free numbers (n,) for the new images.

        `free.starts` and `free.ends` say which numbers each live image takes, in the order of `growth.live_codes`.
        """

    def assign(self, context: IdContext) -> Codes:
        """Write the numbers with as few digits as the largest needs."""
        length = digits_needed(context.count, context.base)
        return encode_numbers(
            self.numbers(context), context.base, length=length, variable=context.variable_length
        )

    def _new_codes(self, growth: Growth) -> Codes:
        codes, base, variable = growth.live_codes, growth.base, growth.variable_length
        if variable:
            length = shortest_length(codes, base, growth.codes.shape[1], growth.count, variable=True)
            digits = length - 1  # the last token is EOS
        else:
            digits = length_for(growth.codes, growth.live, base, growth.count)
        if base**digits > _LARGEST_NUMBER:
            raise UsageError(
                f"new ids would have {digits} digits in base {base}, too many; give all images new ids (compact)"
            )
        if variable:
            starts = decode_numbers(codes, base)
            ends = starts + 1
        else:
            powers = base ** np.arange(digits - 1, -1, -1, dtype=np.int64)
            starts = (np.where(codes < base, codes, 0) * powers[: codes.shape[1]]).sum(1)
            ends = starts + slots_taken(codes, base, digits).astype(np.int64)
        numbers = self.new_numbers(growth, FreeNumbers(starts, ends, base**digits))
        return encode_numbers(numbers, base, length=digits, variable=variable)
