"""Sharing the reading of photos among processes, which meet in the feature cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from vitdsi.engine.base import Engine

__all__ = ["SHARD_ROWS", "share"]

_Item = TypeVar("_Item")

SHARD_ROWS = 256
"""Photos whose features are written to the cache together. A killed run loses at most as many in each process."""

_PARTS_A_WORKER = 4  # at least, so that no worker waits long for the others at the end


def share(
    engine: Engine | None,
    task: Callable[[Sequence[_Item]], None],
    items: Sequence[_Item],
    report: Callable[[int], None],
    passes: int = 1,
) -> None:
    """Let the processes of an engine do a task for all items, if there is an engine and it is worth it.

    Args:
        engine: where the task runs; None leaves all to the caller.
        task: is called with some of the items, and leaves what it finds in the cache.
        items: what is not in the cache yet.
        report: is called with the number of items that are done.
        passes: how many passes of the backbone an item takes.

    Raises:
        UsageError: the processes cannot go on.
    """
    if engine is None or engine.workers == 1 or not items or passes * len(items) < engine.least:
        return
    size = min(SHARD_ROWS, -(-len(items) // (_PARTS_A_WORKER * engine.workers)))
    parts = [items[start : start + size] for start in range(0, len(items), size)]
    for done, _ in enumerate(engine.run(task, parts), start=1):
        report(min(done * size, len(items)))
