"""Random crops, flips and colour changes of a whole batch of tensors, for training on pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vitdsi.errors import UsageError
from vitdsi.photos.alter import check_ranges

__all__ = ["DRAWS", "augment", "augment_with"]

DRAWS = 7  # random numbers for each image

_LUMA = (0.299, 0.587, 0.114)


def augment(
    images: Tensor,
    generator: torch.Generator,
    *,
    crop: tuple[float, float] = (0.6, 1.0),
    flip: bool = True,
    jitter: float = 0.2,
) -> Tensor:
    """Alter each image of a batch as `alter.altered_copy` does, but without the JPEG compression.

    Args:
        images: floating point (B, 3, S, S) with values in 0..1; they are not changed.
        generator: the source of randomness. It always advances by seven draws per image, whatever the other arguments,
            and may be on another device than the images.
        crop: range of the share of the area that is kept. Position uniform, aspect ratio kept.
        flip: whether to mirror half of the images.
        jitter: brightness, contrast and saturation are each scaled by a factor uniform in 1 ± jitter.

    Returns:
        A new tensor of the same shape, type and device with values in 0..1.

    Raises:
        UsageError: a wrong shape or type, a crop range outside (0, 1], or a jitter outside [0, 1].
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise UsageError(
            f"{images.dtype} {tuple(images.shape)}: augment takes floating point images (B, 3, S, S)"
        )
    check_ranges(crop, jitter)
    draws = torch.rand((DRAWS, len(images)), generator=generator, device=generator.device)
    draws = draws.to(device=images.device, dtype=images.dtype)
    return augment_with(images, draws, crop=crop, flip=flip, jitter=jitter)


def augment_with(
    images: Tensor,
    draws: Tensor,
    *,
    crop: tuple[float, float] = (0.6, 1.0),
    flip: bool = True,
    jitter: float = 0.2,
) -> Tensor:
    """Alter images (B, 3, S, S) as `augment` does, with given random numbers (DRAWS, B), uniform in 0..1.

    The arguments are not checked, and nothing is copied from the CPU, so that the work can be captured in a CUDA graph.
    """
    if not len(images):
        return images.clone()
    scale = (crop[0] + draws[0] * (crop[1] - crop[0])).sqrt()
    mirror = torch.where(draws[3] < 0.5, -1.0, 1.0) if flip else torch.ones_like(scale)

    # In the coordinates of grid_sample the image spans -1..1, so a crop of side `scale` can move by 1 - scale.
    theta = images.new_zeros(len(images), 2, 3)
    theta[:, 0, 0] = scale * mirror
    theta[:, 1, 1] = scale
    theta[:, :, 2] = ((2 * draws[1:3] - 1) * (1 - scale)).T
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    views = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)

    # Brightness b, then contrast c around the mean grey, then saturation s make up one affine map of colours:
    # x -> b c (s I + (1 - s) grey) x + b (1 - c) mean grey, because the saturation leaves a grey offset unchanged.
    b, c, s = (1 + jitter * (2 * draws[4:] - 1)).unbind()
    luma = torch.stack([images.new_full((), weight) for weight in _LUMA])
    flat = views.flatten(2)
    mean = flat.mean(2) @ luma
    saturation = s[:, None, None] * torch.eye(3, dtype=images.dtype, device=images.device)
    matrix = (b * c)[:, None, None] * (saturation + (1 - s)[:, None, None] * luma.expand(3, 3))
    offset = (b * (1 - c) * mean)[:, None, None]
    return torch.baddbmm(offset, matrix, flat).clamp_(0, 1).view_as(images)
