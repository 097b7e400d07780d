"""The photos of a cell: which are indexed, which train, and which are searched with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from vitdsi.errors import UsageError
from vitdsi.paper.split import Split, split_per_class
from vitdsi.photos.find import ImageRecord

_TRAINING_SHARE = 2.4  # photos that train for each indexed one, as in the split of the paper (.75 x .8 / .25)


def split_of_size(records: Sequence[ImageRecord], seed: int, size: int | None) -> Split:
    """Split photos with classes as `split_per_class` does, and change the number of indexed images to `size`.

    The validation and test photos are those of the split without a size, whatever the size is, so that no photo that
    is searched with in a report is searched with at another size during development. Indexed images are taken from the
    other photos, one from each class in turn; of those that remain, 2.4 for each indexed image train. A smaller
    collection is a part of a larger one.

    Args:
        records: photos with classes.
        seed: the seed of the split.
        size: the number of indexed images; None indexes a quarter of each class.

    Raises:
        UsageError: there are not as many photos, or fewer images than classes are asked for.
    """
    split = split_per_class(records, seed=seed)
    if size is None:
        return split
    classes: dict[str, list[ImageRecord]] = defaultdict(list)
    rng = np.random.default_rng([seed, 1])
    for part in (split.indexing, split.train):
        for i in rng.permutation(len(part)):
            classes[part[i].label or ""].append(part[i])
    available = sum(map(len, classes.values()))
    if not len(classes) <= size <= available:
        raise UsageError(
            f"size={size}: must be from {len(classes)}, the number of classes, to {available}, the photos that neither "
            "validation nor test has"
        )
    turns = sorted((turn, label) for label, photos in classes.items() for turn in range(len(photos)))
    ordered = [classes[label][turn] for turn, label in turns]
    training = ordered[size : size + round(_TRAINING_SHARE * size)]
    indexing = sorted(ordered[:size], key=lambda record: record.image_id)
    return Split(indexing, sorted(training, key=lambda record: record.image_id), split.validation, split.test)
