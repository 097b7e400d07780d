"""Decoding many images in threads, in order and with bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

from PIL import Image

from vitdsi.errors import ImageReadError, UsageError
from vitdsi.photos.decode import Pixels, Source, decode, load_square, to_square

__all__ = ["Alter", "load_many"]

Alter: TypeAlias = Callable[[Image.Image, int], Image.Image]
"""A function of an RGB image and its index that returns the altered RGB image."""


def load_many(
    sources: Iterable[Source],
    size: int,
    *,
    workers: int,
    alter: Alter | None = None,
    resample: Image.Resampling = Image.Resampling.BICUBIC,
    prefetch: int = 128,
) -> Iterator[tuple[int, Pixels | ImageReadError]]:
    """Decode images in threads and yield the results in order.

    Args:
        sources: the images, as `decode` takes them.
        size: side of the squares in pixels.
        workers: number of threads, at least 1.
        alter: called in a thread with the decoded image, whose shorter side has at least 2 x `size` pixels if the
            file has as many, and with its index. The order of the calls is not fixed, so seed by the index.
        resample: the filter with which images are scaled.
        prefetch: how many images may be in progress or waiting at a time. It bounds the memory.

    Yields:
        (index, uint8 (size, size, 3)), or (index, the error) for an image that cannot be read.

    Raises:
        UsageError: `workers` or `prefetch` is below 1. It is raised with the first item.
    """
    if workers < 1 or prefetch < 1:
        raise UsageError(f"workers={workers}, prefetch={prefetch}: both must be at least 1")

    def load(index: int, source: Source) -> Pixels | ImageReadError:
        try:
            if alter is None:
                return load_square(source, size, resample)
            return to_square(alter(decode(source, min_side=2 * size), index), size, resample)
        except ImageReadError as error:
            return error

    waiting: deque[tuple[int, Future[Pixels | ImageReadError]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        for index, source in enumerate(sources):
            waiting.append((index, pool.submit(load, index, source)))
            if len(waiting) >= prefetch:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
