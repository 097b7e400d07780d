from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers_images import difference, photo
from PIL import Image

from vitdsi.errors import UsageError
from vitdsi.photos.alter import altered_copy


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


def test_altered_copy_advances_the_generator_equally_with_any_options() -> None:
    one, two = np.random.default_rng(3), np.random.default_rng(3)
    altered_copy(photo(), one)
    altered_copy(photo(30, 90), two, crop=(1, 1), jitter=0)
    assert one.random() == two.random()


def test_tiny_and_very_long_images_can_be_altered() -> None:
    assert altered_copy(photo(1, 1), np.random.default_rng(0)).size == (1, 1)
    assert max(altered_copy(Image.new("RGB", (90_000, 2)), np.random.default_rng(0)).size) <= 65_500


@pytest.mark.parametrize(
    "options", [{"crop": (0, 1)}, {"crop": (0.9, 0.5)}, {"crop": (0.5, 1.1)}, {"jitter": 1.5}]
)
def test_altered_copy_refuses_bad_ranges(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="need 0 < crop"):
        altered_copy(photo(), np.random.default_rng(0), **options)
