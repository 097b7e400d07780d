from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vitdsi.paper.cells import Cell
from vitdsi.paper.paired import METRICS, compare, format_difference, paired_difference, paired_table


def cell(method: str, scheme: str = "random", seed: int = 0, size: int = 512) -> Cell:
    return Cell("photos", "class", size, scheme, method, seed, {})


def result(*values: float) -> dict[str, Any]:
    return {"values": {name: list(values) for name in METRICS}}


def test_interval_is_that_of_the_mean_difference_and_seeds_weigh_the_same() -> None:
    rng = np.random.default_rng(1)
    small, large = rng.normal(0.3, 1, 400), rng.normal(0.1, 1, 1600)
    found = paired_difference([small, large])
    assert found["value"] == pytest.approx((small.mean() + large.mean()) / 2)
    half = 1.96 * np.sqrt(small.var() / 400 + large.var() / 1600) / 2
    assert found["ci95"] == pytest.approx([found["value"] - half, found["value"] + half], abs=0.01)
    assert (found["seeds_ahead"], len(found["by_seed"])) == (2, 2)


def test_equal_gain_on_every_query_has_no_uncertainty_however_different_the_queries() -> None:
    found = paired_difference([np.array([0.9, 0.1, 0.5]) + 0.2 - np.array([0.9, 0.1, 0.5])])
    assert found["ci95"] == pytest.approx([0.2, 0.2])


def test_methods_are_compared_on_the_seeds_that_both_have() -> None:
    cells = [
        (cell("ours", seed=0), result(0.5, 0.7)),
        (cell("ours", seed=1), result(0.5, 0.5)),
        (cell("fine-tuned", seed=0), result(0.4, 0.4)),
        (cell("BoVW", scheme="-", seed=0), result(0.1, 0.1)),
        (cell("BoVW", scheme="-", seed=1), result(0.6, 0.6)),
    ]
    rows = {(row["method"], row["against"]): row for row in compare(cells)}
    assert set(rows) == {("ours", "fine-tuned"), ("ours", "BoVW"), ("fine-tuned", "BoVW")}
    assert rows["ours", "fine-tuned"]["differences"]["P@10"]["value"] == pytest.approx(0.2)
    assert (rows["ours", "fine-tuned"]["seeds"], rows["ours", "fine-tuned"]["queries"]) == (1, 2)
    both = rows["ours", "BoVW"]
    assert both["differences"]["MAP@10"]["value"] == pytest.approx(0.2)
    assert (both["seeds"], both["differences"]["MAP@10"]["seeds_ahead"]) == (2, 1)


def test_table_shows_signs_and_seeds() -> None:
    rows = compare([(cell("ours"), result(0.5, 0.5)), (cell("fine-tuned"), result(0.6, 0.6))])
    line = paired_table(rows).splitlines()[2]
    assert line == "| ours - fine-tuned | random | 512 | " + "-0.100 [-0.100, -0.100] | " * 3 + "0 of 1 | 2 |"
    assert format_difference({"value": 0.1, "ci95": [-0.05, 0.25]}) == "+0.100 [-0.050, +0.250]"
