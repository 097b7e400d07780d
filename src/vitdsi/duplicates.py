"""Near-identical images of a collection: cropped, mirrored, brighter or compressed copies of one another.

The model proposes, thumbnails decide. Two images are compared only where each is among the results of the other, so
nothing grows with the square of the collection. Features say what is in a picture, which two photos of one fish
share; whether one picture is a part of the other shows where their pixels lie on one another.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from vitdsi.build import summary
from vitdsi.errors import UsageError
from vitdsi.ranking import rankings, search_inputs
from vitdsi.storage import Stored
from vitdsi.trie import Trie

NEAR_IDENTICAL = 1.04  # similarity, of at most 1.2; see EXPERIMENTS.md

_PROPOSED = 10  # results of each image that are looked at
_LOOKED_AT = 3  # results for each that is wanted, where near-identical ones are left out
_OF_FEATURES = 0.2  # weight of the features' cosine beside the thumbnails' correlation
_SHRINKAGE = 0.1
_SIDE = 16  # of the patches that are correlated
_SMALLEST = 0.76  # side of a crop, relative to the whole: 0.58 of the area
_SCALES, _SHIFT = 0.02, 0.5 / 32  # steps between crops that are tried


class Similarity:
    """How near two images of an index are to being the same picture: at most 1.2.

    The best correlation of one thumbnail, as it is or mirrored, with any crop of the other, plus 0.2 times the cosine
    of their whitened features (pixel stems have none, and get 0.2). Brightness and contrast do not count.

    Raises:
        UsageError: the index keeps no thumbnails.
    """

    def __init__(self, stored: Stored) -> None:
        if stored.thumbnails is None or stored.inputs is None:
            raise UsageError("the index keeps no tokens, which duplicates are told by; index the images anew")
        self.thumbnails = stored.thumbnails
        self.features: Tensor | None = None
        if stored.config.model.stem != "pixels":
            self.features = _whitened(summary(stored.inputs), stored.trie.live_ids())
        self._crops = lru_cache(maxsize=512)(self._crops_of)

    def above(self, pairs: npt.NDArray[np.int64], threshold: float) -> npt.NDArray[np.bool_]:
        """Which pairs (P, 2) of ids are at least `threshold` similar."""
        cosines = np.ones(len(pairs), dtype=np.float32)
        if self.features is not None and len(pairs):
            cosines = (self.features[pairs[:, 0]] * self.features[pairs[:, 1]]).sum(1).numpy()
        needed = threshold - _OF_FEATURES * cosines
        # a correlation is at most 1, so most pairs need not be compared
        reached = [
            least <= 1 and self._correlation(first, second) >= least
            for (first, second), least in zip(pairs.tolist(), needed, strict=True)
        ]
        return np.array(reached, dtype=bool)

    def _correlation(self, first: int, second: int) -> float:
        crops, whole = self._crops(first)
        other_crops, other_whole = self._crops(second)
        return max(float((crops @ other_whole.T).max()), float((other_crops @ whole.T).max()))

    def _crops_of(self, number: int) -> tuple[Tensor, Tensor]:
        """Every crop of a thumbnail (C, 256), and the whole as it is and mirrored (2, 256), of mean 0 and norm 1."""
        thumbnail = self.thumbnails[number].float()[None, None]
        grid = _grid()
        crops = F.grid_sample(
            thumbnail.expand(len(grid), -1, -1, -1), grid, padding_mode="border", align_corners=False
        )
        whole = F.adaptive_avg_pool2d(thumbnail, _SIDE)[:, 0]
        return _normed(crops.flatten(1)), _normed(torch.cat([whole, whole.flip(2)]).flatten(1))


def near_identical(stored: Stored, threshold: float = NEAR_IDENTICAL) -> list[list[int]]:
    """Groups of ids that are near-identical, directly or by a chain; larger groups first.

    Raises:
        UsageError: the index keeps no tokens.
    """
    similarity = Similarity(stored)
    live = stored.trie.live_ids()
    if len(live) < 2:
        return []
    assert stored.inputs is not None
    found = rankings(stored, stored.inputs[live], min(_PROPOSED + 1, len(live)))
    results = {i: set(row.tolist()) for i, row in zip(live.tolist(), found, strict=True)}
    mutual = sorted({(i, j) for i, row in results.items() for j in row if i < j and i in results.get(j, ())})
    pairs = np.array(mutual, dtype=np.int64).reshape(-1, 2)
    return joined(pairs[similarity.above(pairs, threshold)])


def search_distinct(
    stored: Stored,
    inputs: Tensor,
    k: int,
    similarity: Similarity,
    *,
    within: Trie | None = None,
    beam_size: int | None = None,
    rerank: bool | None = None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """As `ranking.search_inputs`, without results that are near-identical to a better one; -1 and 0 where too few are
    left. Looks at more results until there are k, or none left."""
    ids = np.full((len(inputs), k), -1, dtype=np.int64)
    scores = np.zeros((len(inputs), k), dtype=np.float32)
    for row, one in enumerate(torch.split(inputs, 1)):
        wanted, best = k, list[int]()
        while len(best) < k:
            wanted *= _LOOKED_AT
            beam = None if beam_size is None else max(beam_size, wanted)
            found, probable = search_inputs(stored, one, wanted, within=within, beam_size=beam, rerank=rerank)
            best = first_of_each(found[0].tolist(), k, similarity)
            if found.shape[1] < wanted:
                break
        at = np.isin(found[0], best)
        ids[row, : len(best)], scores[row, : len(best)] = best, probable[0, at]
    return ids, scores


def first_of_each(
    ids: list[int], k: int, similarity: Similarity, threshold: float = NEAR_IDENTICAL
) -> list[int]:
    """The first k ids of a ranking that are not near-identical to one before them."""
    kept: list[int] = []
    for i in ids:
        pairs = np.array([(j, i) for j in kept], dtype=np.int64).reshape(-1, 2)
        if not similarity.above(pairs, threshold).any():
            kept.append(i)
        if len(kept) == k:
            break
    return kept


def joined(pairs: npt.NDArray[np.int64]) -> list[list[int]]:
    """Connected groups of pairs (P, 2), each sorted; larger groups first."""
    group: dict[int, list[int]] = {}
    for first, second in pairs.tolist():
        one, other = group.setdefault(first, [first]), group.setdefault(second, [second])
        if one is not other:
            one += other
            for member in other:
                group[member] = one
    different = {id(members): sorted(members) for members in group.values()}
    return sorted(different.values(), key=lambda members: (-len(members), members))


def _whitened(features: Tensor, live: Tensor) -> Tensor:
    """Unit vectors (N, F) in which all directions of the live images vary alike: what is common counts less."""
    centred = features - features[live].mean(0)
    covariance = (centred[live].T @ centred[live] / len(live)).double()  # as in model/initialise.py
    values, axes = (part.float() for part in torch.linalg.eigh(covariance))
    values = values.clamp(min=0)
    return F.normalize(centred @ (axes * (values + _SHRINKAGE * values.mean() + 1e-12).rsqrt()), dim=1)


@lru_cache(maxsize=1)
def _grid() -> Tensor:
    """Sampling grid (C, 16, 16, 2) of every crop that is tried."""
    crops = []
    for side in np.arange(1.0, _SMALLEST - 1e-9, -_SCALES):
        places = np.linspace(0, 1 - side, round((1 - side) / _SHIFT) + 1)
        crops += [(side, x, y) for y in places for x in places]
    affine = torch.zeros(len(crops), 2, 3)
    side, x, y = torch.tensor(crops, dtype=torch.float32).T
    affine[:, 0, 0] = affine[:, 1, 1] = side
    affine[:, 0, 2], affine[:, 1, 2] = 2 * x + side - 1, 2 * y + side - 1
    return F.affine_grid(affine, [len(crops), 1, _SIDE, _SIDE], align_corners=False)


def _normed(patches: Tensor) -> Tensor:
    return F.normalize(patches - patches.mean(1, keepdim=True), dim=1, eps=1e-6)
