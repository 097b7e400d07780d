from __future__ import annotations

import numpy as np
import pytest

from vitdsi.errors import UsageError
from vitdsi.search.calibrate import threshold_for


@pytest.mark.parametrize(
    ("count", "keep", "kept"), [(100, 0.95, 95), (100, 0.07, 7), (3, 0.5, 2), (7, 1.0, 7)]
)
def test_threshold_keeps_the_given_share_of_the_scores(count: int, keep: float, kept: int) -> None:
    scores = np.random.default_rng(1).permutation(count) / count
    threshold = threshold_for(scores, keep)
    assert (scores >= threshold).sum() == kept
    assert threshold in scores


def test_threshold_among_ties_keeps_all_of_them() -> None:
    assert threshold_for(np.array([0.2, 0.5, 0.5, 0.5]), 0.5) == 0.5


def test_threshold_without_scores_or_with_a_share_out_of_range_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one"):
        threshold_for(np.array([]))
    for keep in (0.0, 1.1):
        with pytest.raises(UsageError, match="at most 1"):
            threshold_for(np.array([0.5]), keep)


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(UsageError, match="1 of the scores are NaN"):
        threshold_for(np.array([0.5, np.nan]))
