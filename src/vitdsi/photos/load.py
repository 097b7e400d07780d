"""Decoding many images in threads, in order and with bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from vitdsi.errors import ImageReadError, UsageError
from vitdsi.photos.decode import Source

__all__ = ["load_many"]

T = TypeVar("T")


def load_many(
    sources: Iterable[Source],
    load: Callable[[int, Source], T],
    *,
    workers: int,
    prefetch: int = 128,
) -> Iterator[tuple[int, T | ImageReadError]]:
    """Decode images in threads and yield the results in order.

    Args:
        sources: the images, as `decode` takes them.
        load: called in a thread with the index of an image and the image. The order of the calls is not fixed, so
            seed by the index.
        workers: number of threads, at least 1.
        prefetch: how many images may be in progress or waiting at a time. It bounds the memory.

    Yields:
        (index, what `load` returned), or (index, the error) for an image that cannot be read.

    Raises:
        UsageError: `workers` or `prefetch` is below 1. It is raised with the first item.
    """
    if workers < 1 or prefetch < 1:
        raise UsageError(f"workers={workers}, prefetch={prefetch}: both must be at least 1")

    def attempt(index: int, source: Source) -> T | ImageReadError:
        try:
            return load(index, source)
        except ImageReadError as error:
            # Another one: the traceback of this one would keep alive what was read of the file.
            return ImageReadError(error.path, error.reason)

    waiting: deque[tuple[int, Future[T | ImageReadError]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        for index, source in enumerate(sources):
            waiting.append((index, pool.submit(attempt, index, source)))
            if len(waiting) >= prefetch:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
