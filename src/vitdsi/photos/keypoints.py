"""Keypoints: local features of photos, by which two photos of one thing are matched point by point.

The features are those of SIFT (Lowe, "Distinctive image features from scale-invariant keypoints", 2004), with the
square roots of Arandjelovic and Zisserman ("Three things everyone should know to improve object retrieval", 2012),
reduced to 16 bytes each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from vitdsi.columns.segments import Ragged, segments_to_keep
from vitdsi.photos.decode import MAX_PIXELS, Source, decode
from vitdsi.photos.regions import Region

__all__ = [
    "DESCRIPTOR_BYTES",
    "KEYPOINT_BYTES",
    "QUERY_SIDE",
    "Keypoints",
    "PhotoKeypoints",
    "detect",
    "detect_in_query",
]

DESCRIPTOR_BYTES = 16
"""Bytes of a descriptor: 32 numbers of 4 bits."""

KEYPOINT_BYTES = DESCRIPTOR_BYTES + 4
"""Bytes of a keypoint: its descriptor, and two numbers of 16 bits for its position."""

QUERY_SIDE = 480
"""Pixels of the longer side of a query."""

SCALE = 65535
"""The position of a point on the right or lower edge of a photo."""

# The highest sum of the vertical and the horizontal frequency that is kept, by the frequency over directions.
_HIGHEST = {0: 2, 1: 3, 2: 1, 4: 0}
_STEP = 0.035  # between two levels of a number
_CONTRAST = 0.02  # of the weakest point that is detected in an image; half of OpenCV's default
_QUERY_CONTRAST = 0.008  # of that in a query; what is photographed in bad light has weak points only
_QUERY_KEYPOINTS = 600  # at most

Descriptors = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.uint16]
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PhotoKeypoints:
    """The keypoints of one photo, strongest first.

    Attributes:
        descriptors: (n, 16) uint8.
        positions: (n, 2) uint16, x and y as shares of the width and the height of the photo, times 65535.
        size: width and height of the photo in pixels when its keypoints were detected.
    """

    descriptors: Descriptors
    positions: Positions
    size: tuple[int, int]

    def inside(self, region: Region) -> PhotoKeypoints:
        """Return those that are in a region of the photo."""
        kept = [i for i, (x, y) in enumerate((self.positions / SCALE).tolist()) if (x, y) in region]
        return PhotoKeypoints(self.descriptors[kept], self.positions[kept], self.size)


class Keypoints:
    """The keypoints of N photos, each as 20 bytes: its descriptor and then its position, as in `PhotoKeypoints`.

    Args:
        segments: the keypoints (P, 20) uint8 of each photo, in one or more segments.
    """

    def __init__(self, segments: Sequence[Ragged]) -> None:
        self._segments = tuple(segments)
        self._starts = np.cumsum([0, *map(len, self._segments)])

    @classmethod
    def of(cls, photos: Sequence[PhotoKeypoints]) -> Keypoints:
        """Return the keypoints of several photos as one value."""
        values = [
            np.hstack([p.descriptors, np.ascontiguousarray(p.positions).view(np.uint8)]) for p in photos
        ]
        joined = np.concatenate([np.empty((0, KEYPOINT_BYTES), np.uint8), *values])
        return cls([Ragged.of(joined, np.array([len(part) for part in values], np.int64))])

    def __len__(self) -> int:
        """The number of photos."""
        return int(self._starts[-1])

    @property
    def total(self) -> int:
        """The number of keypoints of all photos."""
        return sum(len(segment.values) for segment in self._segments)

    def of_photo(self, photo: int) -> tuple[Descriptors, Positions]:
        """Return the descriptors (n, 16) and the positions (n, 2) of one photo."""
        number = int(np.searchsorted(self._starts, photo, side="right")) - 1
        found = self._segments[number][photo - int(self._starts[number])]
        positions = np.ascontiguousarray(found[:, DESCRIPTOR_BYTES:]).view(np.uint16)
        return found[:, :DESCRIPTOR_BYTES], positions.reshape(-1, 2)

    def since(self, photo: int) -> Ragged:
        """Return the keypoints of the photos from this one on."""
        number = min(int(np.searchsorted(self._starts, photo, side="right")), len(self._segments)) - 1
        return Ragged.concatenated(self._segments[number:]).since(photo - int(self._starts[number]))

    def take(self, photos: Sequence[int]) -> Keypoints:
        """Return the keypoints of these photos, in this order."""
        return Keypoints([Ragged.concatenated(self._segments).take(np.asarray(photos, np.int64))])

    def strongest(self, count: int) -> Keypoints:
        """Return at most `count` keypoints of each photo, the strongest ones, which come first."""
        return Keypoints([segment.first(count) for segment in self._segments])

    def joined(self, other: Keypoints) -> Keypoints:
        """Return the keypoints of these photos, then those of the others."""
        if not len(other):
            return self
        kept = segments_to_keep([len(segment) for segment in self._segments], len(other))
        return Keypoints(
            [*self._segments[:kept], Ragged.concatenated([*self._segments[kept:], *other._segments])]
        )


def detect(
    source: Source, count: int, side: int, *, contrast: float = _CONTRAST, max_pixels: int = MAX_PIXELS
) -> PhotoKeypoints:
    """Detect at most `count` keypoints of a photo, the strongest ones.

    Args:
        source: the photo, as `decode` takes it.
        count: the most keypoints.
        side: photos whose longer side has more pixels are scaled down to it.
        contrast: that of the weakest point that is detected, between 0 and 1.
        max_pixels: as for `decode`.

    Raises:
        ImageReadError: the photo cannot be read.
    """
    import cv2

    grey = _grey(decode(source, min_side=side, max_pixels=max_pixels), side)
    height, width = grey.shape
    sift = cv2.SIFT.create(nfeatures=count, contrastThreshold=contrast)
    points, found = sift.detectAndCompute(grey, None)
    # OpenCV returns more points if several are as strong as the last one.
    order = np.argsort([-point.response for point in points], kind="stable")[:count]
    places = np.array([points[i].pt for i in order]).reshape(-1, 2) / (width, height)
    described = np.asarray([] if found is None else found, np.float32).reshape(-1, 128)
    positions = np.clip(places * SCALE, 0, SCALE).round().astype(np.uint16)
    return PhotoKeypoints(pack(described[order]), positions, (width, height))


def detect_in_query(photo: Source, *, max_pixels: int = MAX_PIXELS) -> PhotoKeypoints:
    """Detect the keypoints of a query.

    Raises:
        ImageReadError: the photo cannot be read, or has more than `max_pixels`.
    """
    return detect(photo, _QUERY_KEYPOINTS, QUERY_SIDE, contrast=_QUERY_CONTRAST, max_pixels=max_pixels)


def _grey(photo: Image.Image, side: int) -> npt.NDArray[np.uint8]:
    scale = side / max(photo.size)
    if scale < 1:
        width, height = (max(1, round(scale * length)) for length in photo.size)
        photo = photo.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.asarray(photo.convert("L"))


def pack(descriptors: Vectors) -> Descriptors:
    """Return SIFT descriptors (n, 128) as 32 numbers of 4 bits each: (n, 16).

    The square roots of the shares of a descriptor are transformed by a discrete cosine transform over its 4 x 4 cells
    and a Fourier transform over its 8 directions, and the low frequencies are kept, without the constant one. This is
    nearly a principal component analysis, and needs no data.
    """
    shares = descriptors / np.maximum(descriptors.sum(1, keepdims=True), 1e-9)
    levels = np.clip(np.rint(np.sqrt(shares) @ _basis() / _STEP), -8, 7).astype(np.int8) + 8
    packed: Descriptors = (levels[:, ::2] << 4 | levels[:, 1::2]).astype(np.uint8)
    return packed


def unpack(descriptors: Descriptors) -> Vectors:
    """Return packed descriptors (n, 16) as unit vectors (n, 32)."""
    vectors: Vectors = np.empty((len(descriptors), 2 * DESCRIPTOR_BYTES), np.float32)
    vectors[:, ::2], vectors[:, 1::2] = descriptors >> 4, descriptors & 15
    vectors -= 8
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return vectors


@lru_cache(maxsize=1)
def _basis() -> Vectors:
    """Return the orthonormal vectors (128, 32) of the frequencies that are kept."""
    cells = np.cos(np.pi * (np.arange(4) + 0.5) * np.arange(4)[:, None] / 4) * np.sqrt(0.5)
    cells[0] = 0.5
    angles = 2 * np.pi * np.arange(8) / 8
    directions = {0: [np.full(8, 8**-0.5)], 4: [np.cos(4 * angles) * 8**-0.5]}
    directions |= {k: [np.cos(k * angles) / 2, np.sin(k * angles) / 2] for k in (1, 2, 3)}
    return np.array(
        [
            np.einsum("i,j,k->ijk", cells[row], cells[column], wave).ravel()
            for direction, highest in _HIGHEST.items()
            for row in range(4)
            for column in range(4)
            for wave in directions[direction]
            if row + column <= highest and row + column + direction > 0
        ],
        dtype=np.float32,
    ).T
