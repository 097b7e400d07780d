"""Backbones whose weights are whole multiples of a scale, so that int8 holds them, and whose features hardly change.

If each weight is rounded to the nearest multiple, the features change too much. GPTQ (Frantar et al. 2022, "GPTQ:
Accurate Post-Training Quantization for Generative Pre-trained Transformers") rounds the weights of one input after the
other, and changes those of the inputs that follow so that they make up for the error. Layers whose rounding still costs
too much keep their weights.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from vitdsi.backbones.base import Backbone
from vitdsi.backbones.reader import FeatureReader, decoding_threads
from vitdsi.errors import ImageReadError, UsageError
from vitdsi.photos.decode import load_square
from vitdsi.photos.find import find_images
from vitdsi.photos.load import load_many

__all__ = ["MOST_ERROR", "calibration_photos", "quantised", "rounded"]

MOST_ERROR = 0.004
"""How far features may move, relative to how far those of different photos lie apart."""

_MOST_PHOTOS, _LEAST_PHOTOS = 64, 8
_HELD_OUT = 4  # one of so many photos measures the error, and is not used to round
_STEPS = 127  # the largest multiple of a scale
_DAMPING = 0.01  # added to the Hessian, relative to the mean of its diagonal
_TINY = 1e-12  # against divisions by zero
_COLUMNS = 128  # whose errors are handed on together

_Layer: TypeAlias = nn.Linear | nn.Conv2d


def calibration_photos(images: Path, reader: FeatureReader) -> Tensor:
    """Read at most 64 photos of a folder, at equal distances: uint8 (N, 3, S, S).

    Raises:
        UsageError: there is no such folder, or it has fewer than 8 photos that can be read.
    """
    paths = find_images(images)
    chosen = np.linspace(0, len(paths) - 1, min(len(paths), _MOST_PHOTOS)).round().astype(int)
    size, resample = reader.image_size, reader.backbone.resample
    loaded = load_many(
        [paths[place] for place in chosen],
        lambda _, source: load_square(source, size, resample),
        workers=decoding_threads(),
    )
    photos = [photo for _, photo in loaded if not isinstance(photo, ImageReadError)]
    if len(photos) < _LEAST_PHOTOS:
        raise UsageError(
            f"{images} has {len(photos)} photos that can be read, and int8 needs at least {_LEAST_PHOTOS}; give the"
            " folder that was indexed"
        )
    return torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2)


@torch.no_grad()
def quantised(backbone: Backbone, kind: str, pixels: Tensor, most_error: float = MOST_ERROR) -> Backbone:
    """Return a copy of a backbone with as many weights as possible that are whole multiples of a scale for each output.

    These are the weights of linear layers and of 1 x 1 convolutions. Each layer is rounded alone first, and photos that
    the rounding did not see show how far the features move. Then the layers that move them least for the number of
    their weights are rounded together, as many as the bound allows.

    Args:
        backbone: a backbone on the CPU.
        kind: the kind of features that the index reads.
        pixels: uint8 photos (N, 3, S, S), at least two, such as those that will be read. A quarter of them measures the
            error.
        most_error: the largest root mean square error of features, relative to their standard deviation among photos.
    """
    made = copy.deepcopy(backbone)
    held_out = torch.arange(len(pixels)) % _HELD_OUT == 0
    measured, seen = pixels[held_out], pixels[~held_out]
    features = _features(made, kind, measured)
    spread = (features - features.mean(0)).square().sum()

    def squared_error() -> float:
        return float((_features(made, kind, measured) - features).square().sum() / spread)

    hessians = _hessians(made, kind, seen)
    exact = {layer: layer.weight.clone() for layer in hessians}
    small = {
        layer: rounded(layer.weight.flatten(1), each).view_as(layer.weight)
        for layer, each in hessians.items()
    }
    cost = {}
    for layer in small:
        layer.weight.copy_(small[layer])
        cost[layer] = squared_error() / layer.weight.numel()
        layer.weight.copy_(exact[layer])
    order = sorted(cost, key=cost.__getitem__)

    def round_first(count: int) -> None:
        for place, layer in enumerate(order):
            layer.weight.copy_((small if place < count else exact)[layer])

    fits, too_many = 0, len(order) + 1
    while too_many - fits > 1:
        count = (fits + too_many) // 2
        round_first(count)
        if squared_error() <= most_error**2:
            fits = count
        else:
            too_many = count
    round_first(fits)
    return made


def rounded(weight: Tensor, hessian: Tensor) -> Tensor:
    """Round a matrix to whole multiples of a scale for each of its rows, with GPTQ.

    Args:
        weight: float32 (R, C).
        hessian: x x^T (C, C), summed over inputs x.

    Returns:
        A matrix of multiples from -127 to 127, whose products with such inputs are nearly the same.
    """
    order = hessian.diagonal().argsort(descending=True)  # the largest inputs first
    hessian = hessian[order][:, order]
    hessian += torch.eye(len(hessian)) * (_DAMPING * hessian.diagonal().mean() + _TINY)
    factor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(hessian)), upper=True)
    scale = (weight.abs().amax(1) / _STEPS).clamp(min=_TINY)
    left, made = weight[:, order], torch.empty_like(weight)
    for start in range(0, len(order), _COLUMNS):
        block = slice(start, start + _COLUMNS)
        columns, rows = left[:, block], factor[block, block]
        errors = torch.empty_like(columns)
        for at, row in enumerate(rows):
            nearest = (columns[:, at] / scale).round().clamp(-_STEPS, _STEPS) * scale
            made[:, order[start + at]] = nearest
            errors[:, at] = (columns[:, at] - nearest) / row[at]
            columns[:, at:] -= errors[:, at, None] * row[at:]
        left[:, start + _COLUMNS :] -= errors @ factor[block, start + _COLUMNS :]
    return made


def _features(backbone: Backbone, kind: str, pixels: Tensor) -> Tensor:
    return torch.cat([backbone.features(photo[None], kind).float().flatten(1) for photo in pixels])


def _hessians(backbone: Backbone, kind: str, pixels: Tensor) -> dict[_Layer, Tensor]:
    """Return x x^T (C, C), summed over the inputs x, of each layer that can be rounded and is run."""
    found: dict[_Layer, Tensor] = {}

    def add(layer: _Layer, inputs: tuple[Tensor]) -> None:
        x = inputs[0].transpose(1, -1) if isinstance(layer, nn.Conv2d) else inputs[0]
        x = x.flatten(0, -2)
        found[layer] = found.get(layer, 0) + x.T @ x

    networks = [backbone] if isinstance(backbone, nn.Module) else vars(backbone).values()
    hooks = [
        layer.register_forward_pre_hook(add)
        for network in networks
        if isinstance(network, nn.Module)
        for layer in network.modules()
        if isinstance(layer, nn.Linear)
        or (isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and layer.groups == 1)
    ]
    try:
        _features(backbone, kind, pixels)
    finally:
        for hook in hooks:
            hook.remove()
    return found
