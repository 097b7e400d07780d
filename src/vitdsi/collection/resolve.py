"""Resolving settings: those that were left open, or that depend on the size of the collection."""

from __future__ import annotations

import math
from dataclasses import replace

from vitdsi.config import IndexConfig
from vitdsi.ids import scheme_named
from vitdsi.model.heads.rows import largest_divisor

MIN_EMBEDDING_DIM = 32
MAX_ROW_NUMBERS = 2**28  # in the vectors of all images together, to bound the memory of training
MAX_BRANCH_NUMBERS = 2**25  # in the rows of all branches together, which a search keeps in memory as floats
LARGE = 2**15  # images, for more of which an image takes fewer bytes
PROTOTYPES_OF_LARGE = 16  # the most prototypes for these
IMAGES_PER_BRANCH = 64  # about; half of the digits below a cluster are given to images
_EPOCHS_TIMES_ROOT = 1800.0  # epochs of a collection times the square root of its number of images
_MOST_STEPS_FROM = 100_000  # images, from which on steps do not grow any more


def resolve_config(requested: IndexConfig, count: int, queries: int = 0) -> IndexConfig:
    """Choose the settings for a collection of `count` images, with `queries` more photos that train retrieval.

    - `ids.base`, if it was left open, is the default of the id scheme.
    - `model.embedding_dim` is halved while the vectors of all images would hold more than 2^28 numbers, 1 GiB: 512 is
      kept up to 524,288 images, and a million have 256.
    - `model.prototypes` are at most 16 for more than 32,768 images, and halved while the rows of branches would hold
      more than 2^25 numbers, which searches keep in memory as 128 MiB of floats: a million images have 4.
    - `vector_bytes` is lowered to a divisor of `model.embedding_dim`.
    - `training.retrieval_ratio` is raised so that each further photo is drawn as often as an indexed image.
    - `training.max_epochs`, if neither it nor `training.minutes` was given, is `epochs_for(count)`.

    When a collection changes, resolve the requested settings again, never an earlier result.
    """
    photos, ratio = count + queries, requested.training.retrieval_ratio
    drawn = ratio * photos + (1 - ratio) * count
    training = replace(requested.training, retrieval_ratio=ratio * photos / drawn)
    if training.max_epochs is None and training.minutes is None:
        training = replace(training, max_epochs=epochs_for(count) * photos / drawn)
    base = requested.ids.base or scheme_named(requested.ids.scheme).default_base(count)
    width = embedding_dim_for(count, requested.model.embedding_dim)
    vector_bytes = requested.vector_bytes
    if vector_bytes is not None:
        vector_bytes = largest_divisor(width, vector_bytes)
    return replace(
        requested,
        vector_bytes=vector_bytes,
        ids=replace(requested.ids, base=base),
        model=replace(
            requested.model,
            embedding_dim=width,
            prototypes=prototypes_for(count, width, requested.model.prototypes),
        ),
        training=training,
    )


def embedding_dim_for(count: int, most: int) -> int:
    """Return the width of the embedding for `count` images: `most`, or less for very large collections."""
    width = most
    while width >= 2 * MIN_EMBEDDING_DIM and count * width > MAX_ROW_NUMBERS:
        width //= 2
    return width


def prototypes_for(count: int, width: int, most: int) -> int:
    """Return the number of prototypes of a branch for `count` images: `most`, or less for large collections."""
    prototypes = most if count <= LARGE else min(most, PROTOTYPES_OF_LARGE)
    while prototypes > 1 and count / IMAGES_PER_BRANCH * (1 + prototypes) * width > MAX_BRANCH_NUMBERS:
        prototypes //= 2
    return prototypes


def epochs_for(count: int) -> float:
    """Return the limit of training in epochs for `count` images.

    Steps grow with the square root of `count` up to 100,000 images, and are as many for all larger collections, which
    do not see every image in training: the closed forms have set its weights.
    """
    return _EPOCHS_TIMES_ROOT * math.sqrt(min(count, _MOST_STEPS_FROM)) / count
