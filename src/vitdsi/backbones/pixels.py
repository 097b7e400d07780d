"""The backbone of the stem `pixels`: no network, the features are the pixels themselves."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

__all__ = ["PixelBackbone"]


class PixelBackbone:
    """A backbone whose features are uint8 pixels (3, S, S). They are never cached.

    Args:
        image_size: S, the side of the square in pixels.
    """

    name = "pixels"
    resample = Image.Resampling.BICUBIC
    dtype = torch.uint8
    weights = None

    def __init__(self, image_size: int) -> None:
        self.image_size = image_size
        self.shapes = {"pixels": (3, image_size, image_size)}

    def features(self, pixels: Tensor, kind: str) -> Tensor:
        """Return the pixels as they are."""
        return pixels

    def cache_key(self) -> None:
        """Decoding is all there is to save, so nothing is cached."""
        return None

    def to(self, device: torch.device) -> PixelBackbone:
        """There are no weights to move."""
        return self

    def parameters(self) -> tuple[Tensor, ...]:
        """There are no weights."""
        return ()
