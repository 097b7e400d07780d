"""The photo of a query: the whole of it or a region, as the features that the model reads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vitdsi.backbones.reader import FeatureReader
from vitdsi.photos.decode import decode, to_square
from vitdsi.serving.errors import ApiError

__all__ = ["Region", "parse_region", "query_features"]

_SMALLEST = 0.01  # of the width or height of a photo


@dataclass(frozen=True)
class Region:
    """A rectangle in a photo: the left upper corner, width and height, relative to those of the photo."""

    x: float
    y: float
    width: float
    height: float


def parse_region(text: str | None) -> Region | None:
    """Read a region that is written as x,y,w,h.

    Raises:
        ApiError: 422, it is not four numbers, or not within the photo.
    """
    if not text:
        return None
    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError:
        raise ApiError(422, f"region is {text[:60]!r}; give x,y,w,h as four numbers from 0 to 1") from None
    inside = 0 <= x < 1 and 0 <= y < 1 and x + width <= 1.001 and y + height <= 1.001
    if not (inside and width >= _SMALLEST and height >= _SMALLEST):
        raise ApiError(
            422,
            f"region is {text[:60]!r}; it must lie within the photo, and be at least {_SMALLEST} wide and high",
        )
    return Region(x, y, width, height)


def query_features(reader: FeatureReader, body: bytes, region: Region | None, max_pixels: int) -> Tensor:
    """Compute the features (1, *shape) of an encoded photo, or of a region of it.

    Raises:
        ImageReadError: the photo cannot be read, or has too many pixels.
    """
    size = reader.image_size
    if region is None:
        image = decode(body, min_side=size, max_pixels=max_pixels)
    else:
        whole = decode(body, min_side=round(size / min(region.width, region.height)), max_pixels=max_pixels)
        left, top = int(region.x * whole.width), int(region.y * whole.height)
        right = max(left + 1, round((region.x + region.width) * whole.width))
        lower = max(top + 1, round((region.y + region.height) * whole.height))
        image = whole.crop((left, top, min(right, whole.width), min(lower, whole.height)))
    # A copy, because torch warns about arrays that cannot be written to.
    pixels = torch.tensor(to_square(image, size)).permute(2, 0, 1)[None]
    return reader.features(pixels).cpu()
