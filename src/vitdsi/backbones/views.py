"""Reading views: several pictures that are made of each photo, and their features."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from vitdsi.backbones.features import from_inputs
from vitdsi.backbones.reader import SHARD_ROWS, FeatureReader, decoding_threads
from vitdsi.errors import ImageReadError
from vitdsi.photos.decode import Pixels, Source
from vitdsi.photos.load import load_many
from vitdsi.progress import OnProgress, Progress

__all__ = ["read_views"]

_REPORT_EVERY = 32  # photos


def read_views(
    reader: FeatureReader,
    sources: Sequence[Source],
    names: Sequence[Sequence[str]],
    make: Callable[[int, Source, Sequence[int]], Sequence[Pixels]],
    recipe: str,
    on_progress: OnProgress = None,
) -> Tensor:
    """Read V views of each of N photos, which are made in threads from the decoded photo.

    Args:
        reader: reads the views.
        sources: N photos.
        names: for each photo, the name of each of its views in the cache, "" for those that are not cached.
        make: makes views of a photo, given its position, the photo, and which of the V views are wanted:
            uint8 (S, S, 3) each.
        recipe: names how views are made; views of different recipes have different caches.
        on_progress: called now and then.

    Returns:
        (N, V, *shape) stored features.

    Raises:
        ImageReadError: a photo cannot be read.
        UsageError: the cache cannot be written.
    """
    count = len(names[0]) if names else 0
    flat = [name for row in names for name in row]
    views = torch.empty(len(flat), *reader.backbone.shapes[reader.kind], dtype=reader.backbone.dtype)
    cache = reader.cache_of(f"-{recipe}")
    known = np.zeros(len(flat), dtype=bool) if cache is None else cache.read(flat, views.numpy())
    wanted = {
        i: np.flatnonzero(~row).tolist()
        for i, row in enumerate(known.reshape(len(names), count))
        if not row.all()
    }
    photos = list(wanted)
    fresh: list[int] = []
    for done, made in load_many(
        [sources[i] for i in photos],
        lambda n, source: make(photos[n], source, wanted[photos[n]]),
        workers=decoding_threads(),
    ):
        if isinstance(made, ImageReadError):
            raise made
        for view, square in zip(wanted[photos[done]], made, strict=True):
            row = photos[done] * count + view
            photo = torch.tensor(square).permute(2, 0, 1)[None]
            views[row] = from_inputs(reader.features(photo), views)[0]
            fresh.append(row)
        last = done + 1 == len(photos)
        if cache is not None and (len(fresh) >= SHARD_ROWS or last):
            cache.add([flat[row] for row in fresh], views[fresh].numpy())
            fresh.clear()
        if on_progress is not None and ((done + 1) % _REPORT_EVERY == 0 or last):
            on_progress(Progress("hard views", done + 1, len(photos)))
    return views.view(len(names), count, *views.shape[1:])
