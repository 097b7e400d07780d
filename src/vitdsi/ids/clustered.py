"""Dense clustered ids: images of one class have consecutive numbers (section 2.2 of the paper)."""

from __future__ import annotations

import numpy as np

from vitdsi.errors import UsageError
from vitdsi.ids.context import IdContext
from vitdsi.tokens import Codes, digits_needed, encode_numbers


def clustered(context: IdContext) -> Codes:
    """Numbers 0 .. N-1 by class, in random order inside a class. Raises UsageError without labels."""
    if context.labels is None:
        raise UsageError("ids.scheme 'clustered' needs classes: use labels=folder, or ids.scheme=semantic")
    shuffled = np.random.default_rng(context.seed).permutation(context.count)
    by_class = sorted(shuffled, key=lambda i: context.labels[i])  # type: ignore[index]
    numbers = np.empty(context.count, dtype=np.int64)
    numbers[by_class] = np.arange(context.count)
    length = digits_needed(context.count, context.base)
    return encode_numbers(numbers, context.base, length=length, variable=context.variable_length)
