"""Calibration: the score above which a photo probably shows an image of the collection."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from vitdsi.errors import UsageError
from vitdsi.search.rank import top_scores
from vitdsi.state import Calibration, IndexState

Scores = npt.NDArray[np.floating[Any]]


def calibrate(state: IndexState, altered: Tensor) -> Calibration:
    """Score altered copies (H, *shape) of indexed images that were held out of training."""
    scores = tuple(round(float(score), 6) for score in top_scores(state, altered))
    return Calibration(scores, threshold_for(np.array(scores)) if scores else None)


def threshold_for(inside_scores: Scores, keep: float = 0.95) -> float:
    """Return the highest threshold that at least the share `keep` of `inside_scores` (n,) reach.

    Raises:
        UsageError: no scores, a score that is not a number, or a `keep` that is not above 0 and at most 1.
    """
    if inside_scores.ndim != 1 or not len(inside_scores):
        raise UsageError(f"the scores have shape {inside_scores.shape}; give at least one, in one dimension")
    if np.isnan(inside_scores).any():
        raise UsageError(f"{np.isnan(inside_scores).sum()} of the scores are NaN; leave those queries out")
    if not 0 < keep <= 1:
        raise UsageError(f"keep is {keep}; it must be above 0 and at most 1")
    rank = math.ceil(keep * len(inside_scores) - 1e-9)  # 0.07 * 100 is a little more than 7
    return float(np.sort(inside_scores)[::-1][max(rank, 1) - 1])
