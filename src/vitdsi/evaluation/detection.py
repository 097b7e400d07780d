"""Out-of-collection detection: how well scores separate photos of the collection from other photos."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from vitdsi.errors import UsageError
from vitdsi.evaluation.metrics import Metric, Values, bootstrap_ci

Scores = npt.NDArray[np.floating[Any]]


def auroc(inside: Scores, outside: Scores) -> Metric:
    """Compute the area under the ROC curve.

    This is the probability that a photo of the collection scores higher than a photo that is not in it, where a tie
    counts one half. The chance level is 0.5.

    The interval combines the bootstrap intervals over the queries of each kind, whose errors are independent: its
    half-widths are the roots of the sums of their squares, as DeLong et al. (1988) add variances.

    Args:
        inside: (n,) top scores of queries whose source is indexed, such as altered copies.
        outside: (m,) top scores of queries whose source is not indexed.

    Returns:
        The area, with n + m as the number of queries.

    Raises:
        UsageError: if there are no scores of one kind, or some are NaN or infinite.
    """
    from sklearn.metrics import roc_auc_score

    _check("inside", inside)
    _check("outside", outside)
    is_inside = np.repeat([1, 0], [len(inside), len(outside)])
    value = float(roc_auc_score(is_inside, np.concatenate([inside, outside])))
    low_inside, high_inside = bootstrap_ci(_share_beaten(inside, outside))
    low_outside, high_outside = bootstrap_ci(1 - _share_beaten(outside, inside))
    low = value - math.hypot(value - low_inside, value - low_outside)
    high = value + math.hypot(high_inside - value, high_outside - value)
    return Metric(value, 0.5, (max(low, 0.0), min(high, 1.0)), len(inside) + len(outside), excluded=0)


def _share_beaten(scores: Scores, others: Scores) -> Values:
    """Return for each score (n,) the share of `others` (m,) that are lower, where equal ones count one half."""
    ordered = np.sort(others)
    num_lower = np.searchsorted(ordered, scores, side="left")
    num_not_higher = np.searchsorted(ordered, scores, side="right")
    share: Values = (num_lower + num_not_higher) / (2 * len(ordered))
    return share


def _check(name: str, scores: Scores) -> None:
    if scores.ndim != 1 or not len(scores):
        raise UsageError(
            f"{name} scores have shape {scores.shape}; give at least one score, in one dimension"
        )
    if not np.isfinite(scores).all():
        count = int((~np.isfinite(scores)).sum())
        raise UsageError(f"{count} of the {name} scores are NaN or infinite; leave those queries out")
