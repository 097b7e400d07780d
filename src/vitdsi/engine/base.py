"""What an engine does: it runs a task for each of many parts, in other processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

__all__ = ["AUTO_LEAST", "Engine", "cores"]

_Part = TypeVar("_Part")

AUTO_LEAST = 1000
"""Photos from which on it is worth to start other processes, which takes a few seconds each."""


class Engine(Protocol):
    """Runs the work of a build.

    Attributes:
        workers: the number of processes that parts are given to; with 1, there are no others than this one.
        least: the number of photos below which this process does the work itself.
    """

    @property
    def workers(self) -> int: ...
    @property
    def least(self) -> int: ...

    def run(self, task: Callable[[_Part], None], parts: Sequence[_Part]) -> Iterator[None]:
        """Call `task` with each part, in other processes and in any order, and yield after each part that is done.

        A task leaves its results in files. What it did not write, because its process ended or for another reason, is
        missing there: the caller looks, and does what is missing itself.

        Raises:
            UsageError: the processes cannot go on.
        """
        ...


def cores() -> int:
    """Return the number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no such call
        return os.cpu_count() or 1
