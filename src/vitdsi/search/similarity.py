"""How similar the pictures of two images are, by their thumbnails and vectors."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from vitdsi.backbones.features import are_pixels, pooled
from vitdsi.errors import UsageError
from vitdsi.search.turned import orientations, turn_free
from vitdsi.state import IndexState

__all__ = ["NEAR_IDENTICAL_SIMILARITY", "Similarity"]

NEAR_IDENTICAL_SIMILARITY = 1.04  # images at least this similar are near-identical; see EXPERIMENTS.md

_COSINE_WEIGHT = 0.2  # of the cosine of the vectors, beside the correlation of the thumbnails
_TURNED_TERM = 0.065  # takes the place of that term for turned copies, whose vectors are not near
_TURNED_COSINE = (
    0.6  # of `turn_free` descriptors, below which pictures are not compared in turned orientations
)
_PATCH_SIDE = 16  # pixels; crops are scaled to patches of this side before they are correlated
_SMALLEST_CROP_SIDE = 0.76  # relative to the whole thumbnail; 0.58 of its area
_CROP_SIDE_STEP = 0.02  # between the sides of crops that are tried, relative to the whole thumbnail
_CROP_SHIFT_STEP = 0.5 / 32  # between the positions of crops that are tried: half a pixel of a thumbnail
_COARSENESS = 2  # by which these steps are larger at first, for a sixth of the crops
_COARSE_MARGIN = (
    0.1  # by which the highest correlation may exceed that with coarse steps; at most .07 was measured
)
_CACHED_IMAGES = 512
_UPRIGHT = 2  # of the orientations that `orientations` returns, which come first


class Similarity:
    """How near two images of an index are to showing the same picture: at most 1.2.

    The similarity is the highest correlation of the thumbnail of one image, as it is or mirrored, with any crop of the
    thumbnail of the other, plus 0.2 times the cosine of their vectors in the model. Where the model keeps no vectors to
    compare, it is the cosine of their features less the mean of all (and 1 where the model reads pixels and has no
    features). Differences in brightness and contrast do not matter. If the correlation is higher with one of them
    turned by 90, 180 or 270 degrees, that correlation plus 0.065 is the similarity.

    Vectors say what a picture shows, which two photos of the same fish have in common. Whether one picture is a part
    of the other can only be seen by laying their pixels over one another. Of a turned copy the vectors say little.

    Args:
        state: the index; its images have the numbers of their ids.
        beside: features (n, *shape) and thumbnails (n, 32, 32) of further photos, which have the numbers N, N + 1, ...

    Raises:
        UsageError: if the index keeps no thumbnails, or neither features nor vectors of its images.
    """

    def __init__(self, state: IndexState, beside: tuple[Tensor, Tensor] | None = None) -> None:
        if state.thumbnails is None or not state.compares_copies:
            raise UsageError(
                "the index keeps no features or thumbnails, by which near-identical images are recognised; index the"
                " images again with --keep-features"
            )
        self._thumbnails = state.thumbnails.all()
        if beside is not None:
            self._thumbnails = torch.cat([self._thumbnails, beside[1]])
        self._vectors = _compared(state, None if beside is None else beside[0])
        self.turn_free = turn_free(self._thumbnails)
        self._patches = lru_cache(maxsize=2 * _CACHED_IMAGES)(self._make_patches)

    def at_least(self, pairs: npt.NDArray[np.int64], threshold: float) -> npt.NDArray[np.bool_]:
        """Return which pairs of ids (P, 2) have at least this similarity, as booleans (P,)."""
        cosines = np.ones(len(pairs), dtype=np.float32)
        if self._vectors is not None and len(pairs):
            cosines = (self._vectors[pairs[:, 0]] * self._vectors[pairs[:, 1]]).sum(1).numpy()
        needed = threshold - _COSINE_WEIGHT * cosines
        alike = (self.turn_free[pairs[:, 0]] * self.turn_free[pairs[:, 1]]).sum(1).numpy()
        needed_turned = np.where(alike >= _TURNED_COSINE, threshold - _TURNED_TERM, np.inf)
        # A correlation is at most 1, so most pairs are decided without computing any.
        reached = np.zeros(len(pairs), dtype=bool)
        for row in np.flatnonzero((needed <= 1) | (needed_turned <= 1)).tolist():
            least = np.array([needed[row], needed_turned[row]])
            first, second = pairs[row].tolist()
            coarse = self._correlations(first, second, _COARSENESS) >= least - _COARSE_MARGIN
            reached[row] = coarse.any() and (self._correlations(first, second, 1) >= least).any()
        return reached

    def _correlations(self, first: int, second: int, steps: int) -> npt.NDArray[np.float32]:
        """Return the highest correlations of the whole of one image with a crop of the other: upright, and turned.

        The steps between crops are `steps` times as large as the smallest.
        """
        first_crops, first_whole = self._patches(first, steps)
        second_crops, second_whole = self._patches(second, steps)
        best = torch.maximum((first_crops @ second_whole.T).amax(0), (second_crops @ first_whole.T).amax(0))
        return np.array([best[:_UPRIGHT].max(), best[_UPRIGHT:].max()])

    def _make_patches(self, number: int, steps: int) -> tuple[Tensor, Tensor]:
        """Return every crop of a thumbnail (C, 256), and the whole in all orientations (8, 256), standardised."""
        thumbnail = self._thumbnails[number].float()[None, None]
        grid = _crop_grid(steps)
        crops = F.grid_sample(
            thumbnail.expand(len(grid), -1, -1, -1), grid, padding_mode="border", align_corners=False
        )
        whole = F.adaptive_avg_pool2d(thumbnail, _PATCH_SIDE)[:, 0]
        return _standardise(crops.flatten(1)), _standardise(orientations(whole).flatten(1))


def _compared(state: IndexState, beside: Tensor | None) -> Tensor | None:
    """Return unit vectors of the images and of photos beside them (N + n, E); None if the model reads pixels.

    These are the vectors that the head keeps, and the embeddings of the photos: those parts of them that compare
    pictures. Where the head keeps none, they are features.
    """
    if state.reranks_by_default:
        vectors = state.model.head.vectors(torch.arange(len(state.image_ids))).detach().cpu()
        if beside is not None:
            vectors = torch.cat([vectors, state.model.embeddings(beside)])
        return F.normalize(vectors[:, : vectors.shape[1] - state.model.stem.categories], dim=1)
    features = state.features
    assert features is not None
    if are_pixels(features):
        return None
    if beside is not None:
        features = torch.cat([features, beside.to(features.dtype)])
    features = (features if features.dim() == 2 else pooled(features)).float()
    return F.normalize(features - features[state.trie.live_ids()].mean(0), dim=1)


@lru_cache(maxsize=2)
def _crop_grid(steps: int) -> Tensor:
    """Return the sampling grid (C, 16, 16, 2) of every crop that is tried, with `steps` times the smallest steps."""
    crops = []
    for side in np.arange(1.0, _SMALLEST_CROP_SIDE - 1e-9, -_CROP_SIDE_STEP * steps):
        offsets = np.linspace(0, 1 - side, round((1 - side) / (_CROP_SHIFT_STEP * steps)) + 1)
        crops += [(side, x, y) for y in offsets for x in offsets]
    affine = torch.zeros(len(crops), 2, 3)
    side, x, y = torch.tensor(crops, dtype=torch.float32).T
    affine[:, 0, 0] = affine[:, 1, 1] = side
    affine[:, 0, 2], affine[:, 1, 2] = 2 * x + side - 1, 2 * y + side - 1
    return F.affine_grid(affine, [len(crops), 1, _PATCH_SIDE, _PATCH_SIDE], align_corners=False)


def _standardise(patches: Tensor) -> Tensor:
    """Shift and scale each row (n, 256) to mean 0 and norm 1."""
    return F.normalize(patches - patches.mean(1, keepdim=True), dim=1, eps=1e-6)
