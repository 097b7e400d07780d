"""Residual ids: each digit is the nearest centre to what the digits before it left over, label-free.

Residual quantisation as in IRGen (Zhang et al. 2023, section 3.1) and TIGER (Rajput et al. 2023, section 3.1), with
k-means codebooks in place of learned ones. One codebook serves all images at a level, so a digit says the same after
every prefix; with semantic ids it does not.
"""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

from vitdsi.errors import UsageError
from vitdsi.ids.context import IdContext
from vitdsi.ids.vectors import Vectors, directions, distinct
from vitdsi.tokens import Codes, Vocabulary, digits_needed, encode_numbers

_CELLS = 2  # combinations of digits for each image: more make codes unique, and longer
_AXES = 128
_DECIMALS = 6  # what is left of unit vectors below this is rounding, no difference between images


def residual(context: IdContext) -> Codes:
    """Codes (N, M + E) of one length.

    A codebook has K = min(base, max(2, N // 2)) centres; there are as few levels M as make K^M >= 2 N. Images that
    share all M digits are told apart by E last digits, which every code has: E = 1 unless more than `base` share.
    Raises UsageError without features.
    """
    if context.features is None:
        raise UsageError("ids.scheme 'residual' needs features: use a backbone stem, or ids.scheme=random")
    count, base = context.count, Vocabulary(context.base).base
    if not count:
        return np.empty((0, 1), dtype=np.int64)
    rng = np.random.default_rng(context.seed)
    centres = min(base, max(2, count // 2))
    left = _principal(directions(context.features), rng)
    levels = []
    for _ in range(digits_needed(_CELLS * count, centres)):
        digits, means = _nearest_centres(left, centres, rng)
        levels.append(digits)
        left = (left - means[digits]).round(_DECIMALS)
    codes = np.stack(levels, axis=1)
    places = _places(codes, rng)
    last = digits_needed(int(places.max()) + 1, base)
    return np.concatenate([codes, encode_numbers(places, base, length=last)], axis=1)


def _principal(vectors: Vectors, rng: np.random.Generator) -> Vectors:
    """Coordinates (N, 128) along the axes of most variance; narrower vectors are left as they are."""
    if vectors.shape[1] <= _AXES:
        return vectors
    from sklearn.utils.extmath import randomized_svd
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        _, _, axes = randomized_svd(
            vectors, min(_AXES, len(vectors)), n_iter=2, random_state=int(rng.integers(2**31))
        )
    reduced: Vectors = (vectors @ axes.T).astype(np.float32).round(_DECIMALS)
    return reduced


def _nearest_centres(
    vectors: Vectors, count: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], Vectors]:
    """Digits (N,) below `count`, and the mean (K', D) of the vectors that have each."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    seed = int(rng.integers(2**31))
    different = distinct(vectors, count)
    if different == 1:
        return np.zeros(len(vectors), dtype=np.int64), vectors[:1]
    # its threads, once started, slow torch's down
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer clusters than asked for will do
        found = KMeans(min(count, different), n_init=1, max_iter=10, random_state=seed).fit(vectors)
    return found.labels_.astype(np.int64), found.cluster_centers_


def _places(codes: Codes, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Number (N,) of each image among those with the same digits, 0 first, in random order."""
    _, group, sizes = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    shuffled = rng.permutation(len(codes))
    order = shuffled[np.argsort(group.reshape(-1)[shuffled], kind="stable")]
    places = np.empty(len(codes), dtype=np.int64)
    places[order] = np.arange(len(codes)) - np.repeat(sizes.cumsum() - sizes, sizes)
    return places
