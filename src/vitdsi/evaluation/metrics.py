"""Ranking metrics, each with its chance level and a bootstrap interval.

A ranking is a row of ids, best first and without duplicates, padded with -1 if it is short. Relevance is one array for
each query, with the ids of the relevant images in the index. In the formulas, h_i is 1 if the id at rank i is relevant
and 0 otherwise, R is the number of relevant ids of the query, and N is the number of ids in the index. The metrics
return one value for each query. Queries without relevant ids have no meaningful value; `summarise` excludes and counts
them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vitdsi.errors import UsageError

Ids = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]
Relevant = Sequence[npt.NDArray[np.integer[Any]]]


@dataclass(frozen=True)
class Metric:
    """The mean of a metric over queries. Numbers are NaN if there are no queries.

    Attributes:
        value: the mean over the queries.
        chance: the expected value for a uniformly random ranking.
        ci95: lower and upper bound of the 95 % bootstrap interval.
        queries: how many queries the mean is taken over.
        excluded: how many queries were left out because no id is relevant to them.
    """

    value: float
    chance: float
    ci95: tuple[float, float]
    queries: int
    excluded: int

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes as JSON can hold them, with None for NaN."""
        value, chance, low, high = (
            None if np.isnan(number) else number for number in (self.value, self.chance, *self.ci95)
        )
        return {**asdict(self), "value": value, "chance": chance, "ci95": [low, high]}


def hits(rankings: Ids, relevant: Relevant) -> npt.NDArray[np.bool_]:
    """Return h_i for each query and rank, shape (Q, K), given rankings (Q, K).

    Raises:
        UsageError: if a ranking lists an id twice, or there are not as many rankings as queries.
    """
    if len(rankings) != len(relevant):
        raise UsageError(
            f"{len(rankings)} rankings for {len(relevant)} queries; give one ranking for each query"
        )
    found = np.zeros(rankings.shape, dtype=bool)
    for q, (ranking, relevant_ids) in enumerate(zip(rankings, relevant, strict=True)):
        listed = ranking[ranking >= 0]
        if len(np.unique(listed)) < len(listed):
            raise UsageError(f"ranking {q} lists an id twice; list each id at most once")
        found[q] = np.isin(ranking, relevant_ids) & (ranking >= 0)
    return found


def precision_at(rankings: Ids, relevant: Relevant, k: int) -> Values:
    """P@k = sum_{i <= k} h_i / k. Short rankings are divided by k too."""
    values: Values = hits(rankings[:, :k], relevant).sum(1) / k
    return values


def recall_at(rankings: Ids, relevant: Relevant, k: int) -> Values:
    """Recall@k = sum_{i <= k} h_i / R."""
    values: Values = hits(rankings[:, :k], relevant).sum(1) / np.maximum(_num_relevant(relevant), 1)
    return values


def average_precision_at(rankings: Ids, relevant: Relevant, k: int | None) -> Values:
    """AP@k = sum_{i <= k} P@i h_i / min(R, k). For k = None the sum is over the whole ranking, divided by R."""
    num_relevant = np.maximum(_num_relevant(relevant), 1)
    divisor = num_relevant if k is None else np.minimum(num_relevant, k)
    return _precision_sum(rankings, relevant, k) / divisor


def trec_average_precision_at(rankings: Ids, relevant: Relevant, k: int | None) -> Values:
    """AP@k = sum_{i <= k} P@i h_i / R, the definition of trec_eval's map_cut_k."""
    return _precision_sum(rankings, relevant, k) / np.maximum(_num_relevant(relevant), 1)


def hit_at(rankings: Ids, own_ids: Ids, k: int) -> Values:
    """Return 1 for each query whose own id, of `own_ids` (Q,), is within the first k, and 0 otherwise."""
    values: Values = (rankings[:, :k] == np.asarray(own_ids)[:, None]).any(1).astype(np.float64)
    return values


def chance_precision(num_relevant: Values, num_items: int, k: int) -> Values:
    """E[P@k] = R / N of a random ranking of all N items; R / k if k > N."""
    return num_relevant / num_items * min(k, num_items) / k


def chance_recall(num_items: int, k: int) -> float:
    """E[Recall@k] = min(k, N) / N, which is also the probability that a given id is within the first k."""
    return min(k, num_items) / num_items


