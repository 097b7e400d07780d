"""A cell of the quality benchmark: a set, a size and a seed; its photos, their features and altered copies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from alterations import KNOWN, UNSEEN
from shared import altered_features, pooled_reader, relevant_ids
from splits import split_of_size
from torch import Tensor

from vitdsi.backbones.reader import FeatureReader
from vitdsi.errors import UsageError
from vitdsi.photos.find import ImageRecord, scan_folder

_MAX_ALTERED = 250  # indexed images, and photos that are not indexed, of which altered copies are searched
_MAX_OWN = 2000  # indexed images that are searched with as they are

CLEAN = "clean"
CONDITIONS = (CLEAN, KNOWN, *UNSEEN)


@dataclass(frozen=True)
class Cell:
    """The data of a cell. Features are pooled features (F,) of the default backbone, float16, unless others were read.

    Attributes:
        set, size, seed, queries: what the cell is; `queries` is the role of the photos that are searched with.
        indexed: the N photos to index.
        training: further photos that train methods which learn from labels.
        searched: the Q photos that are searched with.
        indexed_features, training_features, searched_features: (N, F), (M, F), (Q, F).
        relevant: the ids of the class of each searched photo.
        own: the ids of the indexed images that are searched with as they are.
        inside: the ids of the n indexed images of which altered copies are searched.
        altered: for each condition, the features (n, F) of copies of these, and (m, F) of copies of photos that are not
            indexed.
    """

    set: str
    size: int
    seed: int
    queries: str
    indexed: list[ImageRecord]
    training: list[ImageRecord]
    searched: list[ImageRecord]
    indexed_features: Tensor
    training_features: Tensor
    searched_features: Tensor
    relevant: list[npt.NDArray[np.int64]]
    own: npt.NDArray[np.int64]
    inside: npt.NDArray[np.int64]
    altered: dict[str, tuple[Tensor, Tensor]]

    @property
    def name(self) -> str:
        """The name of the files of the cell."""
        return f"{self.set}-{self.size}-{self.seed}-{self.queries}"

    @property
    def description(self) -> dict[str, Any]:
        """What the cell is, as JSON values."""
        return {
            "cell": self.name,
            "set": self.set,
            "size": self.size,
            "seed": self.seed,
            "queries": self.queries,
            "classes": len({photo.label for photo in self.indexed}),
            "training": len(self.training),
            "searched": len(self.searched),
            "copies": len(self.inside),
        }


def load_cell(
    name: str,
    folder: Path,
    size: int | None,
    seed: int,
    queries: Literal["validation", "test"],
    reader: FeatureReader | None = None,
) -> Cell:
    """Read the photos of a cell, through the feature cache.

    Args:
        name: the name of the set.
        folder: its folder, with a sub-folder for each class.
        size: the number of indexed images; None indexes a quarter of each class.
        seed: the seed of the split and of the draws.
        queries: the role of the photos that are searched with.
        reader: reads other features than the pooled ones of the default backbone.

    Raises:
        UsageError: the set is too small for the size, or has no photos to search with.
    """
    split = split_of_size(scan_folder(folder, "folder"), seed, size)
    searched = split.validation if queries == "validation" else split.test
    if not searched or not split.train:
        raise UsageError(f"{folder}: classes of 14 photos or more are needed for all parts of the split")
    reader = reader or pooled_reader()
    count = len(split.indexing)
    rng = np.random.default_rng([seed, 2])
    own = np.sort(rng.permutation(count)[:_MAX_OWN])
    inside = np.sort(rng.permutation(count)[:_MAX_ALTERED])
    outside = np.sort(rng.permutation(len(searched))[:_MAX_ALTERED])
    indexed_features, training_features, searched_features = (
        reader.load([photo.path for photo in part]).features
        for part in (split.indexing, split.train, searched)
    )
    others = [photo.path for photo in split.train]
    altered = {CLEAN: (indexed_features[inside], searched_features[outside])}
    for condition in CONDITIONS[1:]:
        altered[condition] = (
            altered_features(reader, [split.indexing[i] for i in inside], condition, others),
            altered_features(reader, [searched[i] for i in outside], condition, others),
        )
    return Cell(
        name,
        count,
        seed,
        queries,
        split.indexing,
        split.train,
        searched,
        indexed_features,
        training_features,
        searched_features,
        relevant_ids(split.indexing, searched),
        own,
        inside,
        altered,
    )
