"""Semantic ids: hierarchical k-means on the backbone's features, without labels (section 3.2 of Tay et al. 2022).

Each digit chooses a cluster, and the last digit an image of the cluster. Clusters are about half as large as the base
allows, so that most of them have free digits for images that are added later.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from vitdsi.errors import UsageError
from vitdsi.ids.codes import Codes, Vocabulary
from vitdsi.ids.scheme import Features, IdContext
from vitdsi.ids.tree_scheme import TreeScheme, directions
from vitdsi.kmeans import count_distinct, kmeans

Members = npt.NDArray[np.int64]

_TARGET_FILL = 0.5  # of the digits below a cluster are given to images at first
_LARGEST_FILL = 0.75  # a fuller cluster is split again, as long as there are digits left
_MAX_ITERATIONS = 20


class SemanticIds(TreeScheme):
    """Codes of varying depth, one level of k-means clusters for each digit."""

    name = "semantic"

    def assign(self, context: IdContext) -> Codes:
        """Cluster the features. Raises UsageError without features."""
        if context.features is None:
            raise UsageError(
                "ids.scheme 'semantic' needs features: use a backbone stem, or ids.scheme=random"
            )
        pad = Vocabulary(context.base).pad
        features = directions(context.features)
        rng = np.random.default_rng(context.seed)
        codes: list[list[int]] = [[] for _ in range(context.count)]
        # A collection that would fill the first level gets two, because below a full level nothing can be added.
        _split(features, np.arange(context.count), context.base, rng, codes, context.base - 1)
        length = max(map(len, codes), default=1)
        return np.array([code + [pad] * (length - len(code)) for code in codes], dtype=np.int64)


def _split(
    features: Features,
    members: Members,
    base: int,
    rng: np.random.Generator,
    codes: list[list[int]],
    most: int,
) -> None:
    """Append the remaining digits of the images `members` to their codes: a single one for at most `most` images."""
    if len(members) <= most:
        for digit, i in enumerate(members):
            codes[i].append(digit)
        return
    for digit, group in enumerate(_clusters(features, members, base, rng)):
        for i in group:
            codes[i].append(digit)
        _split(features, group, base, rng, codes, base)


def _clusters(features: Features, members: Members, base: int, rng: np.random.Generator) -> list[Members]:
    """Divide images into at most `base` groups, and split those that leave few free digits while digits are left.

    Images that find no place in their own cluster are hard to learn, and one more level costs every search a step.
    """
    groups = _partition(features, members, min(base, _groups_wanted(len(members), base)), rng)
    while len(groups) < base:
        large = [
            i
            for i, group in enumerate(groups)
            if len(group) > _LARGEST_FILL * base and count_distinct(features[group], 2) > 1
        ]
        if not large:
            break
        largest = max(large, key=lambda i: len(groups[i]))
        parts = min(_groups_wanted(len(groups[largest]), base), base - len(groups) + 1)
        groups[largest : largest + 1] = _partition(features, groups[largest], parts, rng)
    return groups


def _groups_wanted(count: int, base: int) -> int:
    return max(2, math.ceil(count / max(_TARGET_FILL * base, 1)))


def _partition(features: Features, members: Members, count: int, rng: np.random.Generator) -> list[Members]:
    """Divide images into 2 to `count` groups, none empty. Identical features are divided at random."""
    seed = int(rng.integers(2**31))
    if count_distinct(features[members], 2) == 1:
        return np.array_split(rng.permutation(members), count)
    _, labels = kmeans(features[members], count, seed, _MAX_ITERATIONS)
    groups = [members[labels == c] for c in range(count)]
    groups = [group for group in groups if len(group)]
    return groups if len(groups) > 1 else np.array_split(rng.permutation(members), count)
