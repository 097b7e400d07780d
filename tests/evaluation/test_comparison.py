from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from vitdsi.errors import UsageError
from vitdsi.evaluation.comparison import Difference, auroc_difference, false_positives, paired_difference


def _auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    truth = np.repeat([1, 0], [len(inside), len(outside)])
    return float(roc_auc_score(truth, np.concatenate([inside, outside])))


def test_the_difference_is_that_of_the_means_and_lies_in_its_interval() -> None:
    rng = np.random.default_rng(0)
    values, reference = rng.uniform(size=300), rng.uniform(size=300)
    found = paired_difference([values], [reference])
    assert found.value == pytest.approx(values.mean() - reference.mean())
    assert found.low < found.value < found.high
    deviation = (values - reference).std() / 300**0.5
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * deviation, rel=0.1)


def test_queries_that_are_hard_for_both_do_not_widen_the_interval() -> None:
    hardness = np.random.default_rng(0).uniform(size=200)
    found = paired_difference([hardness + 0.01], [hardness])
    assert (found.value, found.low, found.high) == pytest.approx((0.01, 0.01, 0.01))


def test_cells_count_alike_however_many_queries_they_have() -> None:
    found = paired_difference([np.ones(100), np.zeros(2)], [np.zeros(100), np.zeros(2)])
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


def test_the_interval_is_narrower_with_more_cells() -> None:
    rng = np.random.default_rng(0)
    cells = [rng.normal(size=50) for _ in range(4)]
    zeros = [np.zeros(50)] * 4
    one, four = paired_difference(cells[:1], zeros[:1]), paired_difference(cells, zeros)
    assert (four.high - four.low) / (one.high - one.low) == pytest.approx(0.5, abs=0.15)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = [np.random.default_rng(0).uniform(size=30)]
    again = paired_difference(values, [np.zeros(30)], seed=3)
    assert paired_difference(values, [np.zeros(30)], seed=3) == again
    assert paired_difference(values, [np.zeros(30)], seed=4) != again


def test_95_of_100_intervals_hold_the_true_difference() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(100):
        found = paired_difference([rng.normal(0.2, 1, 40)], [np.zeros(40)], samples=300)
        held += found.low <= 0.2 <= found.high
    assert 88 <= held <= 100


@pytest.mark.parametrize("decimals", [1, 8])  # with many ties, and without ties
def test_the_difference_of_areas_agrees_with_scikit_learn(decimals: int) -> None:
    rng = np.random.default_rng(0)
    own = rng.normal(1, 1, 60).round(decimals), rng.normal(0, 1, 45).round(decimals)
    other = rng.normal(0.2, 1, 60).round(decimals), rng.normal(0, 1, 45).round(decimals)
    found = auroc_difference([own[0]], [own[1]], [other[0]], [other[1]])
    assert found.value == pytest.approx(_auroc(*own) - _auroc(*other))
    assert found.low < found.value < found.high


def test_the_interval_of_areas_agrees_with_drawing_photos_one_by_one() -> None:
    rng = np.random.default_rng(0)
    own, other = (rng.normal(1, 1, 30), rng.normal(0, 1, 20)), (rng.normal(0, 1, 30), rng.normal(0, 1, 20))
    drawn = []
    for _ in range(300):
        i, o = rng.integers(30, size=30), rng.integers(20, size=20)
        drawn.append(_auroc(own[0][i], own[1][o]) - _auroc(other[0][i], other[1][o]))
    found = auroc_difference([own[0]], [own[1]], [other[0]], [other[1]])
    assert (found.low, found.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.05)


def test_a_method_is_as_good_as_itself() -> None:
    scores = np.random.default_rng(0).normal(size=20)
    same = auroc_difference([scores], [scores[:7]], [scores], [scores[:7]])
    assert same == Difference(0, 0, 0)


@pytest.mark.parametrize("recall, expected", [(0.5, 0.25), (0.75, 0.5), (1.0, 0.75)])
def test_false_positives_reach_the_score_that_a_share_of_the_collection_reaches(
    recall: float, expected: float
) -> None:
    inside, outside = np.array([4.0, 3.0, 2.0, 1.0]), np.array([3.5, 2.0, 1.0, 0.5])
    assert false_positives(inside, outside, recall) == expected


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UsageError, match=r"\[3\] and \[2\] values"):
        paired_difference([np.zeros(3)], [np.zeros(2)])
    for nothing in ([], [np.zeros(0)]):
        with pytest.raises(UsageError, match="at least one"):
            paired_difference(nothing, nothing)
    with pytest.raises(UsageError, match="0 scores inside, 2 outside"):
        false_positives(np.zeros(0), np.zeros(2))
    with pytest.raises(UsageError, match="recall=0"):
        false_positives(np.zeros(1), np.zeros(2), recall=0)
