"""Regions of a photo: the whole and the parts in which a query is read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from vitdsi.errors import UsageError
from vitdsi.photos.decode import Pixels

__all__ = ["MAX_PARTS", "Region", "parts_of", "read_region"]

_MIN_ENDS = (
    1.15  # aspect ratio from which on the ends of a photo show something that its centre square does not
)
# Squares by their centre (x, y) as shares of width and height, and their side as a share of the shorter side. Each is
# less likely to help than those before it (EXPERIMENTS.md).
_WHOLE = (0.5, 0.5, 1.0)
_CENTRES = ((0.5, 0.5, 0.55), (0.5, 0.5, 0.75))
_ENDS = ((0.0, 0.0, 1.0), (1.0, 1.0, 1.0))
_SIDES = ((0.625, 0.5, 0.75), (0.375, 0.5, 0.75), (0.5, 0.375, 0.75), (0.5, 0.625, 0.75))
_QUARTERS = ((0.25, 0.25, 0.55), (0.75, 0.25, 0.55), (0.25, 0.75, 0.55), (0.75, 0.75, 0.55))

MAX_PARTS = 1 + len(_CENTRES) + len(_SIDES) + len(_QUARTERS)
"""The most parts in which a photo is read."""


@dataclass(frozen=True)
class Region:
    """A rectangle in a photo, as shares of the photo's width and height.

    Attributes:
        x, y: the upper left corner.
        width, height: the size.

    Raises:
        UsageError: the rectangle is empty, or reaches out of the photo.
    """

    x: float
    y: float
    width: float
    height: float

    def __post_init__(self) -> None:
        ends = self.x + self.width, self.y + self.height
        if not (0 <= self.x < ends[0] <= 1 + 1e-6 and 0 <= self.y < ends[1] <= 1 + 1e-6):
            raise UsageError(
                f"region {self.x:g},{self.y:g},{self.width:g},{self.height:g}: give x,y,width,height as shares of the "
                "photo's width and height, inside of the photo, such as 0.25,0.25,0.5,0.5"
            )

    @classmethod
    def parse(cls, text: str) -> Region:
        """Return the region that a text such as `0.25,0.25,0.5,0.5` gives.

        Raises:
            UsageError: these are not four numbers, or not a region.
        """
        try:
            x, y, width, height = (float(part) for part in text.split(","))
        except ValueError:
            raise UsageError(
                f"region {text!r}: give four numbers x,y,width,height, such as 0.25,0.25,0.5,0.5"
            ) from None
        return cls(x, y, width, height)

    def as_tuple(self) -> tuple[float, float, float, float]:
        """Return (x, y, width, height)."""
        return self.x, self.y, self.width, self.height

    def __contains__(self, point: tuple[float, float]) -> bool:
        x, y = point
        return self.x <= x <= self.x + self.width and self.y <= y <= self.y + self.height


def parts_of(width: int, height: int, count: int) -> list[Region]:
    """Return the squares in which a photo of this size is read: its centre square, then `count` - 1 parts.

    Raises:
        UsageError: `count` is below 1 or above `MAX_PARTS`.
    """
    if not 1 <= count <= MAX_PARTS:
        raise UsageError(f"regions is {count}; it must be between 1 and {MAX_PARTS}")
    ends = _ENDS if max(width, height) > _MIN_ENDS * min(width, height) else ()
    squares = (_WHOLE, *_CENTRES, *ends, *_SIDES, *_QUARTERS)[:count]
    return [_square(width, height, *square) for square in squares]


def read_region(
    photo: Image.Image,
    region: Region,
    size: int,
    resample: Image.Resampling = Image.Resampling.BICUBIC,
) -> Pixels:
    """Resize a region of an RGB photo to a square: uint8 (size, size, 3).

    A region that is not a square is widened as far as the photo allows, and is distorted where that is not enough.
    """
    side = max(region.width * photo.width, region.height * photo.height)
    left, right = _widened(region.x, region.width, photo.width, side)
    top, bottom = _widened(region.y, region.height, photo.height, side)
    box = (left, top, right, bottom)
    return np.asarray(photo.resize((size, size), resample, box=box, reducing_gap=3.0))


def _widened(start: float, share: float, length: int, side: float) -> tuple[float, float]:
    """Widen an interval around its middle to `side` pixels, or to the whole length."""
    side = min(side, length)
    first = min(max((start + share / 2) * length - side / 2, 0), length - side)
    return first, first + side


def _square(width: int, height: int, x: float, y: float, share: float) -> Region:
    """Return the square with this centre, moved into the photo where it would reach out of it."""
    side = share * min(width, height)
    left = min(max(x * width - side / 2, 0), width - side)
    top = min(max(y * height - side / 2, 0), height - side)
    return Region(left / width, top / height, side / width, side / height)
