from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from vitdsi.errors import UsageError
from vitdsi.evaluation.calibration import auroc, threshold_for


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("decimals", [1, 8])  # with many ties, and with none
def test_agrees_with_scikit_learn(seed: int, decimals: int) -> None:
    rng = np.random.default_rng(seed)
    inside = rng.normal(0.5, 1, size=40).round(decimals)
    outside = rng.normal(0, 1, size=70).round(decimals)
    expected = roc_auc_score(np.r_[np.ones(40), np.zeros(70)], np.r_[inside, outside])
    metric = auroc(inside, outside)
    assert metric.value == pytest.approx(expected)
    assert metric.ci95[0] < metric.value < metric.ci95[1]
    assert (metric.chance, metric.queries, metric.excluded) == (0.5, 110, 0)


def test_the_interval_is_that_of_resampling_both_kinds() -> None:
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(1, 1, size=60), rng.normal(0, 1, size=30)
    values = []
    for _ in range(2000):
        drawn, others = rng.choice(inside, 60), rng.choice(outside, 30)
        values.append((drawn[:, None] > others).mean())
    np.testing.assert_allclose(auroc(inside, outside).ci95, np.quantile(values, [0.025, 0.975]), atol=0.02)


def test_a_perfect_split_and_no_split() -> None:
    metric = auroc(np.array([0.9, 0.8]), np.array([0.1, 0.2, 0.3]))
    assert metric.value == 1.0 and metric.ci95 == (1.0, 1.0)
    assert auroc(np.array([0.1]), np.array([0.9])).value == 0.0
    assert auroc(np.full(5, 0.3), np.full(4, 0.3)).value == 0.5


@pytest.mark.parametrize(
    ("count", "keep", "kept"), [(100, 0.95, 95), (100, 0.07, 7), (3, 0.5, 2), (7, 1.0, 7)]
)
def test_the_threshold_keeps_its_share(count: int, keep: float, kept: int) -> None:
    scores = np.random.default_rng(1).permutation(count) / count
    threshold = threshold_for(scores, keep)
    assert (scores >= threshold).sum() == kept
    assert threshold in scores


def test_a_threshold_among_ties_keeps_them_all() -> None:
    assert threshold_for(np.array([0.2, 0.5, 0.5, 0.5]), 0.5) == 0.5


def test_what_cannot_be_measured_is_refused() -> None:
    some, none = np.array([0.5]), np.array([])
    with pytest.raises(UsageError, match="inside scores have shape"):
        auroc(none, some)
    with pytest.raises(UsageError, match="outside scores have shape"):
        auroc(some, none)
    with pytest.raises(UsageError, match="at least one"):
        threshold_for(none)
    with pytest.raises(UsageError, match="NaN"):
        auroc(some, np.array([np.nan]))
    for keep in (0.0, 1.1):
        with pytest.raises(UsageError, match="at most 1"):
            threshold_for(some, keep)
