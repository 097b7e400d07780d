"""Comparing two methods on the same queries: the paired bootstrap interval of a difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vitdsi.errors import UsageError
from vitdsi.evaluation.metrics import Values

__all__ = ["Difference", "auroc_difference", "false_positives", "paired_difference"]

Scores = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Difference:
    """A method minus a reference.

    Attributes:
        value: the difference.
        low, high: the bounds of its percentile bootstrap interval.
    """

    value: float
    low: float
    high: float


def paired_difference(
    values: Sequence[Values],
    reference: Sequence[Values],
    *,
    level: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
) -> Difference:
    """Compare the means of a metric over the same queries.

    Queries are drawn with replacement, and the same draw serves both methods (Efron and Tibshirani 1993; Sakai 2006 for
    retrieval). With several cells, such as the seeds of a benchmark, queries are drawn within each of them, and the
    difference is the mean over the cells of the differences.

    Args:
        values: for each cell, the metric (Q,) of each query.
        reference: the same of the reference.
        level: the confidence level.
        samples: how often the queries are drawn.
        seed: the seed of the draws.

    Raises:
        UsageError: there is no cell, a cell has no queries, or the two methods have different numbers of queries.
    """
    _check_pairs([len(part) for part in values], [len(part) for part in reference])
    rng = np.random.default_rng(seed)
    differences = [np.asarray(a) - np.asarray(b) for a, b in zip(values, reference, strict=True)]
    drawn = [part[rng.integers(len(part), size=(samples, len(part)))].mean(1) for part in differences]
    return _difference([float(part.mean()) for part in differences], drawn, level)


def auroc_difference(
    inside: Sequence[Scores],
    outside: Sequence[Scores],
    reference_inside: Sequence[Scores],
    reference_outside: Sequence[Scores],
    *,
    level: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
) -> Difference:
    """Compare the areas under the ROC curve of two methods that score the same photos.

    The area is the mean over all pairs of a photo of the collection and another one of 1 if the first has the higher
    score, and of one half if both have the same. Photos of both kinds are drawn with replacement, each by itself.

    Args:
        inside: for each cell, the scores (n,) of photos of the collection.
        outside: for each cell, the scores (m,) of other photos.
        reference_inside, reference_outside: the scores that the reference gives to the same photos.
        level, samples, seed: as for `paired_difference`.

    Raises:
        UsageError: there is no cell, a cell lacks photos of one kind, or the methods have different numbers of photos.
    """
    _check_pairs([len(part) for part in inside], [len(part) for part in reference_inside])
    _check_pairs([len(part) for part in outside], [len(part) for part in reference_outside])
    rng = np.random.default_rng(seed)
    means, drawn = [], []
    for own_in, own_out, other_in, other_out in zip(
        inside, outside, reference_inside, reference_outside, strict=True
    ):
        pairs = _wins(own_in, own_out) - _wins(other_in, other_out)
        n, m = pairs.shape
        # How often each photo is drawn decides the mean over the drawn pairs.
        rows = rng.multinomial(n, np.full(n, 1 / n), size=samples) / n
        columns = rng.multinomial(m, np.full(m, 1 / m), size=samples) / m
        means.append(float(pairs.mean()))
        drawn.append(((rows @ pairs) * columns).sum(1))
    return _difference(means, drawn, level)


def false_positives(inside: Scores, outside: Scores, recall: float = 0.95) -> float:
    """Return the share of other photos that reach the threshold which `recall` of the collection's photos reach.

    Args:
        inside: (n,) scores of photos of the collection.
        outside: (m,) scores of other photos.
        recall: the share of `inside` that is recognised, in (0, 1].

    Raises:
        UsageError: there are no scores of one kind, or the recall is out of range.
    """
    if not len(inside) or not len(outside):
        raise UsageError(f"{len(inside)} scores inside, {len(outside)} outside; give at least one of each")
    if not 0 < recall <= 1:
        raise UsageError(f"recall={recall}: must be above 0 and at most 1")
    threshold = np.sort(inside)[::-1][int(np.ceil(recall * len(inside) - 1e-9)) - 1]
    return float(np.mean(np.asarray(outside) >= threshold))


def _wins(inside: Scores, outside: Scores) -> npt.NDArray[np.float64]:
    """Return 1 for each pair (n, m) in which the first score is higher, and one half where both are equal."""
    first, second = np.asarray(inside)[:, None], np.asarray(outside)[None]
    wins: npt.NDArray[np.float64] = (first > second) + 0.5 * (first == second)
    return wins


def _difference(means: list[float], drawn: list[Values], level: float) -> Difference:
    low, high = np.quantile(np.mean(drawn, axis=0), [(1 - level) / 2, (1 + level) / 2])
    return Difference(float(np.mean(means)), float(low), float(high))


def _check_pairs(first: list[int], second: list[int]) -> None:
    if not first or 0 in first or first != second:
        raise UsageError(
            f"{first} and {second} values in the cells of two methods; give both methods the same queries, at least one"
        )
