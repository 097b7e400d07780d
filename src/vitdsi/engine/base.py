"""What an engine does: it runs tasks in other processes, each for one of many parts or all together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from vitdsi.progress import OnProgress

if TYPE_CHECKING:
    from vitdsi.engine.ranks import Ranks

__all__ = ["AUTO_LEAST", "Engine", "Together", "cores"]

_Part = TypeVar("_Part")

Together: TypeAlias = "Callable[[Ranks, OnProgress], None]"
"""A task of several processes that train together: is given these, and in the first one where to report to."""

AUTO_LEAST = 1000
"""Photos from which on it is worth to start other processes, which takes a few seconds each."""


class Engine(Protocol):
    """Runs the work of a build.

    Attributes:
        workers: the number of processes that parts are given to; with 1, there are no others than this one.
        least: the number of photos below which this process does the work itself.
        ranks: the number of processes that train together; with 1, this one trains.
    """

    @property
    def workers(self) -> int: ...
    @property
    def least(self) -> int: ...
    @property
    def ranks(self) -> int: ...

    def run(self, task: Callable[[_Part], None], parts: Sequence[_Part]) -> Iterator[None]:
        """Call `task` with each part, in other processes and in any order, and yield after each part that is done.

        A task leaves its results in files. What it did not write, because its process ended or for another reason, is
        missing there: the caller looks, and does what is missing itself.

        Raises:
            UsageError: the processes cannot go on.
        """
        ...

    def together(self, task: Together, folder: Path, on_progress: OnProgress = None) -> None:
        """Call `task` in all ranks at once, until it has ended in all of them.

        If one ends early, because its machine does, an engine may start them all again. A task that leaves its state in
        files then goes on from these.

        Args:
            task: leaves its results in files, too.
            folder: a folder that all ranks see, where the engine may write.
            on_progress: what the first rank reports to, if it is in this process. Elsewhere it is given None.

        Raises:
            UsageError: the processes cannot go on.
        """
        ...

    def close(self) -> None:
        """End what the engine has started. It is called once, unless there was an error."""
        ...


def cores() -> int:
    """Return the number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no such call
        return os.cpu_count() or 1
