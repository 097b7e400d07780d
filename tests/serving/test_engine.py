"""The engine: limits on what is in progress, deadlines, and clients that hang up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers_images import photo

from vitdsi.errors import UsageError
from vitdsi.photos.decode import MAX_PIXELS
from vitdsi.search.options import SearchOptions
from vitdsi.serving.engine import Engine, Query, answer_batch, within
from vitdsi.serving.errors import ApiError
from vitdsi.serving.metrics import Metrics
from vitdsi.serving.served import Served
from vitdsi.serving.settings import ServerSettings


class _Client:
    """A request whose client stays, or hangs up when told to."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}


def _run(test: Callable[[Any], Any]) -> None:
    async def run() -> None:
        await test(_Client())

    asyncio.run(run())


def test_an_answer_that_takes_too_long_is_given_up() -> None:
    async def check(client: Any) -> None:
        with pytest.raises(ApiError) as caught:
            await within(0.01, client, asyncio.sleep(60), Metrics())
        assert caught.value.status_code == 504

    _run(check)


def test_work_for_a_client_that_hangs_up_is_cancelled() -> None:
    async def check(client: Any) -> None:
        metrics, cancelled = Metrics(), asyncio.Event()

        async def work() -> None:
            try:
                client.gone.set()
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.set()
                raise

        with pytest.raises(ApiError) as caught:
            await within(60, client, work(), metrics)
        assert caught.value.status_code == 499
        await asyncio.wait_for(cancelled.wait(), 10)
        assert b"vitdsi_hung_up_total 1.0" in metrics.text()

    _run(check)


def test_an_error_of_the_work_is_passed_on() -> None:
    async def check(client: Any) -> None:
        async def work() -> None:
            raise UsageError("no")

        with pytest.raises(UsageError):
            await within(60, client, work(), Metrics())

    _run(check)


def test_there_is_room_for_a_number_of_requests(dsi: Path) -> None:
    engine = Engine(ServerSettings(dsi, max_waiting=2, device="cpu"))
    with engine.searches(), engine.searches():
        with pytest.raises(ApiError) as caught, engine.searches():
            pass
        assert caught.value.status_code == 429
    with engine.searches():
        assert engine.searches.taken == 1


def test_a_batch_gives_each_query_what_it_gets_alone(served: Served) -> None:
    two, three = SearchOptions(k=2), SearchOptions(k=3, where='album = "sea"')
    queries = [
        Query.read(served, photo(seed=seed), options, MAX_PIXELS)
        for seed in range(4)
        for options in (two, three)
    ]
    together = answer_batch(queries)
    for query, found in zip(queries, together, strict=True):
        (alone,) = answer_batch([query])
        assert isinstance(found, list)
        assert isinstance(alone, list)
        assert [result.id for result in found] == [result.id for result in alone]
        assert [r.score for r in found] == pytest.approx([r.score for r in alone], abs=1e-4)


def test_a_filter_with_a_mistake_fails_alone(served: Served) -> None:
    good, bad = (
        Query.read(served, photo(), SearchOptions(k=1, where=where), MAX_PIXELS)
        for where in (None, "nothing = 1")
    )
    first, second, third = answer_batch([good, bad, good])
    assert isinstance(second, UsageError)
    assert first == third
    assert first


def test_a_search_that_waits_while_the_model_is_busy_is_skipped_if_it_is_cancelled(
    dsi: Path, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, seen = threading.Event(), []

    def slowly(queries: list[Query]) -> list[Any]:
        seen.append(len(queries))
        assert go.wait(10)
        return answer_batch(queries)

    monkeypatch.setattr("vitdsi.serving.engine.answer_batch", slowly)
    engine = Engine(ServerSettings(dsi, device="cpu"))
    query = Query.read(served, photo(), SearchOptions(k=1), MAX_PIXELS)

    async def run() -> None:
        first = asyncio.create_task(engine.search(query))
        while not seen:
            await asyncio.sleep(0)
        second = asyncio.create_task(engine.search(query))
        while not len(engine.batcher):
            await asyncio.sleep(0)
        second.cancel()
        go.set()
        assert len(await first) == 1

    asyncio.run(run())
    assert seen == [1]
