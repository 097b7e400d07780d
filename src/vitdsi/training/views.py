"""Views: clean and altered model inputs of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vitdsi.photos.augment import augment

_HARD_SHARE = 0.5  # of altered views that are hard views, of images that have any


class Views(Protocol):
    """Model inputs of the images of a collection and of further photos, by row."""

    def clean(self, rows: Tensor) -> Tensor:
        """Return the inputs (B, *input_shape) of unaltered images."""

    def altered(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return inputs (B, *input_shape) with new random alterations."""


@dataclass(frozen=True)
class FeatureViews:
    """Views of frozen features, altered without another pass of the backbone.

    An alteration adds the difference that was measured on some image to the features of another image, scaled by a
    factor uniform in 0..1.5, and each component by a further factor uniform in 0..2. Half of the altered views of rows
    that have hard views are hard views.

    Attributes:
        features: (Q, *shape) features.
        differences: (D, *shape) features of an altered copy minus features of its image.
        rows: (Q,) the rows that these features belong to, ascending; None for 0, 1, ...
        hard: (H, V, *shape) features of hard views of the rows from `first_hard` on, or None.
        first_hard: the row of the first hard views.
    """

    features: Tensor
    differences: Tensor
    rows: Tensor | None = None
    hard: Tensor | None = None
    first_hard: int = 0

    def clean(self, rows: Tensor) -> Tensor:
        """Return the features (B, *shape)."""
        return self.features[_places(rows, self.rows)].float()

    def altered(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return hard views, and features with a transferred difference."""
        features = self._transferred(rows, generator)
        if self.hard is None:
            return features
        row = rows - self.first_hard
        has_hard = (
            (row >= 0) & (row < len(self.hard)) & (torch.rand(len(rows), generator=generator) < _HARD_SHARE)
        )
        view = torch.randint(self.hard.shape[1], (len(rows),), generator=generator)
        features[has_hard] = self.hard[row[has_hard], view[has_hard]].float()
        return features

    def _transferred(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return features (B, *shape) with a transferred difference; non-negative features stay non-negative."""
        features = self.clean(rows)
        if not len(self.differences):
            return features
        pick = torch.randint(len(self.differences), (len(rows),), generator=generator)
        strength = 1.5 * torch.rand(len(rows), *[1] * (features.dim() - 1), generator=generator)
        each = 2 * torch.rand(features.shape, generator=generator)
        moved = features + strength * each * self.differences[pick].float()
        return torch.where(features < 0, moved, moved.clamp(min=0))


@dataclass(frozen=True)
class PixelViews:
    """Views of pixels; alterations are random crops, flips and colour changes.

    Attributes:
        pixels: (Q, 3, S, S) uint8 pixels.
        rows: (Q,) the rows that these pixels belong to, ascending; None for 0, 1, ...
    """

    pixels: Tensor
    rows: Tensor | None = None

    def clean(self, rows: Tensor) -> Tensor:
        """Return pixels (B, 3, S, S) in 0..1."""
        return self.pixels[_places(rows, self.rows)].float() / 255

    def altered(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return augmented pixels (B, 3, S, S) in 0..1."""
        return augment(self.clean(rows), generator)


def _places(rows: Tensor, known: Tensor | None) -> Tensor:
    """Return where rows are among known ones, which are ascending."""
    return rows if known is None else torch.searchsorted(known, rows)
