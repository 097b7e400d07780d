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
def test_metrics_agree_with_trec_eval(seed: int) -> None:
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


def test_average_precision_is_divided_by_the_smaller_of_r_and_k() -> None:
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


def test_summarise_reports_each_named_metric_with_its_chance() -> None:
    rankings, relevant = random_case(1)
    kept = [q for q in range(len(relevant)) if len(relevant[q])]
    sizes = np.array([len(relevant[q]) for q in kept], dtype=np.float64)
    metrics = summarise(rankings, relevant, 150, ("P@5", "Recall@20", "MAP", "MAP@7", "trec-MAP@7"))
    expected = {
        "P@5": (precision_at(rankings, relevant, 5), chance_precision(sizes, 150, 5)),
        "Recall@20": (recall_at(rankings, relevant, 20), np.full(len(kept), 20 / 150)),
        "MAP": (average_precision_at(rankings, relevant, None), chance_average_precision(sizes, 150, None)),
        "MAP@7": (average_precision_at(rankings, relevant, 7), chance_average_precision(sizes, 150, 7)),
        "trec-MAP@7": (
            trec_average_precision_at(rankings, relevant, 7),
            chance_average_precision(sizes, 150, 7, trec=True),
        ),
    }
    assert list(metrics) == list(expected)
    for name, (values, chance) in expected.items():
        assert metrics[name].value == pytest.approx(values[kept].mean()), name
        assert metrics[name].chance == pytest.approx(chance.mean()), name


@pytest.mark.parametrize("name", ["NDCG@10", "P", "Recall", "trec-MAP", "P@0", "MAP@x"])
def test_unknown_metric_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"unknown metric '.*'; choose among P@K"):
        summarise(np.array([[1]]), [np.array([1])], 2, (name,))


def test_metric_without_any_counted_query_is_nan() -> None:
    metric = summarise(np.array([[0, 1, 2]]), [np.array([])], 3)["MAP"]
    assert metric.queries == 0 and np.isnan(metric.value)


def test_as_dict_has_none_instead_of_nan() -> None:
    nothing = summarise(np.array([[0, 1, 2]]), [np.array([])], 3)["MAP"].as_dict()
    expected = {"value": None, "chance": None, "ci95": [None, None], "queries": 0, "excluded": 1}
    assert json.loads(json.dumps(nothing, allow_nan=False)) == expected
    something = summarise(np.array([[0, 1]]), [np.array([0])], 2, ("P@10",))["P@10"].as_dict()
    assert something["value"] == pytest.approx(0.1) and something["ci95"] == pytest.approx([0.1, 0.1])


@pytest.mark.parametrize(("items", "size", "k"), [(5, 2, 3), (5, 4, 2), (6, 1, 6), (4, 4, 10)])
def test_chance_equals_the_mean_over_all_permutations(items: int, size: int, k: int) -> None:
    rankings = np.array(list(itertools.permutations(range(items))))
    relevant = [np.arange(size)] * len(rankings)
    sizes = np.array([float(size)])
    for depth in (k, None):
        expected = average_precision_at(rankings, relevant, depth).mean()
        assert chance_average_precision(sizes, items, depth)[0] == pytest.approx(expected)
    expected = trec_average_precision_at(rankings, relevant, k).mean()
    assert chance_average_precision(sizes, items, k, trec=True)[0] == pytest.approx(expected)
    assert chance_precision(sizes, items, k)[0] == pytest.approx(precision_at(rankings, relevant, k).mean())


def test_indexing_accuracy_is_the_share_of_own_ids_within_k() -> None:
    rankings = np.array([[0, 1, 2], [2, 1, 0], [0, 1, -1]])
    metrics = indexing_accuracy(rankings, np.arange(3), 3, ks=(1, 2))
    assert metrics["IA@1"].value == pytest.approx(1 / 3)
    assert metrics["IA@2"].value == pytest.approx(2 / 3)
    assert metrics["IA@2"].chance == pytest.approx(2 / 3)
    np.testing.assert_array_equal(hit_at(rankings, np.arange(3), 1), [1, 0, 0])


def test_repeated_id_or_missing_ranking_is_refused() -> None:
    with pytest.raises(UsageError, match="twice"):
        precision_at(np.array([[1, 1]]), [np.array([1])], 2)
    with pytest.raises(UsageError, match="one ranking for each query"):
        precision_at(np.array([[1]]), [], 1)


def test_bootstrap_interval_contains_the_mean_and_is_repeatable() -> None:
    values = np.random.default_rng(1).random(50)
    low, high = bootstrap_ci(values)
    assert low < values.mean() < high
    assert bootstrap_ci(values) == (low, high) != bootstrap_ci(values, seed=1)
    assert np.isnan(bootstrap_ci(np.array([]))).all()


def test_bootstrap_interval_narrows_with_more_queries() -> None:
    rng = np.random.default_rng(0)
    few, many = rng.random(20), rng.random(2000)
    widths = [high - low for low, high in (bootstrap_ci(few), bootstrap_ci(many))]
    assert widths[1] < widths[0] / 4
