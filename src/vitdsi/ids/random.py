"""Dense random ids: a random permutation of 0 .. N-1, written as digits (section 2.2 of the paper)."""

from __future__ import annotations

import numpy as np

from vitdsi.ids.free_numbers import FreeNumbers
from vitdsi.ids.number_scheme import Numbers, NumberScheme
from vitdsi.ids.scheme import Growth, IdContext


class RandomIds(NumberScheme):
    """Numbers in random order; new images draw from the free numbers."""

    name = "random"

    def numbers(self, context: IdContext) -> Numbers:
        """Return a seeded permutation of 0 .. N-1."""
        return np.random.default_rng(context.seed).permutation(context.count)

    def new_numbers(self, growth: Growth, free: FreeNumbers) -> Numbers:
        """Draw free numbers uniformly."""
        return free.draw(growth.count, np.random.default_rng(growth.seed))
