"""Ranking metrics, each with what a uniformly random ranking would reach and a bootstrap interval.

A ranking is a row of ids, best first, without duplicates, padded with -1 where the list is short. Relevance is one
array of relevant ids (in the index) a query. Every metric returns one value a query; queries without relevant ids
have no value and are excluded, and counted, by `summarise`.
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
    """A mean over queries, the chance level, a 95 % bootstrap interval, and how many queries counted."""

    value: float
    chance: float
    ci95: tuple[float, float]
    queries: int
    excluded: int

    def as_dict(self) -> dict[str, Any]:
        """JSON-able: what has no value is None, as JSON knows no NaN."""
        value, chance, low, high = (
            None if np.isnan(number) else number for number in (self.value, self.chance, *self.ci95)
        )
        return {**asdict(self), "value": value, "chance": chance, "ci95": [low, high]}


def hits(rankings: Ids, relevant: Relevant) -> npt.NDArray[np.bool_]:
    """(Q, K): whether the id at each rank is relevant. Raises UsageError for a list with a duplicate."""
    if len(rankings) != len(relevant):
        raise UsageError(f"{len(rankings)} rankings for {len(relevant)} queries; give one each")
    found = np.zeros(rankings.shape, dtype=bool)
    for q, (ranking, wanted) in enumerate(zip(rankings, relevant, strict=True)):
        listed = ranking[ranking >= 0]
        if len(np.unique(listed)) < len(listed):
            raise UsageError(f"ranking {q} lists an id twice")
        found[q] = np.isin(ranking, wanted) & (ranking >= 0)
    return found


def _sizes(relevant: Relevant) -> Values:
    return np.array([len(wanted) for wanted in relevant], dtype=np.float64)


def precision_at(rankings: Ids, relevant: Relevant, k: int) -> Values:
    """P@k = hits in the first k / k; short lists still divide by k."""
    values: Values = hits(rankings[:, :k], relevant).sum(1) / k
    return values


def recall_at(rankings: Ids, relevant: Relevant, k: int) -> Values:
    """Recall@k = hits in the first k / R."""
    values: Values = hits(rankings[:, :k], relevant).sum(1) / np.maximum(_sizes(relevant), 1)
    return values


def _precision_sum(rankings: Ids, relevant: Relevant, k: int | None) -> Values:
    found = hits(rankings[:, :k], relevant)
    precision = found.cumsum(1) / np.arange(1, found.shape[1] + 1)
    values: Values = (precision * found).sum(1)
    return values


def average_precision_at(rankings: Ids, relevant: Relevant, k: int | None) -> Values:
    """AP@k = sum_{i <= k} P@i h_i / min(R, k); k = None is the full list and divides by R."""
    sizes = np.maximum(_sizes(relevant), 1)
    return _precision_sum(rankings, relevant, k) / (sizes if k is None else np.minimum(sizes, k))


def trec_average_precision_at(rankings: Ids, relevant: Relevant, k: int | None) -> Values:
    """trec_eval's map_cut_k: as AP@k, but divided by R."""
    return _precision_sum(rankings, relevant, k) / np.maximum(_sizes(relevant), 1)


def hit_at(rankings: Ids, own_ids: Ids, k: int) -> Values:
    """1 where the own id is within the first k."""
    values: Values = (rankings[:, :k] == np.asarray(own_ids)[:, None]).any(1).astype(np.float64)
    return values


def chance_precision(sizes: Values, num_items: int, k: int) -> Values:
    """E[P@k] of a random ranking of all items: R / N, less where k > N."""
    return sizes / num_items * min(k, num_items) / k


def chance_recall(num_items: int, k: int) -> float:
    """E[Recall@k], and the chance that one given id is within the first k."""
    return min(k, num_items) / num_items


def chance_average_precision(sizes: Values, num_items: int, k: int | None, *, trec: bool = False) -> Values:
    """E[AP@k] of a random ranking.

    E[h_i P@i] = R/N (1/i + (1 - 1/i) (R-1)/(N-1)), summed over i <= k with the harmonic number H_k.
    """
    depth = num_items if k is None else min(k, num_items)
    harmonic = float((1 / np.arange(1, depth + 1)).sum())
    others = (sizes - 1) / max(num_items - 1, 1)
    total = sizes / num_items * (harmonic + (depth - harmonic) * others)
    divisor = sizes if k is None or trec else np.minimum(sizes, k)
    values: Values = total / np.maximum(divisor, 1)
    return values


def bootstrap_ci(
    values: Values, *, level: float = 0.95, samples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of the mean over resampled queries; (nan, nan) without values."""
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
    """Named metrics over the queries that have relevant ids. Names: P@K, MAP@K, MAP, trec-MAP@K, Recall@K."""
    counted = [q for q, wanted in enumerate(relevant) if len(wanted)]
    kept = [relevant[q] for q in counted]
    lists, sizes = rankings[counted], _sizes(kept)
    result = {}
    for name in names:
        match = re.fullmatch(r"(P|MAP|trec-MAP|Recall)(?:@([1-9]\d*))?", name)
        if match is None or (match[2] is None and match[1] != "MAP"):
            raise UsageError(f"unknown metric {name!r}; known are P@K, MAP@K, MAP, trec-MAP@K and Recall@K")
        k = None if match[2] is None else int(match[2])
        if match[1] == "P" and k is not None:
            values, chance = precision_at(lists, kept, k), chance_precision(sizes, num_items, k)
        elif match[1] == "Recall" and k is not None:
            values, chance = recall_at(lists, kept, k), np.full(len(kept), chance_recall(num_items, k))
        elif match[1] == "trec-MAP":
            values = trec_average_precision_at(lists, kept, k)
            chance = chance_average_precision(sizes, num_items, k, trec=True)
        else:
            values = average_precision_at(lists, kept, k)
            chance = chance_average_precision(sizes, num_items, k)
        result[name] = _metric(values, chance, len(relevant) - len(kept))
    return result


def paper_map_at_10(rankings: Ids, relevant: Relevant, *, seed: int = 0, queries: int = 10) -> float:
    """The paper's own figure, for comparison with the paper only, never the default.

    It is the mean P@10 of 10 sampled queries, which the paper calls MAP@10; `summarise` has MAP@10 proper,
    over all queries. Drawn from the queries with relevant ids, without repeats; NaN where there are none.
    """
    counted = np.array([q for q, wanted in enumerate(relevant) if len(wanted)], dtype=np.int64)
    if not len(counted):
        return float("nan")
    drawn = np.random.default_rng(seed).permutation(counted)[:queries]
    return float(precision_at(rankings[drawn], [relevant[q] for q in drawn], 10).mean())


def indexing_accuracy(
    rankings: Ids, own_ids: Ids, num_items: int, ks: Sequence[int] = (1, 5)
) -> dict[str, Metric]:
    """IA@k: the own id within the first k, over all indexed images."""
    return {
        f"IA@{k}": _metric(
            hit_at(rankings, own_ids, k), np.full(len(rankings), chance_recall(num_items, k)), excluded=0
        )
        for k in ks
    }


def _metric(values: Values, chance: Values, excluded: int) -> Metric:
    if not len(values):
        return Metric(float("nan"), float("nan"), (float("nan"), float("nan")), 0, excluded)
    return Metric(float(values.mean()), float(chance.mean()), bootstrap_ci(values), len(values), excluded)
