"""What comes of reading a sequence of photos, and the content hashes by which the feature cache knows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor

from vitdsi.errors import ImageReadError
from vitdsi.photos.decode import Source, content_hash

__all__ = ["ReadPhotos", "hash_files"]


@dataclass(frozen=True)
class ReadPhotos:
    """The photos of a sequence that could be read.

    Attributes:
        kept: (n,) positions in the sequence, ascending.
        features: (n, *shape) stored features: float16, or uint8 pixels (n, 3, S, S).
        thumbnails: (n, 32, 32) uint8 grey, by which near-identical images are compared.
        hashes: n content hashes, empty for photos that are no files or that were altered.
        errors: why the other photos could not be read.
    """

    kept: npt.NDArray[np.int64]
    features: Tensor
    thumbnails: Tensor
    hashes: list[str]
    errors: list[ImageReadError]


def hash_files(sources: Sequence[Source]) -> tuple[dict[int, str], list[ImageReadError]]:
    """Return the content hashes by position, empty for photos that are not files, and the files that cannot be read."""
    hashes: dict[int, str] = {}
    errors: list[ImageReadError] = []
    for i, source in enumerate(sources):
        try:
            hashes[i] = content_hash(Path(source)) if isinstance(source, (str, Path)) else ""
        except ImageReadError as error:
            errors.append(error)
    return hashes, errors
