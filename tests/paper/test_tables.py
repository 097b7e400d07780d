from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from vitdsi.paper.cells import Cell
from vitdsi.paper.scores import METRICS
from vitdsi.paper.tables import (
    average_seeds,
    format_interval,
    format_number,
    main_table,
    paper_table,
    write_report,
)


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
        "examples": 3200,
        "petaflops": 0.0015,
        "parameters": 1234567,
        "indexed": 128,
        **more,
    }


def test_cells_that_differ_in_their_seed_become_one_row() -> None:
    cells = [(cell(seed=seed), result(value)) for seed, value in enumerate((0.5, 0.6, 0.7))]
    (row,) = average_seeds(cells)
    metric = row["metrics"]["P@10"]
    assert (row["seeds"], metric["by_seed"], metric["queries"]) == ([0, 1, 2], [0.5, 0.6, 0.7], 120)
    assert metric["value"] == pytest.approx(0.6)
    half = math.sqrt(3 * 0.1**2) / 3  # standard error of a mean of three independent samples
    assert metric["ci95"] == pytest.approx([0.6 - half, 0.6 + half])
    assert row["cells"] == [made.name() for made, _ in cells]


def test_means_leave_out_missing_values() -> None:
    (row,) = average_seeds([(cell(seed=0), result(0.4)), (cell(seed=1), result(None))])
    assert row["metrics"]["P@10"]["value"] == 0.4
    assert row["metrics"]["P@10"]["ci95"] == [None, None]
    (row,) = average_seeds([(cell(), result(0.99))])
    assert row["metrics"]["P@10"]["ci95"] == pytest.approx([0.89, 1.0])


def test_rows_are_sorted_by_size_and_keep_the_order_of_cells() -> None:
    order = [("ours", 1024), ("BoVW", 1024), ("ours", 512), ("chance", 512)]
    made = average_seeds([(cell(method, size), result(0.5)) for method, size in order])
    assert [(row["method"], row["size"]) for row in made] == [
        ("ours", 512),
        ("chance", 512),
        ("ours", 1024),
        ("BoVW", 1024),
    ]


def test_main_table_shows_intervals_and_no_seconds_for_chance() -> None:
    made = average_seeds([(cell(), result(0.5)), (cell("chance", scheme="-"), result(0.5, parameters=0))])
    header, rule, first, last = main_table(made).splitlines()
    assert header.split(" | ")[2:] == [
        "DB size (indexed)",
        "seeds",
        *METRICS,
        *("examples", "TFLOP", "seconds", "parameters |"),
    ]
    assert rule.count("---:") == len(METRICS) + 6
    assert first == (
        "| fine-tuned | random | 512 (128) | 1 | "
        + "0.500 [0.400, 0.600] | " * 5
        + "3,200 | 1.5 | 10 | 1,234,567 |"
    )
    assert last.endswith("| - | - |")


def test_paper_table_shows_measured_and_printed_values() -> None:
    made = average_seeds(
        [(cell(), result(0.5)), (cell("BoVW", scheme="-"), result(0.5)), (cell("ours"), result(0.5))]
    )
    lines = paper_table(made).splitlines()[2:]
    assert lines[0].endswith("| 0.500 / 0.402 | 0.500 / 0.472 | 0.500 / 0.210 | 0.500 / 0.365 |")
    assert lines[1].endswith("| 0.500 / - | 0.500 / - | 0.500 / 0.580 | 0.500 / 0.875 |")
    assert lines[2].endswith("| 0.500 / - | 0.500 / - | 0.500 / - | 0.500 / - |")


def test_missing_numbers_are_formatted_as_a_dash() -> None:
    assert [format_number(value) for value in (0.12345, None, float("nan"))] == ["0.123", "-", "-"]
    assert format_interval({"value": None, "ci95": [None, None]}) == "-"


def test_report_is_written_as_markdown_and_json(tmp_path: Path) -> None:
    assert write_report(tmp_path, "table", "# Table\n", {"rows": [1]}) == ["table.md", "table.json"]
    assert (tmp_path / "table.md").read_text() == "# Table\n"
    assert json.loads((tmp_path / "table.json").read_text()) == {"rows": [1]}
