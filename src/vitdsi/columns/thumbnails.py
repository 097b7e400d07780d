"""Thumbnails: a small grey picture of each image, by which near-identical images are recognised, in 182 bytes.

A picture of 32 x 32 pixels is stored as its mean and the lower frequencies of its discrete cosine transform. The lowest
of them have 8 bits each and the others 4, on scales that are finer near zero. EXPERIMENTS.md has the evidence that this
is enough.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from vitdsi.columns.segments import Array, Column, Ids

__all__ = ["THUMBNAIL_BYTES", "Thumbnails"]

THUMBNAIL_BYTES = 182
"""The mean, two scales, the fine numbers, and the coarse ones in pairs."""

_SIDE = 32
_FIRST_COARSE, _FIRST_DROPPED = 10, 24  # sums of the vertical and the horizontal frequency
_LEVELS = (127, 7)  # of the absolute values: of fine numbers, and of coarse ones
_POWER = 0.7  # of a coefficient, before it is rounded
_BLOCK = 4096  # pictures that are transformed together


class Thumbnails:
    """The thumbnails of N images.

    Attributes:
        rows: what is stored of each, (N, 182) uint8.
    """

    def __init__(self, rows: Column) -> None:
        """Take ownership of what is stored. Use `of` instead."""
        self.rows = rows

    @classmethod
    def of(cls, thumbnails: Tensor) -> Thumbnails:
        """Return grey pictures (N, 32, 32) uint8 as thumbnails."""
        return cls(Column([_packed(thumbnails)]))

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, ids: Ids) -> Tensor:
        """Return the pictures (n, 32, 32) uint8 of these ids, nearly as they were."""
        return _unpacked(self.rows.at(ids))

    def all(self) -> Tensor:
        """Return all pictures (N, 32, 32) uint8, nearly as they were."""
        return self.at(np.arange(len(self)))

    def joined(self, more: Tensor) -> Thumbnails:
        """Return these thumbnails, then more pictures (n, 32, 32)."""
        return Thumbnails(self.rows.joined(_packed(more)))

    def take(self, ids: Ids) -> Thumbnails:
        """Return the thumbnails of these ids, in their order."""
        return Thumbnails(self.rows.take(ids))


def _packed(thumbnails: Tensor) -> Array:
    """Pictures (n, 32, 32) uint8 -> (n, 182) uint8: the mean, two scales, fine numbers, and pairs of coarse ones."""
    rows = [np.empty((0, THUMBNAIL_BYTES), np.uint8)]
    transform, groups, weights = _basis()
    for part in torch.split(thumbnails, _BLOCK):
        frequencies = transform @ part.numpy().astype(np.float32) @ transform.T
        scales, numbers = [], []
        for group, levels in zip(groups, _LEVELS, strict=True):
            values = frequencies[:, group[0], group[1]]
            values = np.sign(values) * np.abs(values * weights[group[0], group[1]]) ** _POWER
            scale = (np.abs(values).max(1, keepdims=True) / levels).astype(np.float16)
            scales.append(scale)
            rounded = np.rint(values / np.maximum(scale.astype(np.float32), 1e-6))
            numbers.append(np.clip(rounded, -levels, levels).astype(np.int8))
        fine, coarse = numbers
        coarse = np.pad(coarse + 8, ((0, 0), (0, coarse.shape[1] % 2))).astype(np.uint8)
        mean = np.rint(frequencies[:, 0, 0] / _SIDE).astype(np.uint8)[:, None]
        scale_bytes = np.hstack(scales).view(np.uint8)
        rows.append(
            np.hstack([mean, scale_bytes, fine.view(np.uint8), coarse[:, ::2] << 4 | coarse[:, 1::2]])
        )
    packed: Array = np.concatenate(rows)
    return packed


def _unpacked(rows: Array) -> Tensor:
    """The inverse of `_packed`, but for what was rounded."""
    pictures = torch.empty(len(rows), _SIDE, _SIDE, dtype=torch.uint8)
    transform, groups, weights = _basis()
    count = groups[0].shape[1]
    for start in range(0, len(rows), _BLOCK):
        part = rows[start : start + _BLOCK]
        scales = np.ascontiguousarray(part[:, 1:5]).view(np.float16).astype(np.float32)
        pairs = part[:, 5 + count :]
        coarse = np.stack([pairs >> 4, pairs & 15], axis=2).reshape(len(part), -1).astype(np.float32) - 8
        fine = np.ascontiguousarray(part[:, 5 : 5 + count]).view(np.int8).astype(np.float32)
        frequencies = np.zeros((len(part), _SIDE, _SIDE), np.float32)
        frequencies[:, 0, 0] = part[:, 0].astype(np.float32) * _SIDE
        for group, scale, numbers in zip(groups, scales.T, (fine, coarse), strict=True):
            values = numbers[:, : group.shape[1]] * scale[:, None]
            values = np.sign(values) * np.abs(values) ** (1 / _POWER) / weights[group[0], group[1]]
            frequencies[:, group[0], group[1]] = values
        found = np.clip(np.rint(transform.T @ frequencies @ transform), 0, 255).astype(np.uint8)
        pictures[start : start + len(part)] = torch.from_numpy(found)
    return pictures


@lru_cache(maxsize=1)
def _basis() -> tuple[Array, tuple[Array, Array], Array]:
    """Return the orthonormal transform (32, 32), the places (2, n) of fine and coarse numbers, and weights (32, 32)."""
    places = np.arange(_SIDE)
    transform = np.cos(np.pi * (places + 0.5) * places[:, None] / _SIDE) * np.sqrt(2 / _SIDE)
    transform[0] = np.sqrt(1 / _SIDE)
    total = places[:, None] + places
    fine = np.stack(np.nonzero((total > 0) & (total < _FIRST_COARSE)))
    coarse = np.stack(np.nonzero((total >= _FIRST_COARSE) & (total < _FIRST_DROPPED)))
    weights = np.maximum(np.hypot(places[:, None], places), 1)
    return transform.astype(np.float32), (fine, coarse), weights.astype(np.float32)
