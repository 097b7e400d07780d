"""Paired differences between methods: a bootstrap over the same queries, within each seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vitdsi.paper.cells import Cell
from vitdsi.paper.tables import format_number, markdown

METRICS = ("P@10", "MAP@10", "Recall@100")
_OURS = ("ours by examples", "ours")
# Each method with those that it is compared with.
_PAIRS = (
    *((method, other) for method in _OURS for other in ("fine-tuned", "BoVW", "BoVW improved")),
    *(("fine-tuned", other) for other in ("zero-shot", "BoVW", "BoVW improved")),
)

Floats = npt.NDArray[np.float64]


def paired_difference(
    differences: Sequence[Floats], *, level: float = 0.95, samples: int = 2000
) -> dict[str, Any]:
    """The mean of differences, and its percentile bootstrap interval.

    Args:
        differences: for each seed the differences of its queries (Q,). Queries are drawn within each seed, and all
            seeds have the same weight.
        level: of the interval.
        samples: number of bootstrap samples.

    Returns:
        `value`, `ci95`, `seeds_ahead` (in how many seeds the mean is positive) and `by_seed`.
    """
    rng = np.random.default_rng(0)
    means = np.zeros(samples)
    for each in differences:
        drawn = rng.integers(len(each), size=(samples, len(each)))
        means += each[drawn].mean(1) / len(differences)
    by_seed = [float(each.mean()) for each in differences]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return {
        "value": float(np.mean(by_seed)),
        "ci95": [float(low), float(high)],
        "seeds_ahead": sum(mean > 0 for mean in by_seed),
        "by_seed": by_seed,
    }


def compare(cells: Sequence[tuple[Cell, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Compare methods on the seeds that both have: by size, then in the order of the id schemes of the cells."""
    found = {(cell.method, cell.size, cell.scheme, cell.seed): result for cell, result in cells}
    sizes = sorted({cell.size for cell, _ in cells})
    schemes = list(dict.fromkeys(cell.scheme for cell, _ in cells if cell.scheme != "-"))
    seeds = sorted({cell.seed for cell, _ in cells})
    rows = []
    for size in sizes:
        for scheme in schemes:
            for method, other in _PAIRS:
                ids = "-" if other.startswith("BoVW") else scheme
                pairs = [
                    (found[method, size, scheme, seed], found[other, size, ids, seed])
                    for seed in seeds
                    if (method, size, scheme, seed) in found and (other, size, ids, seed) in found
                ]
                if pairs:
                    rows.append(
                        {"size": size, "ids": scheme, "method": method, "against": other, **_row(pairs)}
                    )
    return rows


def _row(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> dict[str, Any]:
    differences = {
        name: [np.subtract(one["values"][name], other["values"][name]) for one, other in pairs]
        for name in METRICS
    }
    return {
        "seeds": len(pairs),
        "queries": sum(map(len, differences[METRICS[0]])),
        "differences": {name: paired_difference(each) for name, each in differences.items()},
    }


def paired_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The differences of each row with their intervals, and in how many seeds they are positive."""
    body = [
        [
            f"{row['method']} - {row['against']}",
            row["ids"],
            str(row["size"]),
            *(format_difference(row["differences"][name]) for name in METRICS),
            f"{row['differences']['P@10']['seeds_ahead']} of {row['seeds']}",
            str(row["queries"]),
        ]
        for row in rows
    ]
    return markdown(["difference", "ids", "DB size", *METRICS, "seeds ahead (P@10)", "queries"], body)


def format_difference(difference: Mapping[str, Any]) -> str:
    """A difference with its sign and its interval, such as `+0.120 [+0.070, +0.171]`."""
    value, low, high = (_signed(number) for number in (difference["value"], *difference["ci95"]))
    return f"{value} [{low}, {high}]"


def _signed(number: float) -> str:
    return ("+" if number >= 0 else "-") + format_number(abs(number))
