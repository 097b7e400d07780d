"""Hard views of indexed photos: which ones are made, and their features.

The views of a photo depend on its content, on the seed and on the photo behind it, and on nothing else, so that their
features are found in the cache when an index is built again, also if photos came or went in the meantime.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence

import numpy as np
from torch import Tensor

from vitdsi.backbones.reader import FeatureReader
from vitdsi.backbones.views import read_views
from vitdsi.photos.decode import Pixels, Source, decode
from vitdsi.photos.hard_views import hard_view
from vitdsi.progress import OnProgress

_RECIPE = 1  # version of `hard_view` and of what is below; part of the key of the cache
_BACKGROUNDS = 64  # photos that may stand behind a picture
_OVERSAMPLED = 1.75  # pixels of the decoded picture for each pixel of the view, along its longer side


def read_hard_views(
    sources: Sequence[Source],
    hashes: Sequence[str],
    reader: FeatureReader,
    count: int,
    seed: int,
    on_progress: OnProgress = None,
) -> Tensor:
    """Read `count` hard views of each photo, in which other photos of the collection are the background.

    Args:
        sources: N photos that can be read.
        hashes: the content hash of each photo, "" for photos that are not files. Their views are not cached.
        reader: reads the views.
        count: the number of views of a photo, V.
        seed: another seed gives other views.
        on_progress: called now and then.

    Returns:
        (N, V, *shape) stored features.

    Raises:
        ImageReadError: a photo can no longer be read.
    """
    size = reader.image_size
    keys = [content or f"position {i}" for i, content in enumerate(hashes)]
    behind = _backgrounds(sources, keys, size, seed)
    recipes = [
        [(f"{key} {seed} {view}", _behind(f"{key} {seed} {view}", key, behind)) for view in range(count)]
        for key in keys
    ]

    def make(i: int, source: Source, wanted: Sequence[int]) -> list[Pixels]:
        picture = _reduced(source, round(_OVERSAMPLED * size))
        views = []
        for view in wanted:
            recipe, other = recipes[i][view]
            rng = np.random.default_rng(_digest(recipe))
            views.append(hard_view(picture, None if other is None else behind[other], size, rng))
        return views

    names = [
        [f"{_digest(f'{recipe} {other}'):032x}" if content else "" for recipe, other in row]
        for content, row in zip(hashes, recipes, strict=True)
    ]
    return read_views(reader, sources, names, make, f"hard{_RECIPE}", on_progress)


def _backgrounds(sources: Sequence[Source], keys: Sequence[str], size: int, seed: int) -> dict[str, Pixels]:
    """Choose and decode the photos that stand behind pictures, by key."""
    chosen = sorted(range(len(keys)), key=lambda i: _digest(f"{seed} {keys[i]}"))[:_BACKGROUNDS]
    return {keys[i]: _reduced(sources[i], size, shorter=True) for i in chosen}


def _behind(recipe: str, key: str, backgrounds: Collection[str]) -> str | None:
    """Choose the background of a view by rendezvous hashing, so that the choice rarely changes with the collection."""
    others = [other for other in backgrounds if other != key]
    return min(others, key=lambda other: _digest(f"{recipe} {other}"), default=None)


def _reduced(source: Source, side: int, *, shorter: bool = False) -> Pixels:
    """Decode a photo, and reduce it until its longer or shorter side has `side` pixels."""
    image = decode(source, min_side=side)
    scale = side / (min(image.size) if shorter else max(image.size))
    if scale < 1:
        reduced = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        image = image.resize(reduced, reducing_gap=2.0)
    return np.asarray(image)


def _digest(text: str) -> int:
    """Return the BLAKE2b-128 hash of a text as a number."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big")
