"""Semantic ids: hierarchical k-means on the backbone's features, without labels (section 3.2 of Tay et al. 2022).

Each digit chooses a cluster, and the last digit an image of the cluster. Clusters are about half as large as the base
allows, so that most of them have free digits for images that are added later. Large collections are clustered by their
first principal axes, which takes a fraction of the time.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from vitdsi.errors import UsageError
from vitdsi.ids.codes import Codes, Vocabulary
from vitdsi.ids.scheme import Features, IdContext, StoredFeatures
from vitdsi.ids.tree_scheme import BLOCK, TreeScheme, directions
from vitdsi.kmeans import count_distinct, kmeans

Members = npt.NDArray[np.int64]

_TARGET_FILL = 0.5  # of the digits below a cluster are given to images at first
_LARGEST_FILL = 0.75  # a fuller cluster is split again, as long as there are digits left
_MAX_ITERATIONS = 20
_REDUCED_FROM = 2**14  # images
_AXES = 128
_SAMPLE = 20_000  # images that the axes are computed from, at most


class SemanticIds(TreeScheme):
    """Codes of varying depth, one level of k-means clusters for each digit."""

    name = "semantic"

    def assign(self, context: IdContext) -> Codes:
        """Cluster the features. Raises UsageError without features."""
        if context.features is None:
            raise UsageError(
                "ids.scheme 'semantic' needs features: use a backbone stem, or ids.scheme=random"
            )
        rng = np.random.default_rng(context.seed)
        tree = _Tree(_vectors(context.features, rng), context.base, rng)
        # A collection that would fill the first level gets two, because below a full level nothing can be added.
        tree.split(np.arange(context.count), depth=0, most=context.base - 1)
        return tree.codes


class _Tree:
    """The codes (N, L) of all images, as far as they are known; L grows with the depth of the tree."""

    def __init__(self, features: Features, base: int, rng: np.random.Generator) -> None:
        self.features, self.base, self.rng = features, base, rng
        self.codes: Codes = np.full((len(features), 1), Vocabulary(base).pad, dtype=np.int64)

    def split(self, members: Members, depth: int, most: int) -> None:
        """Write the digits of images `members` from `depth` on: a single one for at most `most` images."""
        if depth == self.codes.shape[1]:
            self.codes = np.pad(self.codes, ((0, 0), (0, 1)), constant_values=Vocabulary(self.base).pad)
        if len(members) <= most:
            self.codes[members, depth] = np.arange(len(members))
            return
        for digit, group in enumerate(self._clusters(members)):
            self.codes[group, depth] = digit
            self.split(group, depth + 1, self.base)

    def _clusters(self, members: Members) -> list[Members]:
        """Divide images into at most `base` groups, and split those that leave few free digits while digits are left.

        Images that find no place in their own cluster are hard to learn, and one more level costs every search a step.
        """
        base = self.base
        groups = self._partition(members, min(base, _groups_wanted(len(members), base)))
        while len(groups) < base:
            large = [i for i, group in enumerate(groups) if len(group) > _LARGEST_FILL * base]
            large.sort(key=lambda i: -len(groups[i]))
            largest = next((i for i in large if not self._identical(groups[i])), None)
            if largest is None:
                break
            parts = min(_groups_wanted(len(groups[largest]), base), base - len(groups) + 1)
            groups[largest : largest + 1] = self._partition(groups[largest], parts)
        return groups

    def _partition(self, members: Members, count: int) -> list[Members]:
        """Divide images into 2 to `count` groups, none empty. Identical features are divided at random."""
        seed = int(self.rng.integers(2**31))
        if not self._identical(members):
            whole = len(members) == len(self.features)
            vectors = self.features if whole else self.features[members]
            _, labels = kmeans(vectors, count, seed, _MAX_ITERATIONS)
            order = np.argsort(labels, kind="stable")
            ends = np.cumsum(np.bincount(labels))[:-1]
            groups = [group for group in np.split(members[order], ends) if len(group)]
            if len(groups) > 1:
                return groups
        return np.array_split(self.rng.permutation(members), count)

    def _identical(self, members: Members) -> bool:
        first = count_distinct(self.features[members[:2]], 2)  # differ nearly always
        return first == 1 and count_distinct(self.features[members], 2) == 1


def _vectors(features: StoredFeatures, rng: np.random.Generator) -> Features:
    """Return the directions (N, D) of features, or in a large collection those on their first principal axes (N, 128).

    The features of a large collection are read in blocks, and never held in single precision.
    """
    count, width = features.shape
    if count < _REDUCED_FROM or width <= _AXES:
        return directions(features.astype(np.float32))
    from sklearn.decomposition import PCA

    blocks = [slice(start, start + BLOCK) for start in range(0, count, BLOCK)]
    sums = [features[block].sum(0, dtype=np.float64) for block in blocks]
    centre = (np.sum(sums, axis=0) / count).astype(np.float32)
    sample = features[np.sort(rng.choice(count, min(_SAMPLE, count), replace=False))]
    pca = PCA(_AXES, svd_solver="covariance_eigh").fit(directions(sample.astype(np.float32), centre))
    axes = pca.components_.T.astype(np.float32)
    reduced = np.empty((count, _AXES), dtype=np.float32)
    for block in blocks:
        reduced[block] = directions(features[block].astype(np.float32), centre) @ axes
    return reduced


def _groups_wanted(count: int, base: int) -> int:
    return max(2, math.ceil(count / max(_TARGET_FILL * base, 1)))
