"""Dense random ids: a random permutation of 0 .. N-1, written as digits (section 2.2 of the paper)."""

from __future__ import annotations

import numpy as np

from vitdsi.ids.context import IdContext
from vitdsi.tokens import Codes, digits_needed, encode_numbers


def random(context: IdContext) -> Codes:
    """A seeded permutation of 0 .. N-1 as codes."""
    numbers = np.random.default_rng(context.seed).permutation(context.count)
    length = digits_needed(context.count, context.base)
    return encode_numbers(numbers, context.base, length=length, variable=context.variable_length)
