"""The effect of alterations on features: measured on some images and transferred to all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vitdsi.backbones.features import are_pixels, to_inputs
from vitdsi.backbones.reader import FeatureReader, ReadPhotos
from vitdsi.config import IndexConfig
from vitdsi.photos.alter import altered_copy
from vitdsi.photos.decode import Source
from vitdsi.progress import OnProgress
from vitdsi.training.views import FeatureViews, PixelViews, Views

MAX_HELD_OUT = 256  # rows that the held-out retrieval loss is measured on
_MIN_MEASURED, _MAX_MEASURED = 32, 512  # altered copies that pass the backbone


@dataclass(frozen=True)
class Alterations:
    """The measured effect of alterations on model inputs.

    Attributes:
        differences: (D, *shape) features of an altered copy minus features of its image; empty for pixels.
        rows: (H,) the images of which an altered copy is held out of training.
        inputs: (H, *shape) the model inputs of these altered copies.
        imagined: whether these inputs were made from `differences`, and not read from altered photos.
        hard: (n, V, *shape) features of hard views of the rows from `first_hard` on, or None.
        first_hard: the row of the first hard views.
    """

    differences: Tensor
    rows: Tensor
    inputs: Tensor
    imagined: bool = False
    hard: Tensor | None = None
    first_hard: int = 0


def views_of(features: Tensor, alterations: Alterations, of: Tensor | None = None) -> Views:
    """Return clean and altered views of stored features (Q, *shape), of the rows `of` (Q,), or of 0, 1, ..."""
    if are_pixels(features):
        return PixelViews(features, of)
    return FeatureViews(features, alterations.differences, of, alterations.hard, alterations.first_hard)


def read_altered(
    sources: Sequence[Source], reader: FeatureReader, seed: Sequence[int], on_progress: OnProgress = None
) -> ReadPhotos:
    """Read an altered copy of each photo; the copy of the i-th one is drawn with the seed (*seed, i)."""

    def alter(image: Image.Image, index: int) -> Image.Image:
        return altered_copy(image, np.random.default_rng([*seed, index]))

    return reader.load(sources, alter=alter, phase="views", on_progress=on_progress)


def measure_alterations(
    config: IndexConfig,
    sources: Sequence[Source],
    features: Tensor,
    reader: FeatureReader,
    on_progress: OnProgress = None,
) -> Alterations:
    """Read altered copies of some images: a quarter is held out, the others measure the effect of alterations.

    Args:
        sources: the N photos.
        features: (N, *shape) their stored features.
    """
    rng = np.random.default_rng(config.seed)
    count = len(sources)
    wanted = min(count, _MAX_MEASURED, max(_MIN_MEASURED, round(count * config.training.augment_sample)))
    chosen = np.sort(rng.choice(count, wanted, replace=False))

    read = read_altered([sources[i] for i in chosen], reader, (config.seed,), on_progress)
    rows = torch.from_numpy(chosen[read.kept])
    inputs = to_inputs(read.features)
    if are_pixels(features):
        return Alterations(torch.empty(0), rows[:MAX_HELD_OUT], inputs[:MAX_HELD_OUT])
    held = min(len(rows) // 4, MAX_HELD_OUT)
    differences = inputs[held:] - features[rows[held:]].float()
    return Alterations(differences, rows[:held], inputs[:held])


def imagine_alterations(
    config: IndexConfig, features: Tensor, differences: Tensor, rows: Tensor, of: Tensor | None = None
) -> Alterations:
    """Make held-out altered copies without the photos, from differences that were measured before.

    Args:
        features: (Q, *shape) stored features.
        differences: (D, *shape) measured differences.
        rows: (R,) the rows of which some are altered and held out.
        of: (Q,) the rows that these features belong to, ascending; None for 0, 1, ...
    """
    generator = torch.Generator().manual_seed(config.seed)
    rows = rows[torch.randperm(len(rows), generator=generator)[:MAX_HELD_OUT]]
    known = Alterations(differences, rows, features[:0])
    return replace(known, inputs=views_of(features, known, of).altered(rows, generator), imagined=True)
