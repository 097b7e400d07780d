"""A toy backbone, made by the recipe in CONTRIBUTING.md; shared by the tests that read photos without a network."""

from __future__ import annotations

from typing import ClassVar

import torch
from PIL import Image
from torch import Tensor

from vitdsi.backbones.base import weights_hash


class ToyBackbone:
    """The mean colours of the four quarters of a photo, times a weight: `map` (4, 3), and their mean, `pooled` (3,)."""

    name = "toy"
    image_size = 16
    resample = Image.Resampling.BICUBIC
    shapes: ClassVar = {"pooled": (3,), "map": (4, 3)}
    dtype = torch.float16
    weight = 1.0
    seen = 0  # photos of all instances
    stop_after: int | None = None  # photos

    def features(self, pixels: Tensor, kind: str) -> Tensor:
        if ToyBackbone.seen == ToyBackbone.stop_after:
            raise KeyboardInterrupt
        ToyBackbone.seen += len(pixels)
        colours = torch.nn.functional.adaptive_avg_pool2d(pixels.float() / 255, 2).flatten(2).transpose(1, 2)
        return self.weight * (colours.mean(1) if kind == "pooled" else colours)

    @property
    def weights(self) -> str:
        return weights_hash({"weight": torch.tensor(self.weight)})

    def cache_key(self) -> str:
        return f"{self.name}-{self.weights}-{self.image_size}-v1"

    def to(self, device: torch.device) -> ToyBackbone:
        return self

    def parameters(self) -> tuple[Tensor, ...]:
        return (torch.tensor(self.weight),)
