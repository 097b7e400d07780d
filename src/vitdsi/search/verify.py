"""Proof by geometry: whether a photo shows the same thing as an indexed image, point by point.

The keypoints of the query are matched with those of each candidate by the ratio test (Lowe 2004), and a homography
between the two is fitted to the matches with MAGSAC++ (Barath et al. 2020). The matches that agree with it are the
inliers. A plane in two photos, such as a painting, a book or a facade, has a homography between them; two photos that
only look alike have none that many matches agree with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vitdsi.errors import UsageError
from vitdsi.photos.decode import Source
from vitdsi.photos.keypoints import (
    QUERY_SIDE,
    SCALE,
    Keypoints,
    PhotoKeypoints,
    Vectors,
    detect_in_query,
    unpack,
)
from vitdsi.search.options import CANDIDATES, SearchOptions, SearchResult

if TYPE_CHECKING:
    from vitdsi.state import IndexState

__all__ = [
    "CERTAIN",
    "LIKELY",
    "VERIFIED_AT_ONCE",
    "Proof",
    "chosen_for_proof",
    "indexed_keypoints",
    "keypoints_for",
    "options_for_candidates",
    "prove",
    "score_with",
    "verified",
    "verify_results",
]

CERTAIN = 12
"""Inliers from which on a result is certain; EXPERIMENTS.md has the evidence."""

LIKELY = 8
"""Inliers from which on a result comes before those that only look alike."""

VERIFIED_AT_ONCE = 50
"""How many results are verified at first; those that follow are verified if none of these is likely."""

_RATIO = 0.85  # of the distances of the nearest and the second nearest point
_MIN_MATCHES = 10  # fewer matches are not worth a homography
_TOLERANCE = 4.0  # pixels
_ITERATIONS, _CONFIDENCE = 1000, 0.999
_MIN_AREA, _MAX_AREA = 0.003, 100.0  # of the outline, as a share of the query
_MAX_TILT = 3.0  # of the farthest corner's distance from the camera, relative to the nearest one's
_MIN_SPREAD = 0.02  # standard deviation of the inliers in their narrowest direction, as a share of the image
_SPOT = 0.01  # points that are nearer to each other count as one, as a share of the image

# The log-likelihood ratio of right and wrong candidates is nearly linear in their inliers: slope (in nats) and zero.
_EVIDENCE, _NEUTRAL = 1.3, 4.0
_HIGHEST_SCORE = 0.999

Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Proof:
    """What the keypoints say about a query and one indexed image.

    Attributes:
        inliers: the matches that agree with one homography, each spot counted once; 0 where there is none.
        outline: (4, 2) the corners of the indexed image in the query, from the upper left one clockwise, as shares of
            its width and height; None without inliers.
        matches: (n, 4) the positions of the inliers in the query and in the indexed image: x, y, x, y as shares.
    """

    inliers: int
    outline: Points | None
    matches: Points


_NOTHING = Proof(0, None, np.empty((0, 4)))


def keypoints_for(state: IndexState, options: SearchOptions) -> Keypoints | None:
    """Return the keypoints that a search with these options verifies its results by, or None if it does not.

    Raises:
        UsageError: `options.verify` is set, and the index has no keypoints.
    """
    if options.verify and state.keypoints is None:
        raise UsageError(
            "this index has no keypoints to verify results by; index the images again with keypoints"
        )
    return None if options.verify is False else state.keypoints


def options_for_candidates(options: SearchOptions) -> SearchOptions:
    """Return the options of the search whose results are verified: 50 or more of them, with any score.

    They are needed from the first one on, also for a later page (see `vitdsi.search.searcher.Searcher.search`).
    """
    k = max(options.k, VERIFIED_AT_ONCE)
    offset = max(0, options.offset + options.k - k)
    beam_size = None if options.beam_size is None else max(options.beam_size, offset + k)
    return replace(options, k=k, offset=offset, beam_size=beam_size, min_score=0.0)


def verify_results(
    keypoints: Keypoints,
    photo: Source | PhotoKeypoints,
    results: Sequence[SearchResult],
    options: SearchOptions,
) -> list[SearchResult]:
    """Return a page of the results of a query, the likely ones first, by their inliers, then the others as given.

    Args:
        keypoints: those of the indexed images.
        photo: the query, or its keypoints.
        results: its results with `options_for_candidates(options)`, from the first one on.
        options: k, offset, min_score and region are used here.

    Raises:
        ImageReadError: the photo cannot be read.
    """
    query = photo
    if not isinstance(query, PhotoKeypoints):
        query = detect_in_query(query)
    if options.region is not None:
        query = query.inside(options.region)
    return verified(results, lambda ids: prove(query, keypoints, ids), options)


def verified(
    results: Sequence[SearchResult], prove: Callable[[list[int]], list[Proof]], options: SearchOptions
) -> list[SearchResult]:
    """Return the page that `verify_results` does. `prove` returns what the keypoints say about images of these ids."""
    chosen, proofs = chosen_for_proof(results), dict[int, Proof]()
    for some in (chosen[:VERIFIED_AT_ONCE], chosen[VERIFIED_AT_ONCE:]):
        if some and not any(proof.inliers >= LIKELY for proof in proofs.values()):
            proofs |= zip(some, prove([results[place].id for place in some]), strict=True)
    found = [
        _with_proof(result, proofs[place]) if place in proofs else result
        for place, result in enumerate(results)
    ]
    found.sort(key=lambda result: min(0, LIKELY - 1 - (result.inliers or 0)))
    page = found[options.offset : options.offset + options.k]
    kept = [result for result in page if result.score >= options.min_score]
    return [replace(result, rank=place) for place, result in enumerate(kept, start=options.offset + 1)]


def chosen_for_proof(results: Sequence[SearchResult]) -> list[int]:
    """Return the places of the results that look most like the query, or of the first ones if that is not known."""
    alike = sorted(
        (result.picture_place, place)
        for place, result in enumerate(results)
        if result.picture_place is not None
    )
    chosen = [place for _, place in alike] if alike else list(range(len(results)))
    return chosen[:CANDIDATES]


def indexed_keypoints(state: IndexState, keypoints: Keypoints, number: int) -> PhotoKeypoints:
    """Return the keypoints of an indexed image, as those of a query."""
    descriptors, positions = keypoints.of_photo(number)
    facts = state.metadata.rows([number])[number]
    width, height = (_length(facts.get(name)) for name in ("width", "height"))
    scale = QUERY_SIDE / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return PhotoKeypoints(descriptors, positions, size)


def _length(value: object) -> float:
    """Return a width or a height, 1 where the metadata have none that can be one."""
    return float(value) if isinstance(value, (int, float)) and 1 <= value < math.inf else 1.0


def _with_proof(result: SearchResult, proof: Proof) -> SearchResult:
    if proof.inliers < LIKELY or proof.outline is None:
        return replace(result, inliers=proof.inliers)
    likely = replace(result, inliers=proof.inliers, score=score_with(result.score, proof.inliers))
    if proof.inliers < CERTAIN:
        return likely
    return replace(
        likely,
        certain=True,
        outline=tuple(map(tuple, proof.outline.tolist())),
        matches=tuple(map(tuple, proof.matches.tolist())),
    )


def prove(query: PhotoKeypoints, keypoints: Keypoints, images: Sequence[int]) -> list[Proof]:
    """Return what the keypoints say about a query and each of these indexed images."""
    described = unpack(query.descriptors)
    places = query.positions / SCALE
    proofs = []
    for image in images:
        descriptors, positions = keypoints.of_photo(image)
        ours, theirs = _matches(unpack(descriptors), described)
        if len(ours) < _MIN_MATCHES:
            proofs.append(_NOTHING)
        else:
            proofs.append(_geometry(positions[ours] / SCALE, places[theirs], query.size))
    return proofs


def _matches(image: Vectors, query: Vectors) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Match the points of an image (n, D) with those of a query (m, D): the positions of the pairs in both.

    A point is matched with the nearest one of the query if that is much nearer than the second nearest one. Of several
    points with the same match, the nearest one keeps it.
    """
    none = np.empty(0, np.int64)
    if not len(image) or len(query) < 2:
        return none, none
    cosines = image @ query.T
    everything = np.arange(len(image))
    nearest = cosines.argmax(1)
    first = cosines[everything, nearest]
    cosines[everything, nearest] = -1
    # The squared distance of unit vectors is 2 - 2 cos.
    kept = np.flatnonzero(1 - first < _RATIO**2 * (1 - cosines.max(1)))
    kept = kept[np.argsort(-first[kept], kind="stable")]
    theirs, order = np.unique(nearest[kept], return_index=True)
    return kept[order], theirs


