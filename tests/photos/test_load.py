from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers_images import encoded, photo

from vitdsi.errors import ImageReadError, UsageError
from vitdsi.photos.alter import altered_copy
from vitdsi.photos.decode import Pixels, Source, decode, load_square
from vitdsi.photos.load import load_many


def square(index: int, source: Source) -> Pixels:
    return load_square(source, 32)


def test_load_many_returns_images_and_errors_in_order(tmp_path: Path) -> None:
    paths = []
    for number in range(12):
        path = tmp_path / f"{number}.png"
        path.write_bytes(b"broken" if number in (0, 7) else encoded(photo(seed=number), "PNG"))
        paths.append(path)
    for prefetch in (1, 3, 128):
        results = list(load_many(paths, square, workers=3, prefetch=prefetch))
        assert [index for index, _ in results] == list(range(12))
        for index, result in results:
            if index in (0, 7):
                assert isinstance(result, ImageReadError)
                assert result.path == str(paths[index])
                assert result.__traceback__ is None  # it would keep what was read of the file
            else:
                assert np.array_equal(result, load_square(paths[index], 32))


def test_load_many_gives_the_index_of_each_image() -> None:
    def altered(index: int, source: Source) -> Pixels:
        return np.asarray(altered_copy(decode(source), np.random.default_rng([5, index])))

    data = encoded(photo(640, 480), "JPEG")
    one = [result for _, result in load_many([data] * 6, altered, workers=1)]
    two = [result for _, result in load_many([data] * 6, altered, workers=4)]
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(one[0], one[1])


def test_load_many_prefetches_a_bounded_number_and_stops_when_it_is_closed() -> None:
    taken = 0

    def sources() -> Any:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield photo()

    threads = threading.active_count()
    loader = load_many(sources(), square, workers=2, prefetch=5)
    next(loader)
    assert taken == 5
    next(loader)
    assert taken == 6
    loader.close()  # type: ignore[attr-defined]
    assert threading.active_count() == threads


def test_load_many_raises_unexpected_errors() -> None:
    def broken(index: int, source: Source) -> None:
        time.sleep(0.01)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(load_many([photo()] * 4, broken, workers=2))
    with pytest.raises(UsageError, match="workers=0"):
        list(load_many([photo()], square, workers=0))
