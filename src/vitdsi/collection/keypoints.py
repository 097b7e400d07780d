"""Reading the keypoints of a collection: in threads, and from the cache where it has them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vitdsi.backbones.cache import FeatureCache
from vitdsi.backbones.reader import FeatureReader
from vitdsi.collection.read import Collection
from vitdsi.errors import ImageReadError
from vitdsi.photos.decode import Source
from vitdsi.photos.keypoints import DESCRIPTOR_BYTES, Keypoints, PhotoKeypoints, detect
from vitdsi.photos.load import load_many
from vitdsi.progress import OnProgress, Progress
from vitdsi.state import IndexState

_SIDE = 400  # pixels of the longer side of the photos whose keypoints are detected
_SHARD = 256  # photos whose keypoints reach the cache together
_VERSION = 1  # of what the cache holds


def read_keypoints(
    sources: Sequence[Source],
    hashes: Sequence[str],
    count: int,
    cache: Path | None = None,
    on_progress: OnProgress = None,
) -> Keypoints:
    """Return at most `count` keypoints of each photo. A photo that cannot be read has none.

    Args:
        sources: the photos.
        hashes: their content hashes, "" for photos that are not files.
        count: the most keypoints of a photo.
        cache: the folder of the cache, or None without a cache.
        on_progress: called now and then.

    Raises:
        UsageError: the cache cannot be written.
    """
    stored = (
        None
        if cache is None
        else FeatureCache(cache, f"keypoints-{_SIDE}-{count}-{DESCRIPTOR_BYTES}-v{_VERSION}")
    )
    photos: list[PhotoKeypoints] = []
    for start in range(0, len(sources), _SHARD):
        part = slice(start, start + _SHARD)
        photos += _read_shard(sources[part], hashes[part], count, stored)
        if on_progress is not None:
            on_progress(Progress("keypoints", len(photos), len(sources)))
    return Keypoints.of(photos)


def grown_keypoints(
    state: IndexState, fresh: Collection, reader: FeatureReader, on_progress: OnProgress = None
) -> Keypoints | None:
    """Return the keypoints of the images of an index, then those of new ones; None if the index has none."""
    if state.keypoints is None:
        return None
    count = state.resolved.keypoints
    new = read_keypoints(fresh.sources, fresh.hashes, count, reader.cache_folder, on_progress)
    return state.keypoints.joined(new)


def _read_shard(
    sources: Sequence[Source],
    hashes: Sequence[str],
    count: int,
    cache: FeatureCache | None,
) -> list[PhotoKeypoints]:
    """Return the keypoints of a few photos. The cache holds them in rows of equal length, with their numbers."""
    rows = np.zeros((len(sources), count, DESCRIPTOR_BYTES + 4), np.uint8)
    counts = np.zeros((len(sources), 1), np.int32)
    read = np.zeros(len(sources), bool)
    if cache is not None:
        read = cache.read(hashes, rows, counts)
    missing = np.flatnonzero(~read).tolist()
    files = [sources[i] for i in missing]
    workers = os.cpu_count() or 1
    for position, photo in load_many(files, lambda _, source: detect(source, count, _SIDE), workers=workers):
        i = missing[position]
        read[i] = not isinstance(photo, ImageReadError)  # it was readable when its features were computed
        if isinstance(photo, ImageReadError):
            continue
        counts[i] = len(photo.positions)
        rows[i, : counts[i, 0]] = np.hstack([photo.descriptors, photo.positions.view(np.uint8)])
    if cache is not None:
        new = [i for i in missing if read[i]]
        cache.add([hashes[i] for i in new], rows[new], counts[new])
    return [
        PhotoKeypoints(
            row[:n, :DESCRIPTOR_BYTES],
            row[:n, DESCRIPTOR_BYTES:].copy().view(np.uint16).reshape(-1, 2),
            (0, 0),
        )
        for row, n in zip(rows, counts[:, 0].tolist(), strict=True)
    ]