def _geometry(image: Points, query: Points, size: tuple[int, int]) -> Proof:
    """Fit a homography to matched positions (n, 2) in an image and in a query of this size.

    Both positions are shares of width and height, so the image may have any shape.
    """
    import cv2

    pixels = np.array(size, dtype=np.float64)
    homography, mask = cv2.findHomography(
        image * pixels,
        query * pixels,
        cv2.USAC_MAGSAC,
        _TOLERANCE,
        maxIters=_ITERATIONS,
        confidence=_CONFIDENCE,
    )
    if homography is None:
        return _NOTHING
    outline = _outline(np.asarray(homography, np.float64), pixels)
    agree = mask.ravel().astype(bool)
    if outline is None or not _is_spread(image[agree]):
        return _NOTHING
    inliers = min(_spots(image[agree]), _spots(query[agree]))
    return Proof(inliers, outline, np.hstack([query[agree], image[agree]]))


def _outline(homography: Points, pixels: Points) -> Points | None:
    """Return the corners (4, 2) of the image in the query, or None if no photo of the image could look like this."""
    corners = np.array([[0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]]) * [*pixels, 1]
    mapped = corners @ homography.T
    nearest, farthest = sorted((mapped[:, 2].min() * homography[2, 2], mapped[:, 2].max() * homography[2, 2]))
    if nearest <= 0 or farthest > _MAX_TILT * nearest:
        return None  # a part of the image would be behind the camera, or far behind the rest
    outline: Points = mapped[:, :2] / mapped[:, 2:] / pixels
    edges = np.roll(outline, -1, axis=0) - outline
    following = np.roll(edges, -1, axis=0)
    turns = edges[:, 0] * following[:, 1] - edges[:, 1] * following[:, 0]
    if not (turns > 0).all():
        return None  # not convex, or a mirror image
    area = (turns[0] + turns[2]) / 2
    return outline if _MIN_AREA <= area <= _MAX_AREA else None


def _is_spread(points: Points) -> bool:
    """Return whether points (n, 2) are neither on one spot nor on one line."""
    return len(points) > 2 and float(np.linalg.eigvalsh(np.cov(points.T))[0]) ** 0.5 >= _MIN_SPREAD


def _spots(points: Points) -> int:
    """Return on how many spots points (n, 2) are: SIFT describes one spot several times."""
    return len(np.unique((points / _SPOT).astype(np.int64), axis=0))


def score_with(score: float, inliers: int) -> float:
    """Return the probability that a likely result is right, given its score without verification and its inliers.

    The odds are multiplied by a likelihood ratio that grows with the inliers (Bayes' rule): a wrong candidate has n or
    more of them with a probability that falls exponentially with n. A score below that of a candidate of which nothing
    else is known counts as this one, since scores are calibrated on views that are easier to recognise.
    """
    prior = min(max(score, 0.5 / VERIFIED_AT_ONCE), _HIGHEST_SCORE)
    log_odds = math.log(prior / (1 - prior)) + _EVIDENCE * (inliers - _NEUTRAL)
    return min(1 / (1 + math.exp(-log_odds)), _HIGHEST_SCORE)
