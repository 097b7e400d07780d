"""Stored features: as the inputs that the model reads, and as one vector for each image."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["pooled", "to_inputs"]


def to_inputs(features: Tensor) -> Tensor:
    """Turn stored features (N, *shape) into float32 model inputs. Pixels, stored as uint8, become values in 0..1."""
    return features.float() / 255 if features.dtype == torch.uint8 else features.float()


def pooled(features: Tensor) -> Tensor:
    """Return one float32 vector for each image, (N, F): pooled features themselves, or the mean of a map's cells."""
    return features.float() if features.dim() == 2 else features.float().mean(1)
