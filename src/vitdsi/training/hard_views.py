"""Hard views of indexed photos: which ones are made, and their features.

The views of a photo depend on its content, on the seed and on the photo behind it, and on nothing else, so that their
features are found in the cache when an index is built again, also if photos came or went in the meantime.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from torch import Tensor

from vitdsi.backbones.reader import FeatureReader
from vitdsi.backbones.share import share
from vitdsi.backbones.views import read_views
from vitdsi.errors import ImageReadError
from vitdsi.photos.decode import Pixels, Source, decode
from vitdsi.photos.hard_views import hard_view
from vitdsi.progress import OnProgress, Progress

_Recipes: TypeAlias = "Sequence[Sequence[tuple[str, str | None]]]"  # of each view of each photo
_RECIPE = "hard1"  # with the version of `hard_view` and of what is below; part of the key of the cache
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
    keys = _keys(hashes)
    chosen = sorted(range(len(keys)), key=lambda i: _digest(f"{seed} {keys[i]}"))[:_BACKGROUNDS]
    behind = {keys[i]: sources[i] for i in chosen}
    recipes = _recipes(keys, count, seed, behind)
    names = _names(hashes, recipes)
    _share(sources, hashes, names, reader, count, seed, behind, on_progress)
    return _read(
        sources, recipes, names, reader, _decoded(tuple(behind.items()), reader.image_size), on_progress
    )


def _share(
    sources: Sequence[Source],
    hashes: Sequence[str],
    names: Sequence[Sequence[str]],
    reader: FeatureReader,
    count: int,
    seed: int,
    behind: Mapping[str, Source],
    on_progress: OnProgress,
) -> None:
    """Let the engine of the reader fill the cache with the views that it does not have, of photos that are files."""
    cache = reader.cache_of(f"-{_RECIPE}")
    are_files = all(isinstance(source, (str, Path)) for source in behind.values())
    if reader.engine is None or cache is None or not are_files:
        return
    known = cache.has([name for row in names for name in row]).reshape(len(names), count).all(1)
    missing = [(sources[i], hashes[i]) for i in np.flatnonzero(~known).tolist() if hashes[i]]

    def report(done: int) -> None:
        if on_progress is not None:
            on_progress(Progress("hard views", done, len(missing)))

    task = partial(_fill, reader.without_engine(), count, seed, tuple(behind.items()))
    share(reader.engine, task, missing, report, passes=count)


def _fill(
    reader: FeatureReader,
    count: int,
    seed: int,
    behind: tuple[tuple[str, Source], ...],
    photos: Sequence[tuple[Source, str]],
) -> None:
    """Read the views of some photos into the cache. The caller will find out which ones could not be read."""
    sources, hashes = [source for source, _ in photos], [content for _, content in photos]
    recipes = _recipes(_keys(hashes), count, seed, dict(behind))
    with contextlib.suppress(ImageReadError):
        _read(sources, recipes, _names(hashes, recipes), reader, _kept_decoded(behind, reader.image_size))


def _read(
    sources: Sequence[Source],
    recipes: _Recipes,
    names: Sequence[Sequence[str]],
    reader: FeatureReader,
    behind: Mapping[str, Pixels],
    on_progress: OnProgress = None,
) -> Tensor:
    """Read views in front of decoded photos."""
    size = reader.image_size

    def make(i: int, source: Source, wanted: Sequence[int]) -> list[Pixels]:
        picture = _reduced(source, round(_OVERSAMPLED * size))
        views = []
        for view in wanted:
            recipe, other = recipes[i][view]
            rng = np.random.default_rng(_digest(recipe))
            views.append(hard_view(picture, None if other is None else behind[other], size, rng))
        return views

    return read_views(reader, sources, names, make, _RECIPE, on_progress)


def _keys(hashes: Sequence[str]) -> list[str]:
    """Return what the views of each photo depend on."""
    return [content or f"position {i}" for i, content in enumerate(hashes)]


def _recipes(keys: Sequence[str], count: int, seed: int, behind: Collection[str]) -> _Recipes:
    """Return the text that seeds each view of each photo, and the key of the photo behind it."""
    return [
        [(f"{key} {seed} {view}", _behind(f"{key} {seed} {view}", key, behind)) for view in range(count)]
        for key in keys
    ]


def _names(hashes: Sequence[str], recipes: _Recipes) -> list[list[str]]:
    """Return the name of each view of each photo in the cache, "" for those of photos that are not files."""
    return [
        [f"{_digest(f'{recipe} {other}'):032x}" if content else "" for recipe, other in row]
        for content, row in zip(hashes, recipes, strict=True)
    ]


def _decoded(behind: tuple[tuple[str, Source], ...], size: int) -> dict[str, Pixels]:
    """Decode the photos that stand behind pictures, by key."""
    return {key: _reduced(source, size, shorter=True) for key, source in behind}


_kept_decoded = lru_cache(maxsize=1)(_decoded)  # for processes that read one part after the other


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
