"""An index with near-identical images, shared by the tests of similarity and of duplicates."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import torch
from helpers_images import photo
from helpers_stored import AlteredReader, collection, stored
from PIL import Image

from vitdsi.collection.add import add_new
from vitdsi.columns.thumbnails import Thumbnails
from vitdsi.state import IndexState

COPIES = {60: 0, 61: 0, 62: 5, 63: 7, 64: 9}  # id of a copy -> id of its original


def pairs(*given: tuple[int, int]) -> np.ndarray:
    return np.array(given, dtype=np.int64).reshape(-1, 2)


@functools.cache
def index_with_copies() -> IndexState:
    """60 different pictures, to which a crop, a mirror image, a brighter, a duller and an exact copy are added."""
    pictures = [photo(seed=i, width=96, height=96) for i in range(60)]
    copies = [
        pictures[0].crop((10, 4, 92, 86)),
        pictures[0].transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        pictures[5].point(lambda value: min(255, int(1.2 * value))),
        pictures[7].point(lambda value: 60 + value // 3),
        pictures[9],
    ]
    before = replace(
        stored(), thumbnails=Thumbnails.of(torch.stack([_thumbnail(picture) for picture in pictures]))
    )
    assert before.features is not None
    added = replace(
        collection(5, name="copy"),
        features=before.features[list(COPIES.values())] * 1.01,
        thumbnails=torch.stack([_thumbnail(picture) for picture in copies]),
    )
    return add_new(before, added, AlteredReader(added))  # type: ignore[arg-type]


def _thumbnail(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.convert("L").resize((32, 32), Image.Resampling.BOX)))
