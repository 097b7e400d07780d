"""Views: what the model is shown of an image, clean or altered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vitdsi.photos.augment import augment


class Views(Protocol):
    """Model inputs of the images of a collection (and of extra queries), by row."""

    def clean(self, rows: Tensor) -> Tensor:
        """Inputs (B, *input_shape) of the images as they are."""

    def altered(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Inputs (B, *input_shape) of fresh alterations."""


@dataclass(frozen=True)
class FeatureViews:
    """Frozen features (Q, *shape) of the rows from `first` on, altered without another pass of the backbone.

    differences (D, *shape) are `features(altered copy) - features(image)`, measured on a few images; an alteration
    adds one of them to another image's features, scaled by 0 .. 1.5, and each of its numbers again by 0 .. 2.
    """

    features: Tensor
    differences: Tensor
    first: int = 0

    def clean(self, rows: Tensor) -> Tensor:
        """Features (B, *shape)."""
        return self.features[rows - self.first].float()

    def altered(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Features plus a transferred view difference; what a backbone gives as non-negative stays so."""
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
    """Pixels uint8 (Q, 3, S, S) of the rows from `first` on; alterations are random crops, flips and colours."""

    pixels: Tensor
    first: int = 0

    def clean(self, rows: Tensor) -> Tensor:
        """Pixels (B, 3, S, S) in 0..1."""
        return self.pixels[rows - self.first].float() / 255

    def altered(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Augmented pixels (B, 3, S, S) in 0..1."""
        return augment(self.clean(rows), generator)
