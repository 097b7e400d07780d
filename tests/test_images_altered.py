from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers_images import difference, encoded, photo
from PIL import Image

from vitdsi import images
from vitdsi.errors import ImageReadError, UsageError
from vitdsi.images import (
    altered_copy,
    load_many,
    load_square,
)

# ---- altered_copy


def test_altered_copy_is_seeded_and_stays_in_range() -> None:
    image = photo(200, 150)
    for seed in range(20):
        copy = altered_copy(image, np.random.default_rng(seed))
        assert copy.mode == "RGB"
        assert 0.58 <= copy.width * copy.height / (200 * 150) <= 1
        assert abs(copy.width / copy.height - 4 / 3) < 0.03
        assert difference(copy, altered_copy(image, np.random.default_rng(seed))) == 0
    assert difference(image, photo(200, 150)) == 0


def test_altered_copy_flips_half_of_the_images() -> None:
    image = Image.fromarray(np.repeat(np.linspace(0, 255, 64, dtype=np.uint8)[None], 64, 0)).convert("RGB")
    flips = 0
    for seed in range(200):
        pixels = np.asarray(altered_copy(image, np.random.default_rng(seed)), dtype=float)
        flips += pixels[:, 0].mean() > pixels[:, -1].mean()
    assert 75 < flips < 125


def test_altered_copy_without_alteration_is_the_image_up_to_jpeg() -> None:
    image = photo()
    copies = [
        altered_copy(image, np.random.default_rng(seed), crop=(1, 1), jitter=0, jpeg_quality=95)
        for seed in range(8)
    ]
    mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert all(min(difference(copy, image), difference(copy, mirrored)) < 3 for copy in copies)
    assert difference(copies[0], altered_copy(image, np.random.default_rng(0), crop=(1, 1), jitter=0)) > 0


def test_altered_copy_advances_the_generator_alike() -> None:
    one, two = np.random.default_rng(3), np.random.default_rng(3)
    altered_copy(photo(), one)
    altered_copy(photo(30, 90), two, crop=(1, 1), jitter=0)
    assert one.random() == two.random()


def test_altered_copy_of_tiny_and_very_long_images() -> None:
    assert altered_copy(photo(1, 1), np.random.default_rng(0)).size == (1, 1)
    assert max(altered_copy(Image.new("RGB", (90_000, 2)), np.random.default_rng(0)).size) <= 65_500


@pytest.mark.parametrize(
    "options", [{"crop": (0, 1)}, {"crop": (0.9, 0.5)}, {"crop": (0.5, 1.1)}, {"jitter": 1.5}]
)
def test_altered_copy_refuses_bad_ranges(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="need 0 < crop"):
        altered_copy(photo(), np.random.default_rng(0), **options)


# ---- load_many


def test_load_many_is_ordered_and_returns_errors(tmp_path: Path) -> None:
    paths = []
    for number in range(12):
        path = tmp_path / f"{number}.png"
        path.write_bytes(b"broken" if number in (0, 7) else encoded(photo(seed=number), "PNG"))
        paths.append(path)
    for prefetch in (1, 3, 128):
        results = list(load_many(paths, 32, workers=3, prefetch=prefetch))
        assert [index for index, _ in results] == list(range(12))
        for index, result in results:
            if index in (0, 7):
                assert isinstance(result, ImageReadError)
                assert result.path == str(paths[index])
            else:
                assert np.array_equal(result, load_square(paths[index], 32))


def test_load_many_alters_by_index() -> None:
    def alter(image: Image.Image, index: int) -> Image.Image:
        return altered_copy(image, np.random.default_rng([5, index]))

    data = encoded(photo(640, 480), "JPEG")
    one = [result for _, result in load_many([data] * 6, 32, workers=1, alter=alter)]
    two = [result for _, result in load_many([data] * 6, 32, workers=4, alter=alter)]
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(one[0], one[1])


def test_load_many_prefetches_a_bounded_number_and_stops_when_left() -> None:
    taken = 0

    def sources() -> Any:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield photo()

    threads = threading.active_count()
    loader = load_many(sources(), 16, workers=2, prefetch=5)
    next(loader)
    assert taken == 5
    next(loader)
    assert taken == 6
    loader.close()  # type: ignore[attr-defined]
    assert threading.active_count() == threads


def test_load_many_raises_what_is_not_a_read_error() -> None:
    def alter(image: Image.Image, index: int) -> Image.Image:
        time.sleep(0.01)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(load_many([photo()] * 4, 16, workers=2, alter=alter))
    with pytest.raises(UsageError, match="workers=0"):
        list(load_many([photo()], 16, workers=0))


def test_suffixes_belong_to_formats_that_are_read() -> None:
    Image.init()
    known = Image.registered_extensions()
    assert {known[suffix] for suffix in images.SUFFIXES} <= {*images._FORMATS, "MPO"}
