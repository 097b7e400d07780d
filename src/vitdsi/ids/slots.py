"""Free numbers between the numbers of live images, for schemes that write numbers.

A code of fewer digits than others takes all numbers that begin with it. What is free is kept as gaps, never listed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]


class Gaps:
    """The free numbers below `total`, given the starts and (exclusive) ends of what is taken, (N,) each."""

    def __init__(self, starts: Numbers, ends: Numbers, total: int) -> None:
        order = np.argsort(starts)
        low, high = np.r_[0, ends[order]], np.r_[starts[order], total]
        self.low, self.high = low[high > low], high[high > low]

    def draw(self, count: int, rng: np.random.Generator) -> Numbers:
        """Different free numbers (count,), each as likely as any other."""
        sizes = (self.high - self.low).cumsum()
        ranks = rng.choice(int(sizes[-1]), count, replace=False)
        gap = np.searchsorted(sizes, ranks, side="right")
        numbers: Numbers = self.high[gap] - (sizes[gap] - ranks)
        return numbers

    def near(self, starts: Numbers, ends: Numbers, count: int) -> Numbers:
        """Free numbers (count,), which are taken, each the nearest to those of a class and to those found before.

        `starts` and `ends` (M,) are the class's; one without any begins in the middle of the largest gap.
        """
        found = np.empty(count, dtype=np.int64)
        far = 2**62
        # of each gap: how far its first number is from the class's last one before it, and its last from the next
        lasts, firsts = np.r_[-far, np.sort(ends) - 1], np.r_[np.sort(starts), far]
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
        """Take a number out of a gap; which gap each of those left came from (G',)."""
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


def by_class(labels: Sequence[str]) -> dict[str, npt.NDArray[np.int64]]:
    """Class -> positions, classes in order of their names."""
    groups: dict[str, list[int]] = {}
    for i, label in enumerate(labels):
        groups.setdefault(label, []).append(i)
    return {label: np.array(groups[label], dtype=np.int64) for label in sorted(groups)}
