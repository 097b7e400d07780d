from __future__ import annotations

import math
from typing import Any

import pytest

from vitdsi.paper.cells import Cell
from vitdsi.paper.printed import PRINTED, printed
from vitdsi.paper.scores import METRICS
from vitdsi.paper.tables import interval, main_table, number, paper_table, rows


def cell(method: str = "fine-tuned", size: int = 512, scheme: str = "random", seed: int = 0) -> Cell:
    return Cell("photos", "class", size, scheme, method, seed, {})


def result(value: float | None, half: float = 0.1, **more: Any) -> dict[str, Any]:
    bounds = [None, None] if value is None else [value - half, value + half]
    metric = {"value": value, "ci95": bounds, "chance": 0.1, "queries": 40, "excluded": 1}
    return {
        "metrics": dict.fromkeys(METRICS, metric),
        "paper": {"IA@1": value, "IA@5": value, "MAP@10": value, "Recall@100": value},
        "seconds": 10.0,
        "steps": 100,
        "parameters": 1234567,
        "indexed": 128,
        **more,
    }


def test_seeds_become_one_row() -> None:
    cells = [(cell(seed=seed), result(value)) for seed, value in enumerate((0.5, 0.6, 0.7))]
    (row,) = rows(cells)
    metric = row["metrics"]["P@10"]
    assert (row["seeds"], metric["by_seed"], metric["queries"]) == ([0, 1, 2], [0.5, 0.6, 0.7], 120)
    assert metric["value"] == pytest.approx(0.6)
    half = math.sqrt(3 * 0.1**2) / 3  # of a mean of three independent samples
    assert metric["ci95"] == pytest.approx([0.6 - half, 0.6 + half])
    assert row["cells"] == [made.name() for made, _ in cells]


def test_what_has_no_value_is_left_out_of_means() -> None:
    (row,) = rows([(cell(seed=0), result(0.4)), (cell(seed=1), result(None))])
    assert row["metrics"]["P@10"]["value"] == 0.4
    assert row["metrics"]["P@10"]["ci95"] == [None, None]
    (row,) = rows([(cell(), result(0.99))])
    assert row["metrics"]["P@10"]["ci95"] == pytest.approx([0.89, 1.0])


def test_rows_are_by_size_and_then_as_computed() -> None:
    order = [("ours", 1024), ("BoVW", 1024), ("ours", 512), ("chance", 512)]
    made = rows([(cell(method, size), result(0.5)) for method, size in order])
    assert [(row["method"], row["size"]) for row in made] == [
        ("ours", 512),
        ("chance", 512),
        ("ours", 1024),
        ("BoVW", 1024),
    ]


def test_the_main_table() -> None:
    made = rows([(cell(), result(0.5)), (cell("chance", scheme="-"), result(0.5, parameters=0))])
    header, rule, first, last = main_table(made).splitlines()
    assert header.split(" | ")[2:] == ["DB size (indexed)", *METRICS, "seconds", "parameters |"]
    assert rule.count("---:") == len(METRICS) + 3
    assert first == (
        "| fine-tuned | random | 512 (128) | " + "0.500 [0.400, 0.600] | " * 5 + "10 | 1,234,567 |"
    )
    assert last.endswith("| - | - |")


def test_the_papers_values_stand_beside_ours() -> None:
    made = rows([(cell(), result(0.5)), (cell("BoVW", scheme="-"), result(0.5)), (cell("ours"), result(0.5))])
    lines = paper_table(made).splitlines()[2:]
    assert lines[0].endswith("| 0.500 / 0.402 | 0.500 / 0.472 | 0.500 / 0.210 | 0.500 / 0.365 |")
    assert lines[1].endswith("| 0.500 / - | 0.500 / - | 0.500 / 0.580 | 0.500 / 0.875 |")
    assert lines[2].endswith("| 0.500 / - | 0.500 / - | 0.500 / - | 0.500 / - |")


def test_the_paper_prints_fifteen_rows() -> None:
    schemes = {"BoVW": ["-"], "fine-tuned": ["random", "clustered"], "zero-shot": ["random", "clustered"]}
    wanted = {(m, s, n) for m, names in schemes.items() for s in names for n in (512, 1024, 2048)}
    assert set(PRINTED) == wanted
    assert printed("ours", "random", 512) == {}
    # as its text says: more images are harder, and clustered ids easier than random ones
    for method, scheme, size in wanted:
        if size < 2048:
            smaller, larger = PRINTED[method, scheme, size], PRINTED[method, scheme, 2 * size]
            assert smaller[2] > larger[2] and smaller[3] > larger[3]
        if scheme == "random":
            pairs = zip(PRINTED[method, scheme, size], PRINTED[method, "clustered", size], strict=True)
            assert all(a is not None and b is not None and a < b for a, b in pairs)


def test_numbers() -> None:
    assert [number(value) for value in (0.12345, None, float("nan"))] == ["0.123", "-", "-"]
    assert interval({"value": None, "ci95": [None, None]}) == "-"
