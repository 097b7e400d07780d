"""Batches: who waits, who does not, and who is left out."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from vitdsi.serving.batching import Batcher

_ERROR = ValueError("odd")


class _Model:
    """Doubles even numbers. The first batch waits until it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()

    def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(items))
        assert self.go.wait(10)
        return [_ERROR if item % 2 else 2 * item for item in items]


async def _waiting(batcher: Batcher[int, int], count: int) -> None:
    while len(batcher) != count:
        await asyncio.sleep(0)


def test_what_waits_for_a_batch_forms_the_next_one() -> None:
    model = _Model()

    async def run() -> list[int]:
        with ThreadPoolExecutor(1) as pool:
            batcher = Batcher(model, pool, 3)
            first = asyncio.create_task(batcher.submit(0))
            while not model.batches:
                await asyncio.sleep(0)
            others = [asyncio.create_task(batcher.submit(i)) for i in (2, 4, 6, 8)]
            await _waiting(batcher, 4)
            model.go.set()
            return await asyncio.gather(first, *others)

    assert asyncio.run(run()) == [0, 4, 8, 12, 16]
    assert model.batches == [[0], [2, 4, 6], [8]]  # the lone first one started at once


def test_an_error_is_that_of_its_item_alone() -> None:
    model = _Model()
    model.go.set()

    async def run() -> list[object]:
        with ThreadPoolExecutor(1) as pool:
            batcher = Batcher(model, pool, 8)
            return await asyncio.gather(*(batcher.submit(i) for i in (1, 2)), return_exceptions=True)

    assert asyncio.run(run()) == [_ERROR, 4]


def test_after_a_batch_that_fails_as_a_whole_the_next_is_answered() -> None:
    calls = []

    def model(items: Sequence[int]) -> list[int | Exception]:
        calls.append(items)
        if len(calls) == 1:
            raise RuntimeError("broken")
        return list(items)

    async def run() -> int:
        with ThreadPoolExecutor(1) as pool:
            batcher = Batcher(model, pool, 8)
            with pytest.raises(RuntimeError, match="broken"):
                await batcher.submit(1)
            return await batcher.submit(2)

    assert asyncio.run(run()) == 2


def test_an_item_whose_caller_was_cancelled_is_left_out() -> None:
    model = _Model()

    async def run() -> list[int]:
        with ThreadPoolExecutor(1) as pool:
            batcher = Batcher(model, pool, 8)
            first = asyncio.create_task(batcher.submit(0))
            while not model.batches:
                await asyncio.sleep(0)
            gone, stays = (asyncio.create_task(batcher.submit(i)) for i in (2, 4))
            await _waiting(batcher, 2)
            gone.cancel()
            model.go.set()
            return [await first, await stays]

    assert asyncio.run(run()) == [0, 8]
    assert model.batches == [[0], [4]]
