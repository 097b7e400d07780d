"""The engine: searches pass through a bounded number of threads, and the model answers those that wait together."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, TypeVar

import torch
from fastapi import Depends, Request
from torch import Tensor

from vitdsi.photos.decode import Source
from vitdsi.photos.keypoints import PhotoKeypoints, detect_in_query
from vitdsi.photos.regions import Region
from vitdsi.search.options import SearchOptions, SearchResult
from vitdsi.search.queries import photo_queries
from vitdsi.search.verify import (
    keypoints_for,
    options_for_candidates,
    verify_results,
)
from vitdsi.serving.batching import Batcher
from vitdsi.serving.errors import ApiError
from vitdsi.serving.holder import IndexHolder
from vitdsi.serving.metrics import Metrics
from vitdsi.serving.pictures import Pictures
from vitdsi.serving.rooms import Room
from vitdsi.serving.served import Served, Stamp
from vitdsi.serving.settings import ServerSettings

__all__ = ["Engine", "Query", "Shared", "within"]

_T = TypeVar("_T")
_log = logging.getLogger("vitdsi.serving")
_MAX_PICTURES = 256  # pictures in progress or waiting
_MAX_CHANGES = 8  # additions and removals in progress or waiting
_PICTURE_THREADS = 2
_PATIENCE = 0.5  # of the deadline, for which a search that is let in may probably have to wait


@dataclass(frozen=True)
class Query:
    """A search that is ready for the model.

    Attributes:
        served: the state to search.
        options: the options of the search.
        features: those of the photo, as `photo_queries` reads them.
        regions: the regions that it was read in.
        keypoints: those of the photo, by which results are verified; None if they are not.
    """

    served: Served
    options: SearchOptions
    features: Tensor
    regions: list[Region]
    keypoints: PhotoKeypoints | None

    @classmethod
    def read(cls, served: Served, photo: Source, options: SearchOptions, max_pixels: int) -> Query:
        """Read a photo of at most `max_pixels`.

        Raises:
            ImageReadError: the photo cannot be read, or has too many pixels.
            UsageError: results should be verified, and the index has no keypoints.
        """
        features, regions = photo_queries(
            served.state, served.reader, [photo], options, max_pixels=max_pixels
        )
        keypoints = None
        if keypoints_for(served.state, options) is not None:
            keypoints = detect_in_query(photo, max_pixels=max_pixels)
        return cls(served, options, features, regions[0], keypoints)

    def verified(self, results: list[SearchResult]) -> list[SearchResult]:
        """Return the results that the options ask for, given those of `answer_batch`."""
        indexed = keypoints_for(self.served.state, self.options)
        if indexed is None or self.keypoints is None:
            return results
        return verify_results(indexed, self.keypoints, results, self.options)


def answer_batch(queries: Sequence[Query]) -> list[list[SearchResult] | Exception]:
    """Answer queries, those with the same state and options together. Their results are not verified yet."""
    groups: dict[tuple[int, SearchOptions], list[int]] = {}
    for position, query in enumerate(queries):
        groups.setdefault((id(query.served), query.options), []).append(position)
    answers: list[list[SearchResult] | Exception] = [[] for _ in queries]
    for (_, options), positions in groups.items():
        try:
            first = queries[positions[0]]
            verified = first.keypoints is not None
            found = first.served.searcher.search(
                torch.cat([queries[position].features for position in positions]),
                options_for_candidates(options) if verified else options,
                [queries[position].regions for position in positions],
                to_verify=verified,
            )
        except Exception as error:  # it is the answer of these queries, and of no others
            found = [error] * len(positions)  # type: ignore[list-item]
        for position, results in zip(positions, found, strict=True):
            answers[position] = results
    return answers


class Engine:
    """Everything that requests share: the index, threads, limits, pictures and metrics."""

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.holder = IndexHolder(settings.index, settings.device)
        self.metrics = Metrics()
        self.pictures = Pictures(settings.images, settings.max_pixels, settings.picture_cache_bytes)
        self.searches = Room(settings.max_waiting, "searches", patience=_PATIENCE * settings.deadline)
        self.picture_room = Room(_MAX_PICTURES, "pictures")
        self.change_room = Room(_MAX_CHANGES, "changes")
        self._preparing = ThreadPoolExecutor(settings.workers, "prepare")
        self._answering = ThreadPoolExecutor(1, "answer")
        self._picturing = ThreadPoolExecutor(_PICTURE_THREADS, "picture")
        self._changing = ThreadPoolExecutor(1, "change")
        self._grouping = ThreadPoolExecutor(1, "group")
        self.batcher: Batcher[Query, list[SearchResult]] = Batcher(
            answer_batch, self._answering, settings.max_batch, self.metrics.batch_size.observe
        )
        self.last_used = time.monotonic()
        self.last_answer: tuple[float, Stamp] | None = (
            None  # when a search was answered, and from which state
        )

    async def served(self) -> Served:
        """Return the state to answer a request from."""
        self.last_used = time.monotonic()
        served = self.holder.loaded
        return await self.prepare(self.holder.current) if served is None else served

    async def search(self, query: Query) -> list[SearchResult]:
        """Answer a query, together with others that wait, and verify its results if the index has keypoints."""
        found = await self.batcher.submit(query)
        if query.keypoints is not None:
            found = await self.prepare(lambda: query.verified(found))
        self.last_answer = time.monotonic(), query.served.stamp
        return found

    async def prepare(self, run: Callable[[], _T]) -> _T:
        """Run something that decodes photos, computes features or compares keypoints."""
        return await self.in_thread(self._preparing, run)

    async def picture(self, run: Callable[[], _T]) -> _T:
        """Run something that makes a picture."""
        with self.picture_room():
            return await self.in_thread(self._picturing, run)

    async def change(self, run: Callable[[], _T]) -> _T:
        """Run something that changes the index, after the changes before it."""
        with self.change_room():
            return await self.in_thread(self._changing, run)

    async def group(self, run: Callable[[], _T]) -> _T:
        """Run something that takes minutes."""
        return await self.in_thread(self._grouping, run)

    async def in_thread(self, pool: ThreadPoolExecutor, run: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(pool, run)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watch the index inside this block, and end all threads afterwards."""
        await self.prepare(self.holder.current)
        watcher = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watcher.cancel()
            for pool in (self._preparing, self._answering, self._picturing, self._changing, self._grouping):
                pool.shutdown(wait=False, cancel_futures=True)

    async def _watch(self) -> None:
        """Swap in a changed index, and give memory back when nobody asks."""
        settings = self.settings
        while True:
            await asyncio.sleep(settings.poll_seconds)
            if self.holder.loaded is None:
                continue
            idle = time.monotonic() - self.last_used
            is_idle = (
                settings.idle_unload is not None and idle > settings.idle_unload and not self.searches.taken
            )
            try:
                await asyncio.to_thread(self.unload if is_idle else self.holder.refresh)
            except Exception:  # the former index is served, and the next one is looked for
                _log.exception("the index cannot be watched")

    def unload(self) -> None:
        """Give the memory of the index and of the pictures back."""
        self.pictures.clear()
        self.holder.unload()


def engine_of(request: Request) -> Engine:
    """Return the engine of the application that a request is for."""
    engine: Engine = request.app.state.engine
    return engine


Shared = Annotated[Engine, Depends(engine_of)]


async def within(seconds: float, request: Request, work: Awaitable[_T], metrics: Metrics) -> _T:
    """Return the result of `work`, unless it takes too long or the client hangs up before; it is then cancelled.

    Raises:
        ApiError: 504 after `seconds`. 499, which nobody sees, if the client has hung up.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait({task, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            metrics.hung_up.inc()
            raise ApiError(499, "the client has hung up")
        raise ApiError(504, f"no answer within {seconds:g} s; try again later", retry_after=1)
    finally:
        task.cancel()
        gone.cancel()


async def _hung_up(request: Request) -> None:
    """Return when the client of a request, whose body was read, has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
