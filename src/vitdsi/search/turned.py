"""Turned copies: descriptors of thumbnails that stay the same when a picture is turned by 90 degrees or mirrored.

The features of a photo and of the same photo turned are not near each other, so a search with one does not find the
other. These descriptors are, and they cost no pass through the backbone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vitdsi.neighbours import Neighbours

__all__ = ["NUM_PROPOSED", "nearest_turned", "orientations", "turn_free"]

NUM_PROPOSED = 5  # images with the nearest descriptors, which are compared in turned orientations

_SIDE = 8  # pixels of the thumbnails that are described
_BLOCK = 16_384


def turn_free(thumbnails: Tensor) -> Tensor:
    """Describe grey thumbnails (N, S, S) by vectors (N, 96) that are the same for all 8 orientations of a picture.

    A quarter turn moves a pixel through the four pixels of its orbit. The Fourier transform over these four turns a
    rotation into a change of phase, which the absolute values do not show. A reflection exchanges two orbits, which
    their sum and the absolute value of their difference do not show. All of these change little where the picture
    changes little: each is Lipschitz continuous, as in scattering transforms (Mallat 2012).

    The vectors have no mean and norm 1 before the mean over the N thumbnails is taken off, without which all pictures
    would look alike. They are then scaled to norm 1 again.
    """
    blocks = torch.split(thumbnails, _BLOCK)  # bounds the memory for thumbnails as floats
    small = torch.cat([F.adaptive_avg_pool2d(block.float()[:, None], _SIDE)[:, 0] for block in blocks])
    small = small - small.mean((1, 2), keepdim=True)
    small = small / (small.flatten(1).norm(dim=1)[:, None, None] + 1e-6)
    half = _SIDE // 2
    a, b, c, d = (torch.rot90(small, turns, (1, 2))[:, :half, :half] for turns in range(4))
    constant = (a + b + c + d) / 2
    alternating = ((a - b + c - d) / 2).abs()
    turning = ((a - c).square() + (b - d).square()).sqrt()
    parts = []
    for part in (constant, alternating, turning):
        mirrored = part.transpose(1, 2)
        parts += [(part + mirrored) / 2, (part - mirrored).abs() / 2]
    vectors = torch.cat([part.flatten(1) for part in parts], dim=1)
    return F.normalize(vectors - vectors.mean(0), dim=1)


def nearest_turned(queries: Tensor, descriptors: Tensor, k: int = NUM_PROPOSED) -> Tensor:
    """Return the rows (Q, min(k, N)) of the descriptors (N, 96) that are nearest to each of these (Q, 96).

    Beyond some billions of pairs they are found approximately (see `vitdsi.neighbours.Neighbours`).
    """
    return Neighbours(descriptors, len(queries)).search(queries, k)[0]


def orientations(pictures: Tensor) -> Tensor:
    """Return pictures (1, S, S) in all 8 orientations (8, S, S): upright, mirrored, and then both turned thrice."""
    both = [pictures, pictures.flip(2)]
    return torch.cat(both + [torch.rot90(picture, turns, (1, 2)) for picture in both for turns in (1, 2, 3)])
