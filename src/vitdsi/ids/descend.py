"""Places for new images in a tree of codes: down to the branch that looks most like them, and what if it is full.

The live codes are sorted once, so a node is a range of rows, and so is each of its branches. All new images go down
together. A branch takes no more of them than it has room for, the nearest first; the others go, in this order, to the
second nearest branch, to a new branch of the same node, to any other branch. So an image ends in the deepest node on
its way that still has room below it.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from vitdsi.ids.vectors import Vectors
from vitdsi.tokens import Codes, Vocabulary

Rows = npt.NDArray[np.int64]


def slots_taken(codes: Codes, base: int, length: int) -> npt.NDArray[np.object_]:
    """How many codes of `length` digits each code (N, L) rules out, as unbounded integers (N,).

    One that ends with EOS rules out none: digits may go on where it has its EOS.
    """
    vocabulary = Vocabulary(base)
    digits = (codes < base).sum(1)
    ends = (codes == vocabulary.eos).any(1)
    cost = np.array([base ** max(length - t, 0) for t in range(codes.shape[1] + 1)], dtype=object)
    return np.where(ends, 0, cost[digits])


def descend(codes: Codes, base: int, length: int, vectors: Vectors, new: Vectors) -> Codes:
    """Codes (n, length) for new images, prefix-free among themselves and with the live ones.

    Args:
        codes: (N, L) live codes, N >= 1.
        length: digits that a new code may have, at least L; there must be n free slots at that length.
        vectors: (N, D) directions of the live images; new: (n, D) those of the new ones.
    """
    order = np.lexsort(codes.T[::-1])
    placing = _Placing(codes[order], base, length, vectors[order], new)
    placing.place(0, len(codes), [], np.arange(len(new)))
    return placing.result


class _Placing:
    def __init__(self, codes: Codes, base: int, length: int, vectors: Vectors, new: Vectors) -> None:
        self.base, self.length, self.codes, self.vectors, self.new = base, length, codes, vectors, new
        self.pad = Vocabulary(base).pad
        self.taken = np.concatenate([[0], slots_taken(codes, base, length).cumsum()])
        self.result: Codes = np.full((len(new), length), self.pad, dtype=np.int64)

    def place(self, low: int, high: int, prefix: list[int], images: Rows) -> None:
        """Give `images` codes below the node of the sorted rows low .. high - 1."""
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
            self._fill(prefix, free, images, branches=False)
            return
        sums = np.add.reduceat(self.vectors[low:high], starts - low, axis=0)
        means = sums / (ends - starts)[:, None].astype(np.float32)
        # as k-means does, by distance to the mean: an image goes into its own cluster again
        near = self.new[images] @ means.T - (means**2).sum(1) / 2
        below = self.base ** (self.length - depth - 1)
        room = [below - int(self.taken[e] - self.taken[s]) for s, e in zip(starts, ends, strict=True)]
        room = [r for r, go in zip(room, inner, strict=True) if go]
        target = _share(np.c_[near[:, inner], _here(near, inner)], [*room, len(free) * below])
        for c, (s, e) in enumerate(zip(starts[inner], ends[inner], strict=True)):
            if (target == c).any():
                self.place(int(s), int(e), [*prefix, int(self.codes[s, depth])], images[target == c])
        here = images[target == len(room)]
        if len(here):
            self._fill(prefix, free, here, branches=bool(inner.all()))

    def _fill(self, prefix: list[int], free: Rows, images: Rows, *, branches: bool) -> None:
        self.result[images] = fill(prefix, free, self.new[images], self.base, self.length, branches=branches)


def fill(
    prefix: list[int], free: Rows, vectors: Vectors, base: int, length: int, *, branches: bool = False
) -> Codes:
    """Codes (n, length) below a node for images with these vectors: its free digits, one each where they suffice;
    else, or where `branches` says so, nodes of their own below as few digits as possible."""
    below = length - len(prefix) - 1
    codes: Codes = np.full((len(vectors), length), Vocabulary(base).pad, dtype=np.int64)
    codes[:, : len(prefix)] = prefix
    if below == 0 or (len(vectors) <= len(free) and not branches):
        codes[:, len(prefix)] = free[: len(vectors)]
        return codes
    levels = 1
    while len(free) * base**levels < len(vectors):
        levels += 1
    each = base**levels
    if branches:
        alone, opened = 0, math.ceil(len(vectors) / each)
    else:
        opened = math.ceil((len(vectors) - len(free)) / (each - 1))
        alone = len(free) - opened
    images = _along(vectors)
    codes[images[:alone], len(prefix)] = free[:alone]
    for digit, group in zip(free[alone:], np.array_split(images[alone:], opened), strict=False):
        codes[group] = fill([*prefix, int(digit)], np.arange(base), vectors[group], base, length)
    return codes


def _here(near: Vectors, inner: npt.NDArray[np.bool_]) -> Vectors:
    """How much a free digit of the node itself is wanted (n,): as its nearest image, and just less than the second
    nearest branch."""
    to_branches = np.sort(near[:, inner], axis=1)
    second = to_branches[:, -min(2, to_branches.shape[1])]
    wanted: Vectors = np.nextafter(second, np.float32(-np.inf))
    return wanted if inner.all() else np.maximum(wanted, near[:, ~inner].max(1))


def _share(scores: Vectors, room: list[int]) -> Rows:
    """The target (n,) of each row of scores (n, C): the best that has room left, which it gives to the best rows."""
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


def _along(vectors: Vectors) -> Rows:
    """Order (n,) along the direction in which the vectors differ most, so that neighbours are alike."""
    centred = vectors - vectors.mean(0)
    axis = centred[np.argmax((centred**2).sum(1))]
    for _ in range(5):  # power iteration
        axis = centred.T @ (centred @ axis)
        axis = axis / max(float(np.linalg.norm(axis)), 1e-12)
    return np.argsort(centred @ axis, kind="stable")
