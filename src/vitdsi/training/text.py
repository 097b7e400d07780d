"""Text queries: the gap between texts and photos is measured, and training sees photos as far off as texts are.

A model that is trained on photos alone never sees a vector of the other tower. Two things bring these near: the gap
between the means is closed (`vitdsi.state.TextGap`), and what is left of the distance between a caption and its photo
joins the differences that training adds to the features of photos.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from vitdsi.backbones.reader import FeatureReader
from vitdsi.state import TextGap

__all__ = ["CAPTION", "measure_text_gap", "with_text_differences"]

CAPTION = "caption"  # the column of the metadata that captions are read from

MIN_PAIRS = 8  # with fewer captions, fixed texts stand in for them
_MAX_PAIRS = 512
_TEXT_SHARE = 0.5  # of all differences; those of altered copies have the rest
_TEXTS = tuple(
    f"a photo of {thing}"
    for thing in (
        "a person", "people at a table", "a child playing", "a crowd in the street", "a dog", "a cat",
        "a bird", "a horse", "wild animals", "a flower", "a tree", "a forest", "mountains", "a beach",
        "the sea", "a river", "snow", "the sky", "a sunset", "a city at night", "a street", "a house",
        "a church", "a bridge", "a room", "a kitchen", "a car", "a bus", "a train", "a bicycle", "a boat",
        "an airplane", "food on a plate", "fruit", "a drink", "a book", "a painting", "a sign with text",
        "a phone", "a computer", "clothes", "shoes", "a toy", "a musical instrument", "a sports game",
        "a garden", "furniture", "a machine",
    )
)  # fmt: skip


def measure_text_gap(
    features: Tensor, captions: Mapping[int, str], reader: FeatureReader, seed: int, count: int
) -> tuple[TextGap, Tensor]:
    """Measure the gap between texts and photos, and what is left when it is closed.

    With captions, the means, the scale and the differences are those of at most 512 pairs. Without, the texts are
    fixed ones of everyday things, and the differences are normally distributed and as long as photos are far from their
    mean. That length is an assumption: with no pairs there is nothing to measure it on.

    Args:
        features: (N, F) stored features of the photos.
        captions: captions by the row of their photo.
        reader: reads text.
        seed: the seed of the draw of pairs and of the noise.
        count: the most differences to return.

    Returns:
        The gap, and differences (D, F) between texts whose gap is closed and photos.
    """
    rng = np.random.default_rng(seed)
    known = sorted(row for row, text in captions.items() if text.strip())
    rows = sorted(rng.permutation(known)[:_MAX_PAIRS].tolist()) if len(known) >= MIN_PAIRS else []
    photos = (features[rows] if rows else features).float()
    texts = reader.text_features([captions[row] for row in rows] if rows else _TEXTS).cpu()
    text_mean, photo_mean = texts.mean(0), photos.mean(0)
    spread = _spread(photos - photo_mean)
    gap = TextGap(text_mean, photo_mean, spread / max(_spread(texts - text_mean), 1e-6), len(rows))
    if rows:
        picked = rng.permutation(len(rows))[:count]
        return gap, (gap.closed(texts) - photos)[picked]
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, features.shape[1], generator=generator)
    return gap, noise * spread / features.shape[1] ** 0.5


def with_text_differences(
    differences: Tensor, features: Tensor, captions: Mapping[int, str], reader: FeatureReader, seed: int
) -> tuple[TextGap | None, Tensor]:
    """Return the text gap, and the differences (D, F) of altered copies with those of texts among them, half of all.

    The gap is None, and the differences stay as they are, if the backbone reads no text. The arguments are those of
    `measure_text_gap`.
    """
    if not reader.reads_text:
        return None, differences
    count = round(len(differences) * _TEXT_SHARE / (1 - _TEXT_SHARE))
    gap, more = measure_text_gap(features, captions, reader, seed, count)
    return gap, torch.cat([differences, more])


def _spread(deviations: Tensor) -> float:
    """The root mean square length of vectors (n, F)."""
    return float(deviations.square().sum(1).mean().sqrt())
