"""The preprocessing of a model of `transformers`, as the configuration of its image processor describes it."""

from __future__ import annotations

import hashlib
from dataclasses import astuple, dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vitdsi.errors import ConfigError

__all__ = ["Preprocessing"]

_VERSION = 1  # of this file and of the way photos are decoded and squared
# ConvNeXt's processor enlarges a size below this one by 1 / crop_pct, and crops the centre.
_CROPPED_BELOW = 384


@dataclass(frozen=True)
class Preprocessing:
    """Turns squares of photos into what a model reads.

    The shorter side of a photo is scaled to `image_size`, and the centre of the side `crop` is cut out. A processor
    that distorts photos to a square (`size` with `height` and `width`) reads the centre square of the same size
    instead, which is the same for square photos.

    Attributes:
        image_size: side in pixels of the squares that are read.
        crop: side in pixels of the centre that the model sees.
        resample: the filter with which photos are scaled.
        scale: factor on the values 0..255.
        mean, std: of each channel, which the scaled values are normalised with.
        bgr: whether the model expects blue first.
    """

    image_size: int
    crop: int
    resample: Image.Resampling
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr: bool

    @classmethod
    def of(cls, processor: Any, name: str) -> Preprocessing:
        """Read the values of an image processor of `transformers`.

        Raises:
            ConfigError: it does not make squares.
        """
        crop = None
        side = _side(processor.size, name)
        if getattr(processor, "do_center_crop", False):
            crop = _side(processor.crop_size, name)
        elif getattr(processor, "crop_pct", None) and side < _CROPPED_BELOW:
            side, crop = int(side / processor.crop_pct), side
        normalised = getattr(processor, "do_normalize", True)
        return cls(
            image_size=side if crop is None else max(side, crop),
            crop=crop or side,
            resample=Image.Resampling(int(getattr(processor, "resample", None) or Image.Resampling.BILINEAR)),
            scale=float(processor.rescale_factor) if getattr(processor, "do_rescale", True) else 1.0,
            mean=_three(processor.image_mean) if normalised else (0.0, 0.0, 0.0),
            std=_three(processor.image_std) if normalised else (1.0, 1.0, 1.0),
            bgr=bool(getattr(processor, "do_flip_channel_order", False)),
        )

    def __call__(self, pixels: Tensor) -> Tensor:
        """Turn uint8 pixels (B, 3, S, S), where S is `image_size`, into float32 (B, 3, `crop`, `crop`)."""
        start = (self.image_size - self.crop) // 2
        pixels = pixels[..., start : start + self.crop, start : start + self.crop]
        mean, std = (
            torch.tensor(values, device=pixels.device).view(3, 1, 1) for values in (self.mean, self.std)
        )
        normalised = (pixels.float() * self.scale - mean) / std
        return normalised.flip(1) if self.bgr else normalised

    def key(self) -> str:
        """Return 8 hexadecimal digits that identify the values."""
        return hashlib.blake2b(repr((_VERSION, *astuple(self))).encode(), digest_size=4).hexdigest()


def _side(size: Any, name: str) -> int:
    """Return the side in pixels that a size of an image processor gives to a square photo."""
    sides = {
        int(value) for key, value in dict(size or {}).items() if key in ("height", "width", "shortest_edge")
    }
    if len(sides) != 1:
        raise ConfigError(
            f"model.backbone is {name!r}, whose image processor has the size {dict(size or {})}; give a model that"
            " reads squares"
        )
    return sides.pop()


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
