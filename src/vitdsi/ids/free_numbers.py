"""The free numbers between those of the live images, for schemes that write numbers.

A code with fewer digits than others takes all numbers that begin with it. The free numbers are stored as gaps,
the ranges between taken numbers, and never listed one by one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]

_INFINITY = 2**62


class FreeNumbers:
    """The free numbers from 0 to `total - 1`.

    Attributes:
        starts: (M,) the first number that each live image takes.
        ends: (M,) one more than the last number that each live image takes.
        low: (G,) the first number of each gap, in ascending order.
        high: (G,) one more than the last number of each gap.
    """

    def __init__(self, starts: Numbers, ends: Numbers, total: int) -> None:
        self.starts, self.ends = starts, ends
        order = np.argsort(starts)
        low, high = np.r_[0, ends[order]], np.r_[starts[order], total]
        self.low, self.high = low[high > low], high[high > low]

    def draw(self, count: int, rng: np.random.Generator) -> Numbers:
        """Draw different free numbers (count,), all equally likely. They remain free."""
        sizes = (self.high - self.low).cumsum()
        ranks = rng.choice(int(sizes[-1]), count, replace=False)
        gap = np.searchsorted(sizes, ranks, side="right")
        numbers: Numbers = self.high[gap] - (sizes[gap] - ranks)
        return numbers

    def take_nearest(self, starts: Numbers, ends: Numbers, count: int) -> Numbers:
        """Take free numbers (count,), each the nearest to those of a class and to those taken before it.

        The class has the ranges from `starts` to `ends - 1`, (M',) each. A class without images begins in the middle
        of the largest gap.
        """
        found = np.empty(count, dtype=np.int64)
        # For each gap: the last number of the class before it, and the first number of the class after it.
        lasts, firsts = np.r_[-_INFINITY, np.sort(ends) - 1], np.r_[np.sort(starts), _INFINITY]
        before = lasts[np.searchsorted(lasts, self.low) - 1]
        after = firsts[np.searchsorted(firsts, self.high)]
        for k in range(count):
            if k == 0 and not len(starts):
                gap = int(np.argmax(self.high - self.low))
                number = int(self.low[gap] + self.high[gap]) // 2
            else:
                distance = np.minimum(self.low - before, after - (self.high - 1))
                gap = int(np.argmin(distance))
                left = self.low[gap] - before[gap] <= after[gap] - (self.high[gap] - 1)
                number = int(self.low[gap] if left else self.high[gap] - 1)
            found[k] = number
            kept = self._take(gap, number)
            before, after = before[kept], after[kept]
            before = np.where(self.low > number, np.maximum(before, number), before)
            after = np.where(self.high <= number, np.minimum(after, number), after)
        return found

    def _take(self, gap: int, number: int) -> npt.NDArray[np.int64]:
        """Take a number out of a gap. Return which gap each of the remaining ones (G',) came from."""
        if self.low[gap] < number < self.high[gap] - 1:
            self.low = np.insert(self.low, gap + 1, number + 1)
            self.high = np.insert(self.high, gap, number)
            return np.insert(np.arange(len(self.low) - 1), gap, gap)
        if number == self.low[gap]:
            self.low[gap] += 1
        else:
            self.high[gap] -= 1
        if self.low[gap] < self.high[gap]:
            return np.arange(len(self.low))
        self.low, self.high = np.delete(self.low, gap), np.delete(self.high, gap)
        return np.delete(np.arange(len(self.low) + 1), gap)
