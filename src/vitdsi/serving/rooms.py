"""Rooms: how many requests of one kind may be in progress, so that those that are let in are answered in time."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vitdsi.serving.errors import busy

__all__ = ["Room"]

_REMEMBERED = 32  # answers by which the pace is known
_LEAST = 8  # answers from which on it is known


class Room:
    """Room for a number of requests of one kind.

    Args:
        size: the number of requests.
        what: what they are called in a refusal.
        patience: seconds. A request is refused if it would probably wait for longer, judged by the pace of the last
            answers; but never if it is the only one.
        clock: tells the time in seconds.

    Attributes:
        taken: the number of requests in progress.
    """

    def __init__(
        self,
        size: int,
        what: str,
        *,
        patience: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._size, self._what, self._patience, self._clock = size, what, patience, clock
        self.taken = 0
        self._busy = 0.0  # seconds in which there was a request in progress
        self._seen = clock()  # when these were last counted
        self._answers: deque[float] = deque(maxlen=_REMEMBERED)  # the busy seconds at each answer

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Take a place inside this block. Raises ApiError 429 if there is none."""
        if self.taken >= self._size:
            raise busy(f"{self.taken} {self._what} are in progress, which is the limit")
        if self.taken and self.wait() > self._patience:
            raise busy(
                f"{self.taken} {self._what} are in progress, and a further one would wait for too long"
            )
        self._count()
        self.taken += 1
        try:
            yield
            self._answers.append(self._count())
        finally:
            self._count()
            self.taken -= 1

    def wait(self) -> float:
        """Return the seconds after which a further request would be answered at the present pace, 0 if unknown."""
        if len(self._answers) < _LEAST:
            return 0.0
        return (self.taken + 1) * (self._count() - self._answers[0]) / len(self._answers)

    def _count(self) -> float:
        """Count the busy seconds until now."""
        now = self._clock()
        if self.taken:
            self._busy += now - self._seen
        self._seen = now
        return self._busy
