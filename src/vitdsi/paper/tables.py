"""Cells to rows over seeds, and rows to Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from vitdsi.paper.cells import Cell
from vitdsi.paper.printed import COLUMNS, printed
from vitdsi.paper.scores import METRICS

Row = dict[str, Any]

INTERVALS = (
    "Brackets are 95 % intervals: a bootstrap over queries (for IA over indexed images); over several seeds, "
    "the mean with the seeds' intervals combined as those of independent samples."
)


def rows(cells: Sequence[tuple[Cell, Mapping[str, Any]]]) -> list[Row]:
    """One row a method, size and id scheme, in the order of the cells: means over seeds."""
    groups: dict[tuple[str, int, str, str], list[tuple[Cell, Mapping[str, Any]]]] = {}
    for cell, result in cells:
        groups.setdefault((cell.dataset, cell.size, cell.method, cell.scheme), []).append((cell, result))
    made = []
    for (dataset, size, method, scheme), members in groups.items():
        results = [result for _, result in members]
        made.append(
            {
                "dataset": dataset,
                "size": size,
                "indexed": results[0]["indexed"],
                "method": method,
                "ids": scheme,
                "seeds": [cell.seed for cell, _ in members],
                "metrics": {name: _over_seeds([r["metrics"][name] for r in results]) for name in METRICS},
                "paper": {name: _mean([r["paper"][name] for r in results]) for name in COLUMNS},
                "printed": printed(method, scheme, size),
                "seconds": _mean([result["seconds"] for result in results]),
                "parameters": results[0]["parameters"],
                "steps": _mean([result["steps"] for result in results]),
                "cells": [cell.name() for cell, _ in members],
            }
        )
    return sorted(made, key=lambda row: row["size"])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _over_seeds(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    value = _mean([metric["value"] for metric in metrics])
    bounds: list[float | None] = [None, None]
    if value is not None and all(None not in (metric["value"], *metric["ci95"]) for metric in metrics):
        spread = [
            math.sqrt(sum((metric["ci95"][side] - metric["value"]) ** 2 for metric in metrics)) / len(metrics)
            for side in (0, 1)
        ]
        bounds = [max(0.0, value - spread[0]), min(1.0, value + spread[1])]
    return {
        "value": value,
        "ci95": bounds,
        "chance": _mean([metric["chance"] for metric in metrics]),
        "by_seed": [metric["value"] for metric in metrics],
        "queries": sum(metric["queries"] for metric in metrics),
        "excluded": sum(metric["excluded"] for metric in metrics),
    }


def markdown(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table; columns after the first two are right-aligned."""
    rule = ["---" if i < 2 else "---:" for i in range(len(header))]
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *body))


def main_table(made: Sequence[Row]) -> str:
    """The standard metrics of every row with intervals; chance is a row of each size."""
    body = [
        [
            row["method"],
            row["ids"],
            f"{row['size']} ({row['indexed']})",
            *(interval(row["metrics"][name]) for name in METRICS),
            "-" if row["method"] == "chance" else f"{row['seconds']:.0f}",
            f"{row['parameters']:,}" if row["parameters"] else "-",
        ]
        for row in made
    ]
    return markdown(["method", "ids", "DB size (indexed)", *METRICS, "seconds", "parameters"], body)


def paper_table(made: Sequence[Row]) -> str:
    """The paper's own definitions: measured here / printed in the paper."""
    body = [
        [
            row["method"],
            row["ids"],
            f"{row['size']} ({row['indexed']})",
            *(f"{number(row['paper'][name])} / {number(row['printed'].get(name))}" for name in COLUMNS),
        ]
        for row in made
    ]
    return markdown(["method", "ids", "DB size (indexed)", *COLUMNS], body)


def interval(metric: Mapping[str, Any]) -> str:
    """`0.512 [0.470, 0.554]`."""
    low, high = metric["ci95"]
    bounds = "" if low is None else f" [{number(low)}, {number(high)}]"
    return number(metric["value"]) + bounds


def number(value: float | None) -> str:
    """Three decimals, or a dash."""
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"
