"""A budget of bytes for each image: what of it goes to its vector, its thumbnail and its keypoints."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from vitdsi.columns.thumbnails import THUMBNAIL_BYTES
from vitdsi.errors import UsageError

__all__ = ["SMALL", "Budget", "budget_of"]

SMALL = 64  # bytes an image of the size that is called small

_ALWAYS = 14  # the digits of the id, the hash of the content, the bias, and whether the image is live
_VECTORS = 1.55  # of an image: its own, and its share of the rows of branches; less in a large collection
_KEYPOINT = 21  # bytes of one, with its share of the numbers that say where those of a photo begin
_LARGEST_VECTOR, _SMALLEST_VECTOR = 128, 8
_FEWEST_KEYPOINTS, _MOST_KEYPOINTS = 40, 300  # fewer hardly ever verify anything


@dataclass(frozen=True)
class Budget:
    """What an index keeps of each image.

    Attributes:
        vector_bytes: bytes of its vector.
        thumbnails: whether its thumbnail is kept, by which near-identical images are found.
        keypoints: the most keypoints, by which a search verifies its results.
    """

    vector_bytes: int
    thumbnails: bool
    keypoints: int

    def as_settings(self) -> dict[str, Any]:
        """Return the settings of an index that is built within the budget."""
        return asdict(self)


def budget_of(bytes_per_image: int) -> Budget:
    """Spend bytes on the vector of an image first, on its thumbnail next, and on keypoints last.

    What all images share is not counted: the weights, which take about 2 MB, image_ids and facts.

    Raises:
        UsageError: the bytes do not suffice for the shortest vector.
    """
    least = round(_ALWAYS + _VECTORS * _SMALLEST_VECTOR)
    if bytes_per_image < least:
        raise UsageError(f"{bytes_per_image} bytes an image are too few; give at least {least}")
    vector = _LARGEST_VECTOR
    while _ALWAYS + _VECTORS * vector > bytes_per_image and vector > _SMALLEST_VECTOR:
        vector //= 2
    left = bytes_per_image - _ALWAYS - _VECTORS * vector
    thumbnails = left >= THUMBNAIL_BYTES
    keypoints = int((left - THUMBNAIL_BYTES) // _KEYPOINT) if thumbnails else 0
    return Budget(
        vector, thumbnails, min(keypoints, _MOST_KEYPOINTS) if keypoints >= _FEWEST_KEYPOINTS else 0
    )
