"""Dense clustered ids: images of one class have consecutive numbers (section 2.2 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vitdsi.errors import UsageError
from vitdsi.ids.free_numbers import FreeNumbers
from vitdsi.ids.number_scheme import Numbers, NumberScheme
from vitdsi.ids.scheme import Growth, IdContext


class ClusteredIds(NumberScheme):
    """Consecutive numbers for each class; new images get the free numbers nearest to their class."""

    name = "clustered"

    def numbers(self, context: IdContext) -> Numbers:
        """Number the images class by class, in random order within a class. Raises UsageError without labels."""
        labels = context.labels
        if labels is None:
            raise UsageError(
                "ids.scheme 'clustered' needs classes: use labels=folder, or ids.scheme=semantic"
            )
        shuffled = np.random.default_rng(context.seed).permutation(context.count)
        _, classes = np.unique(np.asarray(labels), return_inverse=True)
        by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
        numbers = np.empty(context.count, dtype=np.int64)
        numbers[by_class] = np.arange(context.count)
        return numbers

    def new_numbers(self, growth: Growth, free: FreeNumbers) -> Numbers:
        """Take the nearest free numbers, one class after the other. Raises UsageError without labels."""
        labels, new_labels = growth.labels_for(self.name)
        live_labels = np.asarray(labels, dtype=object)[growth.in_use]
        numbers = np.empty(growth.count, dtype=np.int64)
        for label, positions in positions_by_class(new_labels).items():
            same = live_labels == label
            numbers[positions] = free.take_nearest(free.starts[same], free.ends[same], len(positions))
        return numbers


def positions_by_class(labels: Sequence[str]) -> dict[str, Numbers]:
    """Return the positions of each class, with the classes in the order of their names."""
    groups: dict[str, list[int]] = {}
    for i, label in enumerate(labels):
        groups.setdefault(label, []).append(i)
    return {label: np.array(groups[label], dtype=np.int64) for label in sorted(groups)}
