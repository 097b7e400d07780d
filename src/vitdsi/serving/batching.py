"""Batching: requests that wait are answered together, and a lone one never waits for others."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

__all__ = ["Batcher"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Batcher(Generic[_Item, _Result]):
    """Answers items in batches, one batch at a time.

    A batch starts as soon as the one before has ended, with all items that wait by then, so an item that comes alone
    starts at once. Items whose caller was cancelled while they waited are left out.

    Args:
        run: answers a batch, with a result or an error for each item. It runs in `executor`.
        executor: where it runs.
        max_batch: the number of items in a batch.
        on_batch: is told the size of each batch.
    """

    def __init__(
        self,
        run: Callable[[Sequence[_Item]], Sequence[_Result | Exception]],
        executor: Executor,
        max_batch: int,
        on_batch: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._run, self._executor, self._max_batch, self._on_batch = run, executor, max_batch, on_batch
        self._waiting: deque[tuple[_Item, asyncio.Future[_Result]]] = deque()
        self._runner: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """The number of items that wait."""
        return len(self._waiting)

    async def submit(self, item: _Item) -> _Result:
        """Return the result of an item, or raise its error."""
        future: asyncio.Future[_Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._runner is None:
            self._runner = asyncio.create_task(self._drain())
        return await future

    async def _drain(self) -> None:
        """Answer batches until nothing waits."""
        loop = asyncio.get_running_loop()
        try:
            while batch := self._next():
                self._on_batch(len(batch))
                results: Sequence[_Result | Exception]
                try:
                    results = await loop.run_in_executor(
                        self._executor, self._run, [item for item, _ in batch]
                    )
                except Exception as error:
                    results = [error] * len(batch)
                for (_, future), result in zip(batch, results, strict=True):
                    if future.done():  # its caller was cancelled
                        continue
                    if isinstance(result, Exception):
                        future.set_exception(result)
                    else:
                        future.set_result(result)
        finally:
            self._runner = None

    def _next(self) -> list[tuple[_Item, asyncio.Future[_Result]]]:
        batch: list[tuple[_Item, asyncio.Future[_Result]]] = []
        while self._waiting and len(batch) < self._max_batch:
            item, future = self._waiting.popleft()
            if not future.done():
                batch.append((item, future))
        return batch