def chance_average_precision(
    num_relevant: Values, num_items: int, k: int | None, *, trec: bool = False
) -> Values:
    """E[AP@k] of a random ranking of all N items, with the divisor of `average_precision_at` or, if `trec`, R.

    E[h_i P@i] = R/N (1/i + (1 - 1/i) (R-1)/(N-1)), and the sum over i <= k needs only the harmonic number H_k.
    """
    depth = num_items if k is None else min(k, num_items)
    harmonic = float((1 / np.arange(1, depth + 1)).sum())
    others = (num_relevant - 1) / max(num_items - 1, 1)
    total = num_relevant / num_items * (harmonic + (depth - harmonic) * others)
    divisor = num_relevant if k is None or trec else np.minimum(num_relevant, k)
    values: Values = total / np.maximum(divisor, 1)
    return values


def bootstrap_ci(
    values: Values, *, level: float = 0.95, samples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean of `values` (Q,), or NaN twice if there are none."""
    if not len(values):
        return (float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(len(values), size=len(values))].mean() for _ in range(samples)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return (float(low), float(high))


def summarise(
    rankings: Ids,
    relevant: Relevant,
    num_items: int,
    names: Sequence[str] = ("P@10", "MAP@10", "MAP", "Recall@100"),
) -> dict[str, Metric]:
    """Compute metrics over the queries that have relevant ids.

    Args:
        rankings: (Q, K) ids.
        relevant: the relevant ids of each query.
        num_items: number of ids in the index, N.
        names: the metrics: P@K, MAP@K, MAP, trec-MAP@K and Recall@K for any K.

    Raises:
        UsageError: if a metric is unknown, a ranking lists an id twice, or there are not as many rankings as queries.
    """
    counted = [q for q, relevant_ids in enumerate(relevant) if len(relevant_ids)]
    excluded = len(relevant) - len(counted)
    rankings, relevant = rankings[counted], [relevant[q] for q in counted]
    num_relevant = _num_relevant(relevant)
    metrics = {}
    for name in names:
        match = re.fullmatch(r"(P|MAP|trec-MAP|Recall)(?:@([1-9]\d*))?", name)
        if match is None or (match[2] is None and match[1] != "MAP"):
            raise UsageError(
                f"unknown metric {name!r}; choose among P@K, MAP@K, MAP, trec-MAP@K and Recall@K"
            )
        k = None if match[2] is None else int(match[2])
        if match[1] == "P" and k is not None:
            values = precision_at(rankings, relevant, k)
            chance = chance_precision(num_relevant, num_items, k)
        elif match[1] == "Recall" and k is not None:
            values = recall_at(rankings, relevant, k)
            chance = np.full(len(relevant), chance_recall(num_items, k))
        elif match[1] == "trec-MAP":
            values = trec_average_precision_at(rankings, relevant, k)
            chance = chance_average_precision(num_relevant, num_items, k, trec=True)
        else:
            values = average_precision_at(rankings, relevant, k)
            chance = chance_average_precision(num_relevant, num_items, k)
        metrics[name] = _mean_over_queries(values, chance, excluded)
    return metrics


def indexing_accuracy(
    rankings: Ids, own_ids: Ids, num_items: int, ks: Sequence[int] = (1, 5)
) -> dict[str, Metric]:
    """IA@k: the share of indexed images whose own id is within the first k.

    Args:
        rankings: (Q, K) ids that were found for indexed images.
        own_ids: (Q,) the ids of these images.
        num_items: number of ids in the index, N.
        ks: the values of k.
    """
    return {
        f"IA@{k}": _mean_over_queries(
            hit_at(rankings, own_ids, k), np.full(len(rankings), chance_recall(num_items, k)), excluded=0
        )
        for k in ks
    }


def _num_relevant(relevant: Relevant) -> Values:
    return np.array([len(relevant_ids) for relevant_ids in relevant], dtype=np.float64)


def _precision_sum(rankings: Ids, relevant: Relevant, k: int | None) -> Values:
    """sum_{i <= k} P@i h_i."""
    found = hits(rankings[:, :k], relevant)
    precision = found.cumsum(1) / np.arange(1, found.shape[1] + 1)
    values: Values = (precision * found).sum(1)
    return values


def _mean_over_queries(values: Values, chance: Values, excluded: int) -> Metric:
    if not len(values):
        return Metric(float("nan"), float("nan"), (float("nan"), float("nan")), 0, excluded)
    return Metric(float(values.mean()), float(chance.mean()), bootstrap_ci(values), len(values), excluded)
