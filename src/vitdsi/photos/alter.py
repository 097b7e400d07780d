"""Altered copies of an image: a random crop, flip, change of colours and JPEG compression."""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from vitdsi.errors import UsageError

__all__ = ["altered_copy", "check_ranges"]

_JPEG_MAX_SIDE = 65_500


def altered_copy(
    image: Image.Image,
    rng: np.random.Generator,
    *,
    crop: tuple[float, float] = (0.6, 1.0),
    jitter: float = 0.2,
    jpeg_quality: int = 50,
) -> Image.Image:
    """Make the altered copy that training and benchmarks use: crop, flip, change the colours, compress as JPEG.

    Args:
        image: an RGB image; it is not changed.
        rng: the source of randomness. It always advances by seven draws, whatever the other arguments.
        crop: range of the share of the area that is kept. Position uniform, aspect ratio kept.
        jitter: brightness, contrast and saturation are each scaled by a factor uniform in 1 ± jitter.
        jpeg_quality: quality of the final compression, from 1 to 95.

    Raises:
        UsageError: a crop range outside (0, 1], or a jitter outside [0, 1].
    """
    check_ranges(crop, jitter)
    area, x, y, flip, *colours = rng.random(7)
    scale = math.sqrt(crop[0] + area * (crop[1] - crop[0]))
    width, height = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    left, top = round(x * (image.width - width)), round(y * (image.height - height))
    image = image.crop((left, top, left + width, top + height))
    if flip < 0.5:
        image = ImageOps.mirror(image)
    for enhance, draw in zip(
        (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), colours, strict=True
    ):
        image = enhance(image).enhance(1 + jitter * (2 * draw - 1))
    while max(image.size) > _JPEG_MAX_SIDE:
        image = image.reduce(2)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=jpeg_quality)
    return Image.open(buffer, formats=("JPEG",)).convert("RGB")


def check_ranges(crop: tuple[float, float], jitter: float) -> None:
    """Raise UsageError unless 0 < crop[0] <= crop[1] <= 1 and 0 <= jitter <= 1."""
    if not 0 < crop[0] <= crop[1] <= 1 or not 0 <= jitter <= 1:
        raise UsageError(
            f"crop={crop}, jitter={jitter}: need 0 < crop[0] <= crop[1] <= 1 and 0 <= jitter <= 1"
        )
