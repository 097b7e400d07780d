"""Results of cells as rows of a table, averaged over seeds, and tables as Markdown."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vitdsi.files import write_atomically
from vitdsi.paper.cells import Cell
from vitdsi.paper.printed import COLUMNS, printed
from vitdsi.paper.scores import METRICS

Row = dict[str, Any]

QUICK_NOTE = (
    "**Quick run:** training is cut short to take minutes. These figures only show that the code works."
)
INTERVALS_NOTE = (
    "Brackets are 95 % intervals: a bootstrap over queries (for IA over indexed images); over several seeds, "
    "the mean with the seeds' intervals combined as those of independent samples."
)


def average_seeds(cells: Sequence[tuple[Cell, Mapping[str, Any]]]) -> list[Row]:
    """Average cells that differ only in their seed; rows are sorted by size, then in the order of the cells."""
    groups: dict[tuple[str, int, str, str], list[tuple[Cell, Mapping[str, Any]]]] = {}
    for cell, result in cells:
        groups.setdefault((cell.dataset, cell.size, cell.method, cell.scheme), []).append((cell, result))
    rows = []
    for (dataset, size, method, scheme), members in groups.items():
        results = [result for _, result in members]
        rows.append(
            {
                "dataset": dataset,
                "size": size,
                "indexed": results[0]["indexed"],
                "method": method,
                "ids": scheme,
                "seeds": [cell.seed for cell, _ in members],
                "metrics": {
                    name: average_metric([result["metrics"][name] for result in results]) for name in METRICS
                },
                "paper": {name: _mean([result["paper"][name] for result in results]) for name in COLUMNS},
                "printed": printed(method, scheme, size),
                "seconds": _mean([result["seconds"] for result in results]),
                "parameters": results[0]["parameters"],
                "steps": _mean([result["steps"] for result in results]),
                "examples": _mean([result["examples"] for result in results]),
                "petaflops": _mean([result["petaflops"] for result in results]),
                "cells": [cell.name() for cell, _ in members],
            }
        )
    return sorted(rows, key=lambda row: row["size"])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def average_metric(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Average a metric over seeds; the interval combines those of the seeds as of independent samples."""
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
    """A Markdown table whose columns are right-aligned except for the first two."""
    rule = ["---" if i < 2 else "---:" for i in range(len(header))]
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *body))


def main_table(rows: Sequence[Row]) -> str:
    """The standard metrics of each row with their intervals."""
    body = [
        [
            row["method"],
            row["ids"],
            f"{row['size']} ({row['indexed']})",
            str(len(row["seeds"])),
            *(format_interval(row["metrics"][name]) for name in METRICS),
            f"{row['examples']:,.0f}" if row["examples"] else "-",
            f"{1000 * row['petaflops']:.1f}" if row["petaflops"] else "-",
            "-" if row["method"] == "chance" else f"{row['seconds']:.0f}",
            f"{row['parameters']:,}" if row["parameters"] else "-",
        ]
        for row in rows
    ]
    costs = ["examples", "TFLOP", "seconds", "parameters"]
    return markdown(["method", "ids", "DB size (indexed)", "seeds", *METRICS, *costs], body)


def paper_table(rows: Sequence[Row]) -> str:
    """The metrics as the paper defines them, each as 'measured here / printed in the paper'."""
    body = [
        [
            row["method"],
            row["ids"],
            f"{row['size']} ({row['indexed']})",
            *(
                f"{format_number(row['paper'][name])} / {format_number(row['printed'].get(name))}"
                for name in COLUMNS
            ),
        ]
        for row in rows
    ]
    return markdown(["method", "ids", "DB size (indexed)", *COLUMNS], body)


def format_interval(metric: Mapping[str, Any]) -> str:
    """The value of a metric with its interval, such as `0.512 [0.470, 0.554]`."""
    low, high = metric["ci95"]
    bounds = "" if low is None else f" [{format_number(low)}, {format_number(high)}]"
    return format_number(metric["value"]) + bounds


def format_number(value: float | None) -> str:
    """Three decimals, or a dash for None and NaN."""
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def write_report(out: Path, stem: str, text: str, content: Mapping[str, Any]) -> list[str]:
    """Write a report to `out` as Markdown for readers and JSON for programs; return the names of the files."""
    contents = {f"{stem}.md": text, f"{stem}.json": json.dumps(content, indent=1) + "\n"}
    for name, written in contents.items():
        with write_atomically(out / name) as stream:
            stream.write(written.encode())
    return list(contents)
