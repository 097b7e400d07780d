"""Codes for new images in a tree of codes, in the branch whose images are most similar.

The live codes are sorted once, so that each node is a range of rows, and so is each of its branches. All new images
descend together. A branch takes no more images than it has room for, the nearest first. The others go, in this order,
to the second nearest branch, to a new branch of the same node, or to any other branch. Each image thus ends in the
deepest node on its way that still has room below it.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from vitdsi.ids.capacity import slots_taken
from vitdsi.ids.codes import Codes, Vocabulary

Rows = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]


def insert(codes: Codes, base: int, length: int, vectors: Vectors, new: Vectors) -> Codes:
    """Return codes (n, length) for new images, prefix-free among themselves and with the live codes.

    Args:
        codes: (N, L) live codes, N >= 1.
        base: digits are 0 .. base - 1.
        length: the most digits of a new code, at least L; n slots of that length must be free.
        vectors: (N, D) feature vectors of the live images.
        new: (n, D) feature vectors of the new images.
    """
    order = np.lexsort(codes.T[::-1])
    insertion = _Insertion(codes[order], base, length, vectors[order], new)
    insertion.insert_below(0, len(codes), [], np.arange(len(new)))
    return insertion.result


class _Insertion:
    """Sorted live codes with their vectors, the vectors of the new images, and the codes these have so far."""

    def __init__(self, codes: Codes, base: int, length: int, vectors: Vectors, new: Vectors) -> None:
        self.base, self.length, self.codes, self.vectors, self.new = base, length, codes, vectors, new
        self.pad = Vocabulary(base).pad
        self.taken = np.concatenate([[0], slots_taken(codes, base, length).cumsum()])
        self.result: Codes = np.full((len(new), length), self.pad, dtype=np.int64)

    def insert_below(self, low: int, high: int, prefix: list[int], images: Rows) -> None:
        """Give `images` codes below the node of the sorted rows low .. high - 1, whose codes begin with `prefix`."""
        depth = len(prefix)
        tokens = self.codes[low:high, depth]
        starts = low + np.flatnonzero(np.r_[True, tokens[1:] != tokens[:-1]])
        ends = np.r_[starts[1:], high]
        tokens = self.codes[starts, depth]
        free = np.setdiff1d(np.arange(self.base), tokens)
        inner = np.full(len(starts), depth + 1 < self.codes.shape[1])
        if inner.any():
            inner = self.codes[starts, depth + 1] != self.pad
        if not inner.any():
            self._use_digits(prefix, free, images, share_digits=False)
            return
        sums = np.add.reduceat(self.vectors[low:high], starts - low, axis=0)
        means = sums / (ends - starts)[:, None].astype(np.float32)
        # Compare by the distance to the mean, as k-means does, so that a copy goes into the cluster of its original.
        scores = self.new[images] @ means.T - (means**2).sum(1) / 2
        below = self.base ** (self.length - depth - 1)
        room = [below - int(self.taken[e] - self.taken[s]) for s, e in zip(starts, ends, strict=True)]
        room = [r for r, is_inner in zip(room, inner, strict=True) if is_inner]
        target = _allocate(
            np.c_[scores[:, inner], _free_digit_score(scores, inner)], [*room, len(free) * below]
        )
        for c, (s, e) in enumerate(zip(starts[inner], ends[inner], strict=True)):
            if (target == c).any():
                self.insert_below(int(s), int(e), [*prefix, int(self.codes[s, depth])], images[target == c])
        here = images[target == len(room)]
        if len(here):
            self._use_digits(prefix, free, here, share_digits=bool(inner.all()))

    def _use_digits(self, prefix: list[int], free: Rows, images: Rows, *, share_digits: bool) -> None:
        self.result[images] = codes_below(
            prefix, free, self.new[images], self.base, self.length, share_digits=share_digits
        )


def codes_below(
    prefix: list[int], free: Rows, vectors: Vectors, base: int, length: int, *, share_digits: bool = False
) -> Codes:
    """Return codes (n, length) that begin with the prefix of a node and one of its free digits.

    Where the free digits suffice, each image gets one of its own. Otherwise similar images share one, and each shared
    digit opens a new node with as few levels below it as possible.

    Args:
        prefix: the digits that lead to the node.
        free: digits that no code has after the prefix.
        vectors: (n, D) feature vectors of the images.
        base: digits are 0 .. base - 1.
        length: the most digits of a code.
        share_digits: let images share digits even where each could have its own, for nodes that have only branches.
    """
    below = length - len(prefix) - 1
    codes: Codes = np.full((len(vectors), length), Vocabulary(base).pad, dtype=np.int64)
    codes[:, : len(prefix)] = prefix
    if below == 0 or (len(vectors) <= len(free) and not share_digits):
        codes[:, len(prefix)] = free[: len(vectors)]
        return codes
    levels = 1
    while len(free) * base**levels < len(vectors):
        levels += 1
    each = base**levels
    if share_digits:
        alone, opened = 0, math.ceil(len(vectors) / each)
    else:
        opened = math.ceil((len(vectors) - len(free)) / (each - 1))
        alone = len(free) - opened
    images = _order_by_similarity(vectors)
    codes[images[:alone], len(prefix)] = free[:alone]
    for digit, group in zip(free[alone:], np.array_split(images[alone:], opened), strict=False):
        codes[group] = codes_below([*prefix, int(digit)], np.arange(base), vectors[group], base, length)
    return codes


def _free_digit_score(scores: Vectors, inner: npt.NDArray[np.bool_]) -> Vectors:
    """Score (n,) the free digits of a node, given the scores (n, B) of its branches, of which some are `inner` nodes.

    It is the score of the nearest image directly below the node, but at least just below the second nearest branch.
    """
    branches = np.sort(scores[:, inner], axis=1)
    second = branches[:, -min(2, branches.shape[1])]
    score: Vectors = np.nextafter(second, np.float32(-np.inf))
    return score if inner.all() else np.maximum(score, scores[:, ~inner].max(1))


def _allocate(scores: Vectors, room: list[int]) -> Rows:
    """Assign each row of scores (n, C) its best target that has room left, (n,).

    Each target takes the rows with the highest scores first.
    """
    target = np.full(len(scores), -1, dtype=np.int64)
    scores = np.where(np.array(room, dtype=object) > 0, scores, -np.inf)
    pending = np.arange(len(scores))
    while len(pending):
        wanted = scores[pending].argmax(1)
        for c in np.unique(wanted):
            asking = pending[wanted == c]
            first = asking[np.argsort(-scores[asking, c], kind="stable")[: room[c]]]
            target[first] = c
            room[c] -= len(first)
            if not room[c]:
                scores[:, c] = -np.inf
        pending = np.flatnonzero(target < 0)
    return target


def _order_by_similarity(vectors: Vectors) -> Rows:
    """Return the order (n,) along the direction of largest variance, so that neighbours in it are similar."""
    centred = vectors - vectors.mean(0)
    axis = centred[np.argmax((centred**2).sum(1))]
    for _ in range(5):  # power iteration
        axis = centred.T @ (centred @ axis)
        axis = axis / max(float(np.linalg.norm(axis)), 1e-12)
    return np.argsort(centred @ axis, kind="stable")
