from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from vitdsi.errors import UsageError
from vitdsi.evaluation.metrics import (
    average_precision_at,
    bootstrap_ci,
    chance_average_precision,
    chance_precision,
    hit_at,
    indexing_accuracy,
    paper_map_at_10,
    precision_at,
    recall_at,
    summarise,
    trec_average_precision_at,
)


def random_case(seed: int, queries: int = 40, items: int = 150, depth: int = 150):
    rng = np.random.default_rng(seed)
    rankings = np.full((queries, depth), -1, dtype=np.int64)
    relevant = []
    for q in range(queries):
        length = int(rng.integers(1, depth + 1))
        rankings[q, :length] = rng.permutation(items)[:length]
        relevant.append(rng.permutation(items)[: int(rng.integers(0, 30))])
    relevant[3] = np.array([], dtype=np.int64)
    return rankings, relevant


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_trec_eval(seed: int) -> None:
    pytrec_eval = pytest.importorskip("pytrec_eval")
    rankings, relevant = random_case(seed)
    counted = [q for q in range(len(relevant)) if len(relevant[q])]
    qrel = {str(q): {str(i): 1 for i in relevant[q]} for q in counted}
    run = {str(q): {str(i): -float(rank) for rank, i in enumerate(rankings[q]) if i >= 0} for q in counted}
    oracle = pytrec_eval.RelevanceEvaluator(qrel, {"P_10", "map", "map_cut_10", "recall_100"}).evaluate(run)
    ours = {
        "P_10": precision_at(rankings, relevant, 10),
        "map": average_precision_at(rankings, relevant, None),
        "map_cut_10": trec_average_precision_at(rankings, relevant, 10),
        "recall_100": recall_at(rankings, relevant, 100),
    }
    for name, values in ours.items():
        np.testing.assert_allclose([values[q] for q in counted], [oracle[str(q)][name] for q in counted])


def test_average_precision_divides_by_the_smaller_of_relevant_and_k() -> None:
    ranking = np.array([[7, 1, 8, 2, 9]])
    assert average_precision_at(ranking, [np.array([7, 8])], 5)[0] == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision_at(ranking, [np.array([7, 8, 30, 31])], 3)[0] == pytest.approx((1 + 2 / 3) / 3)
    assert trec_average_precision_at(ranking, [np.array([7, 8, 30, 31])], 3)[0] == pytest.approx(
        (1 + 2 / 3) / 4
    )


def test_queries_without_relevant_ids_are_excluded_and_counted() -> None:
    rankings, relevant = random_case(9)
    metric = summarise(rankings, relevant, 150, ("P@10",))["P@10"]
    empty = sum(len(r) == 0 for r in relevant)
    assert metric.excluded == empty >= 1
    assert metric.queries == len(relevant) - empty
    kept = [q for q in range(len(relevant)) if len(relevant[q])]
    assert metric.value == pytest.approx(precision_at(rankings, relevant, 10)[kept].mean())
    assert metric.ci95[0] <= metric.value <= metric.ci95[1]


def test_nothing_to_count_is_nan_not_an_error() -> None:
    metric = summarise(np.array([[0, 1, 2]]), [np.array([])], 3)["MAP"]
    assert metric.queries == 0 and np.isnan(metric.value)


def test_json_has_null_where_there_is_no_value() -> None:
    nothing = summarise(np.array([[0, 1, 2]]), [np.array([])], 3)["MAP"].as_dict()
    expected = {"value": None, "chance": None, "ci95": [None, None], "queries": 0, "excluded": 1}
    assert json.loads(json.dumps(nothing, allow_nan=False)) == expected
    something = summarise(np.array([[0, 1]]), [np.array([0])], 2, ("P@10",))["P@10"].as_dict()
    assert something["value"] == pytest.approx(0.1) and something["ci95"] == pytest.approx([0.1, 0.1])


def test_the_papers_figure_is_precision_of_ten_sampled_queries() -> None:
    rankings, relevant = random_case(5)
    counted = [q for q in range(len(relevant)) if len(relevant[q])]
    precision = precision_at(rankings, relevant, 10)
    figures = [paper_map_at_10(rankings, relevant, seed=seed) for seed in range(200)]
    # ten values of tenths: a hundredth is the smallest step, and no sample is all there is
    np.testing.assert_allclose(np.array(figures) * 100, np.round(np.array(figures) * 100))
    assert len(set(figures)) > 3
    assert np.mean(figures) == pytest.approx(precision[counted].mean(), abs=0.01)
    assert paper_map_at_10(rankings, relevant, seed=3) == figures[3]
    whole = paper_map_at_10(rankings, relevant, queries=1000)
    assert whole == pytest.approx(precision[counted].mean())
    assert np.isnan(paper_map_at_10(rankings[:1], [np.array([])]))


@pytest.mark.parametrize(("items", "size", "k"), [(5, 2, 3), (5, 4, 2), (6, 1, 6), (4, 4, 10)])
def test_chance_equals_the_mean_over_all_rankings(items: int, size: int, k: int) -> None:
    rankings = np.array(list(itertools.permutations(range(items))))
    relevant = [np.arange(size)] * len(rankings)
    sizes = np.array([float(size)])
    for depth in (k, None):
        expected = average_precision_at(rankings, relevant, depth).mean()
        assert chance_average_precision(sizes, items, depth)[0] == pytest.approx(expected)
    expected = trec_average_precision_at(rankings, relevant, k).mean()
    assert chance_average_precision(sizes, items, k, trec=True)[0] == pytest.approx(expected)
    assert chance_precision(sizes, items, k)[0] == pytest.approx(precision_at(rankings, relevant, k).mean())


def test_indexing_accuracy() -> None:
    rankings = np.array([[0, 1, 2], [2, 1, 0], [0, 1, -1]])
    metrics = indexing_accuracy(rankings, np.arange(3), 3, ks=(1, 2))
    assert metrics["IA@1"].value == pytest.approx(1 / 3)
    assert metrics["IA@2"].value == pytest.approx(2 / 3)
    assert metrics["IA@2"].chance == pytest.approx(2 / 3)
    np.testing.assert_array_equal(hit_at(rankings, np.arange(3), 1), [1, 0, 0])


def test_bad_input_is_refused() -> None:
    with pytest.raises(UsageError, match="twice"):
        precision_at(np.array([[1, 1]]), [np.array([1])], 2)
    with pytest.raises(UsageError, match="known are"):
        summarise(np.array([[1]]), [np.array([1])], 2, ("NDCG@10",))
    with pytest.raises(UsageError, match="one each"):
        precision_at(np.array([[1]]), [], 1)


def test_interval_narrows_with_more_queries() -> None:
    rng = np.random.default_rng(0)
    few, many = rng.random(20), rng.random(2000)
    widths = [high - low for low, high in (bootstrap_ci(few), bootstrap_ci(many))]
    assert widths[1] < widths[0] / 4
