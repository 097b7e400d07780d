from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from vitdsi.errors import UsageError
from vitdsi.evaluation.detection import auroc


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("decimals", [1, 8])  # with many ties, and without ties
def test_auroc_agrees_with_scikit_learn(seed: int, decimals: int) -> None:
    rng = np.random.default_rng(seed)
    inside = rng.normal(0.5, 1, size=40).round(decimals)
    outside = rng.normal(0, 1, size=70).round(decimals)
    expected = roc_auc_score(np.r_[np.ones(40), np.zeros(70)], np.r_[inside, outside])
    metric = auroc(inside, outside)
    assert metric.value == pytest.approx(expected)
    assert metric.ci95[0] < metric.value < metric.ci95[1]
    assert (metric.chance, metric.queries, metric.excluded) == (0.5, 110, 0)


def test_auroc_interval_agrees_with_resampling_both_kinds() -> None:
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(1, 1, size=60), rng.normal(0, 1, size=30)
    values = []
    for _ in range(2000):
        drawn, others = rng.choice(inside, 60), rng.choice(outside, 30)
        values.append((drawn[:, None] > others).mean())
    np.testing.assert_allclose(auroc(inside, outside).ci95, np.quantile(values, [0.025, 0.975]), atol=0.02)


def test_auroc_is_one_zero_or_half_for_extreme_scores() -> None:
    metric = auroc(np.array([0.9, 0.8]), np.array([0.1, 0.2, 0.3]))
    assert metric.value == 1.0 and metric.ci95 == (1.0, 1.0)
    assert auroc(np.array([0.1]), np.array([0.9])).value == 0.0
    assert auroc(np.full(5, 0.3), np.full(4, 0.3)).value == 0.5


def test_auroc_is_the_share_of_pairs_in_the_right_order_with_ties_counted_half() -> None:
    rng = np.random.default_rng(3)
    inside, outside = (
        rng.integers(0, 6, size=37).astype(np.float32),
        rng.integers(0, 5, size=23).astype(float),
    )
    higher = (inside[:, None] > outside).mean() + (inside[:, None] == outside).mean() / 2
    assert auroc(inside, outside).value == pytest.approx(higher)


def test_auroc_interval_stays_within_zero_and_one() -> None:
    rng = np.random.default_rng(4)
    for shift in (-2, 2):
        low, high = auroc(rng.normal(shift, 1, size=6), rng.normal(0, 1, size=5)).ci95
        assert 0 <= low < high <= 1


@pytest.mark.parametrize(
    ("inside", "outside", "message"),
    [
        ([], [0.5], r"inside scores have shape \(0,\); give at least one"),
        ([0.5], [], "outside scores have shape"),
        ([[0.5]], [0.5], r"inside scores have shape \(1, 1\)"),
        ([0.5], [np.nan], "1 of the outside scores are NaN"),
        ([0.5, np.inf, -np.inf], [0.5], "2 of the inside scores are NaN or infinite"),
    ],
)
def test_missing_or_undefined_scores_are_refused(inside: list[Any], outside: list[Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        auroc(np.array(inside), np.array(outside))
