"""How similar the pictures of two images are, by their thumbnails and features."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from vitdsi.backbones.features import are_pixels, pooled
from vitdsi.errors import UsageError
from vitdsi.state import IndexState

__all__ = ["NEAR_IDENTICAL_SIMILARITY", "Similarity"]

NEAR_IDENTICAL_SIMILARITY = 1.04  # images at least this similar are near-identical; see EXPERIMENTS.md

_FEATURE_WEIGHT = 0.2  # of the cosine of the features, beside the correlation of the thumbnails
_SHRINKAGE = 0.1  # added to the variances that features are whitened by, as a share of their mean
_PATCH_SIDE = 16  # pixels; crops are scaled to patches of this side before they are correlated
_SMALLEST_CROP_SIDE = 0.76  # relative to the whole thumbnail; 0.58 of its area
_CROP_SIDE_STEP = 0.02  # between the sides of crops that are tried, relative to the whole thumbnail
_CROP_SHIFT_STEP = 0.5 / 32  # between the positions of crops that are tried: half a pixel of a thumbnail
_CACHED_IMAGES = 512


class Similarity:
    """How near two images of an index are to showing the same picture: at most 1.2.

    The similarity is the highest correlation of the thumbnail of one image, as it is or mirrored, with any crop of the
    thumbnail of the other, plus 0.2 times the cosine of their whitened features (plus 0.2 where the model reads pixels
    and has no features). Differences in brightness and contrast do not matter.

    Features say what a picture shows, which two photos of the same fish have in common. Whether one picture is a part
    of the other can only be seen by laying their pixels over one another.

    Raises:
        UsageError: if the index keeps no features and thumbnails.
    """

    def __init__(self, state: IndexState) -> None:
        if state.thumbnails is None or state.features is None:
            raise UsageError(
                "the index keeps no features, by which near-identical images are recognised; index the images again"
            )
        self._thumbnails = state.thumbnails
        self._features: Tensor | None = None
        if not are_pixels(state.features):
            self._features = _whiten(pooled(state.features), state.trie.live_ids())
        self._patches = lru_cache(maxsize=_CACHED_IMAGES)(self._make_patches)

    def at_least(self, pairs: npt.NDArray[np.int64], threshold: float) -> npt.NDArray[np.bool_]:
        """Return which pairs of ids (P, 2) have at least this similarity, as booleans (P,)."""
        cosines = np.ones(len(pairs), dtype=np.float32)
        if self._features is not None and len(pairs):
            cosines = (self._features[pairs[:, 0]] * self._features[pairs[:, 1]]).sum(1).numpy()
        needed = threshold - _FEATURE_WEIGHT * cosines
        # A correlation is at most 1, so most pairs are decided without computing it.
        reached = [
            correlation <= 1 and self._correlation(first, second) >= correlation
            for (first, second), correlation in zip(pairs.tolist(), needed, strict=True)
        ]
        return np.array(reached, dtype=bool)

    def _correlation(self, first: int, second: int) -> float:
        """Return the highest correlation of the whole of one image with a crop of the other."""
        first_crops, first_whole = self._patches(first)
        second_crops, second_whole = self._patches(second)
        return max(float((first_crops @ second_whole.T).max()), float((second_crops @ first_whole.T).max()))

    def _make_patches(self, number: int) -> tuple[Tensor, Tensor]:
        """Return every crop of a thumbnail (C, 256), and the whole as it is and mirrored (2, 256), standardised."""
        thumbnail = self._thumbnails[number].float()[None, None]
        grid = _crop_grid()
        crops = F.grid_sample(
            thumbnail.expand(len(grid), -1, -1, -1), grid, padding_mode="border", align_corners=False
        )
        whole = F.adaptive_avg_pool2d(thumbnail, _PATCH_SIDE)[:, 0]
        return _standardise(crops.flatten(1)), _standardise(torch.cat([whole, whole.flip(2)]).flatten(1))


def _whiten(features: Tensor, live: Tensor) -> Tensor:
    """Return unit vectors (N, F) of features whose variance over the live images is nearly equal in all directions.

    What many images have in common then counts less.
    """
    centred = features - features[live].mean(0)
    # Double precision, because eigh in single precision can return NaN if there are duplicates.
    covariance = (centred[live].T @ centred[live] / len(live)).double()
    variances, axes = (part.float() for part in torch.linalg.eigh(covariance))
    variances = variances.clamp(min=0)
    scale = (variances + _SHRINKAGE * variances.mean() + 1e-12).rsqrt()
    return F.normalize(centred @ (axes * scale), dim=1)


@lru_cache(maxsize=1)
def _crop_grid() -> Tensor:
    """Return the sampling grid (C, 16, 16, 2) of every crop that is tried."""
    crops = []
    for side in np.arange(1.0, _SMALLEST_CROP_SIDE - 1e-9, -_CROP_SIDE_STEP):
        offsets = np.linspace(0, 1 - side, round((1 - side) / _CROP_SHIFT_STEP) + 1)
        crops += [(side, x, y) for y in offsets for x in offsets]
    affine = torch.zeros(len(crops), 2, 3)
    side, x, y = torch.tensor(crops, dtype=torch.float32).T
    affine[:, 0, 0] = affine[:, 1, 1] = side
    affine[:, 0, 2], affine[:, 1, 2] = 2 * x + side - 1, 2 * y + side - 1
    return F.affine_grid(affine, [len(crops), 1, _PATCH_SIDE, _PATCH_SIDE], align_corners=False)


def _standardise(patches: Tensor) -> Tensor:
    """Shift and scale each row (n, 256) to mean 0 and norm 1."""
    return F.normalize(patches - patches.mean(1, keepdim=True), dim=1, eps=1e-6)
