"""Stored features: as the inputs that the model reads, and as one vector for each image."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["are_pixels", "from_inputs", "pooled", "to_inputs"]


def are_pixels(features: Tensor) -> bool:
    """Return whether stored features are pixels, which are stored as uint8, and not the output of a network."""
    return features.dtype == torch.uint8


def to_inputs(features: Tensor) -> Tensor:
    """Turn stored features (N, *shape) into float32 model inputs. Pixels, stored as uint8, become values in 0..1."""
    return features.float() / 255 if are_pixels(features) else features.float()


def from_inputs(inputs: Tensor, features: Tensor) -> Tensor:
    """Turn float32 model inputs (n, *shape) into what would be stored of them beside `features` (N, *shape)."""
    return (inputs * 255).round().byte() if are_pixels(features) else inputs.to(features.dtype)


def pooled(features: Tensor) -> Tensor:
    """Return one float32 vector for each image, (N, F): pooled features themselves, or the mean of a map's cells."""
    return features.float() if features.dim() == 2 else features.float().mean(1)
