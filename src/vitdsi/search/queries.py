"""Queries: photos as features, whole and in parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vitdsi.backbones.reader import FeatureReader
from vitdsi.photos.decode import MAX_PIXELS, Source, decode
from vitdsi.photos.regions import Region, parts_of, read_region
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import ORIENTATIONS
from vitdsi.state import IndexState

_PARTS = 5  # in which a photo is read by default; EXPERIMENTS.md has the evidence


def regions_by_default(state: IndexState) -> int:
    """Return in how many regions a photo is read if the options do not say it."""
    return _PARTS if state.compares_pictures else 1


def photo_queries(
    state: IndexState,
    reader: FeatureReader,
    photos: Sequence[Source],
    options: SearchOptions,
    *,
    max_pixels: int = MAX_PIXELS,
) -> tuple[Tensor, list[list[Region]]]:
    """Read B photos in the regions and orientations that the options ask for, with `max_pixels` as for `decode`.

    Returns:
        Features (B * O * R, *shape), those of the regions of a photo one after the other, in each of O orientations;
        and the R regions of each photo.

    Raises:
        ImageReadError: a photo cannot be read.
    """
    size, resample = reader.image_size, reader.backbone.resample
    count = options.regions or (1 if options.any_rotation else regions_by_default(state))
    turns = range(ORIENTATIONS if options.any_rotation else 1)
    whole = count == 1 and options.region is None
    squares, regions = [], []
    for source in photos:
        photo = decode(source, min_side=size if whole else 2 * size, max_pixels=max_pixels)
        regions.append([options.region] if options.region else parts_of(*photo.size, count))
        upright = [read_region(photo, region, size, resample) for region in regions[-1]]
        squares += [np.rot90(square, turn) for turn in turns for square in upright]
    return reader.features(torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)), regions
