"""Semantic ids: hierarchical k-means on the backbone's features, label-free (section 3.2 of Tay et al. 2022).

A digit says into which cluster to go, the last digit which image of the cluster. Clusters are made about half as
large as a base allows, so that most of them have free digits for images added later.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from vitdsi.errors import UsageError
from vitdsi.ids.context import IdContext
from vitdsi.ids.vectors import directions, distinct
from vitdsi.tokens import Codes, Vocabulary

_FILL = 0.5
_MOST = 0.75  # of a base, in a cluster, while there are digits left to part it


def semantic(context: IdContext) -> Codes:
    """Codes of varying depth, prefix-free. Raises UsageError without features."""
    if context.features is None:
        raise UsageError("ids.scheme 'semantic' needs features: use a backbone stem, or ids.scheme=random")
    features = directions(context.features)
    rng = np.random.default_rng(context.seed)
    codes: list[list[int]] = [[] for _ in range(context.count)]
    _split(features, np.arange(context.count), context.base, rng, codes)
    length = max(map(len, codes), default=1)
    pad = Vocabulary(context.base).pad
    return np.array([code + [pad] * (length - len(code)) for code in codes], dtype=np.int64)


def _split(
    features: npt.NDArray[np.float32],
    members: npt.NDArray[np.int64],
    base: int,
    rng: np.random.Generator,
    codes: list[list[int]],
) -> None:
    if len(members) <= base:
        for digit, i in enumerate(members):
            codes[i].append(digit)
        return
    for digit, group in enumerate(_clusters(features, members, base, rng)):
        for i in group:
            codes[i].append(digit)
        _split(features, group, base, rng, codes)


def _clusters(
    features: npt.NDArray[np.float32], members: npt.NDArray[np.int64], base: int, rng: np.random.Generator
) -> list[npt.NDArray[np.int64]]:
    """At most `base` groups. Those that leave few free digits are parted again while there are digits left, since
    images that find no place where they belong are hard to learn, and one more level costs every search a step."""
    groups = _kmeans(features, members, min(base, _wanted(len(members), base)), rng)
    while len(groups) < base:
        large = [
            i
            for i, group in enumerate(groups)
            if len(group) > _MOST * base and distinct(features[group], 2) > 1
        ]
        if not large:
            break
        largest = max(large, key=lambda i: len(groups[i]))
        parts = min(_wanted(len(groups[largest]), base), base - len(groups) + 1)
        groups[largest : largest + 1] = _kmeans(features, groups[largest], parts, rng)
    return groups


def _wanted(count: int, base: int) -> int:
    return max(2, math.ceil(count / max(_FILL * base, 1)))


def _kmeans(
    features: npt.NDArray[np.float32], members: npt.NDArray[np.int64], count: int, rng: np.random.Generator
) -> list[npt.NDArray[np.int64]]:
    """Between 2 and `count` groups, none empty."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    seed = int(rng.integers(2**31))
    different = distinct(features[members], count)
    if different == 1:  # identical features cannot be told apart: cut the list instead
        return np.array_split(rng.permutation(members), count)
    with threadpool_limits(limits=1):  # its threads, once started, slow torch's down
        found = KMeans(min(count, different), n_init=1, max_iter=20, random_state=seed).fit(features[members])
    groups = [members[found.labels_ == c] for c in range(count)]
    groups = [group for group in groups if len(group)]
    return groups if len(groups) > 1 else np.array_split(rng.permutation(members), count)
