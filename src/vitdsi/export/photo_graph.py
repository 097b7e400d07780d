"""The ONNX graph that makes the square of a photo which `read.onnx` reads: crop and antialiased resize."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from vitdsi.errors import UsageError
from vitdsi.export.graphs import write_graph

__all__ = ["PHOTO", "write_photo_graph"]

PHOTO = "photo.onnx"


def _triangle(x: Tensor) -> Tensor:
    return (1 - x).clamp(min=0)


def _cubic(x: Tensor) -> Tensor:
    """Return the cubic filter of Pillow, a = -0.5, for distances x >= 0."""
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, far * (x < 2))


_FILTERS = {Image.Resampling.BILINEAR: _triangle, Image.Resampling.BICUBIC: _cubic}


class _Square(nn.Module):
    """Two products with the weights of the resize, of the columns and then of the rows, each rounded as in Pillow.

    ONNX has an operation for this, but it cuts only whole pixels out of a photo, and half of one matters.
    """

    def __init__(self, size: int, resample: Image.Resampling) -> None:
        super().__init__()
        self.size, self.filter = size, _FILTERS[resample]

    def forward(self, photo: Tensor, box: Tensor) -> Tensor:
        pixels = photo[..., :3].float()
        left, top, right, bottom = box.unbind()
        columns = _to_bytes(self._weights(left, right, pixels.shape[1]) @ pixels)  # (height, S, 3)
        rows = self._weights(top, bottom, pixels.shape[0]) @ columns.flatten(1)
        square = _to_bytes(rows).reshape(self.size, self.size, 3)
        return square.permute(2, 0, 1)[None].to(torch.uint8)

    def _weights(self, start: Tensor, end: Tensor, length: int) -> Tensor:
        """Return the weights (S, length) of the pixels of a side for those between two places of it."""
        scale = (end - start) / self.size
        centres = start + (torch.arange(self.size) + 0.5) * scale
        distances = (torch.arange(length) + 0.5 - centres[:, None]).abs() / scale.clamp(min=1)
        weights = self.filter(distances)
        return weights / weights.sum(1, keepdim=True)


def _to_bytes(values: Tensor) -> Tensor:
    return (values + 0.5).floor().clamp(0, 255)


def write_photo_graph(folder: Path, size: int, resample: Image.Resampling) -> None:
    """Write the graph from `photo` (height, width, 4), uint8, to `pixels` (1, 3, size, size), uint8.

    The float input `box` (4) is the rectangle (left, top, right, bottom) that is cut out and resized as by Pillow:
    values differ by 1 at most.

    Raises:
        UsageError: the graph of another filter than two is not known.
    """
    if resample not in _FILTERS:
        raise UsageError(
            f"the backbone resizes photos with {resample.name.lower()}, which the page cannot; leave out --web"
        )
    inputs = {"photo": torch.zeros(5, 4, 4, dtype=torch.uint8), "box": torch.tensor([0.0, 0.5, 4.0, 4.5])}
    dynamic = {"photo": {0: "height", 1: "width"}}
    write_graph(folder / PHOTO, _Square(size, resample), inputs, ["pixels"], dynamic)
