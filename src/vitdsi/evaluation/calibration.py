"""How well scores tell photos of the collection from others, and from which score on to trust a result."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from vitdsi.errors import UsageError
from vitdsi.evaluation.metrics import Metric, Values, bootstrap_ci

Scores = npt.NDArray[np.floating[Any]]


def auroc(inside: Scores, outside: Scores) -> Metric:
    """Chance that a photo of the collection scores higher than one that is not in it, ties counted half.

    Args:
        inside: (n,) top scores of queries whose source is indexed, for instance altered copies.
        outside: (m,) top scores of queries whose source is not.

    The chance level is .5, `queries` is n + m. The interval joins the bootstrap intervals over the queries of either
    kind, whose errors are independent, by the root of the sum of their squares (as DeLong et al. 1988 add variances).
    Raises UsageError without scores of either kind, or for one that is not a number.
    """
    _check("inside", inside)
    _check("outside", outside)
    above = _share_below(inside, outside)
    beaten = 1 - _share_below(outside, inside)
    value = float(above.mean())
    low_n, high_n = bootstrap_ci(above)
    low_m, high_m = bootstrap_ci(beaten)
    low = value - math.hypot(value - low_n, value - low_m)
    high = value + math.hypot(high_n - value, high_m - value)
    return Metric(value, 0.5, (max(low, 0.0), min(high, 1.0)), len(inside) + len(outside), excluded=0)


def threshold_for(inside_scores: Scores, keep: float = 0.95) -> float:
    """The highest score that at least the share `keep` of `inside_scores` (n,) reach.

    Give top scores of altered copies that were not trained with. Raises UsageError without scores, for one that is
    not a number, or if `keep` is not above 0 and at most 1.
    """
    _check("inside", inside_scores)
    if not 0 < keep <= 1:
        raise UsageError(f"keep is {keep}; it must be above 0 and at most 1")
    rank = math.ceil(keep * len(inside_scores) - 1e-9)  # 0.07 * 100 is a little more than 7
    return float(np.sort(inside_scores)[::-1][max(rank, 1) - 1])


def _share_below(scores: Scores, others: Scores) -> Values:
    """For each score (n,) the share of others (m,) that are lower, equal ones counted half."""
    ordered = np.sort(others)
    lower = np.searchsorted(ordered, scores, side="left")
    not_higher = np.searchsorted(ordered, scores, side="right")
    share: Values = (lower + not_higher) / (2 * len(ordered))
    return share


def _check(name: str, scores: Scores) -> None:
    if scores.ndim != 1 or not len(scores):
        raise UsageError(f"{name} scores have shape {scores.shape}; give at least one, in one dimension")
    if np.isnan(scores).any():
        raise UsageError(f"{np.isnan(scores).sum()} of the {name} scores are NaN; leave those queries out")
