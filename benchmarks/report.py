"""The tables of the quality benchmark: differences of the product to its best peers, and figures of all methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from measure import COMPARED, METRICS, Measured, best_peer, difference, means
from methods import ROWS

from vitdsi.evaluation.comparison import Difference
from vitdsi.evaluation.peers import PEERS, peer_named

Stored = dict[str, tuple[dict[str, Any], Measured]]
"""By method: name, facts and settings, and the values of single photos."""

_SHOWN = (
    "MAP",
    "P@10",
    "IA@1",
    "as in training@1",
    "unseen@1",
    "AUROC clean",
    "AUROC as in training",
    "AUROC unseen",
    "FPR@95 as in training",
    "FPR@95 unseen",
)
_DIFFERENCES = ("MAP", "P@10", "IA@1", "as in training@1", "unseen@1", "AUROC as in training", "AUROC unseen")
_CLUSTERED, _RANDOM = "product, labels, clustered ids", "product, labels, random ids"


def cell_report(stored: Stored, *, locked: bool) -> dict[str, Any]:
    """The figures of all methods in a cell, and the differences of the rows of the product, as JSON values."""
    figures = {name: means(values) for name, (_, values) in stored.items()}
    differences: dict[str, dict[str, Any]] = {}
    for row in ROWS:
        for metric in COMPARED if row in stored else ():
            peer = _rival(row, metric, figures)
            if peer is not None:
                found = difference(metric, [stored[row][1]], [stored[peer][1]])
                values = {"value": found.value, "low": found.low, "high": found.high}
                rounded = {key: round(value, 4) for key, value in values.items()}
                differences.setdefault(row, {})[metric] = {"best peer": peer, **rounded}
    return {
        "locked": locked,
        "methods": {name: {**figures[name], **about["facts"]} for name, (about, _) in stored.items()},
        "overrides": next((about["overrides"] for name, (about, _) in stored.items() if name in ROWS), []),
        "differences to the best peer": differences,
    }


def _rival(row: str, metric: str, figures: dict[str, dict[str, float]]) -> str | None:
    """The best peer of a row: without labels one that needs none, with labels any."""
    peers = {
        name: figures[name]
        for name in PEERS
        if name in figures and (row != "product" or not peer_named(name).needs_labels)
    }
    return best_peer(metric, peers) if peers else None


def summary(cells: list[dict[str, Any]], stored_of: Callable[[dict[str, Any]], Stored]) -> str:
    """Markdown tables of all cells. Cells that differ only in the seed are taken together.

    Args:
        cells: what the JSON files of the cells hold.
        stored_of: returns the values of single photos of a cell.
    """
    groups: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for cell in cells:
        groups.setdefault((cell["set"], cell["size"], cell["queries"]), []).append(cell)
    ordered = [group for _, group in sorted(groups.items())]
    compared = [_compared(group, [stored_of(cell) for cell in group]) for group in ordered]
    lines = [
        "## Differences to the best peer",
        "",
        "Bold: the product minus the peer that is best in this metric, the mean over the seeds; then the paired 95 % "
        "bootstrap interval over photos within the seeds, the peer, and its value.",
        "",
    ]
    for row in (*ROWS, _IDS):
        lines += [f"### {row[0].upper()}{row[1:]}", "", *_differences(row, ordered, compared), ""]
    for group in ordered:
        lines += [*_figures(group), ""]
    return "\n".join(lines)


_IDS = "random ids minus clustered ids"
_Compared = dict[str, dict[str, tuple[Difference, str, float]]]
"""By row and metric: the difference, to which method, and the value of that method."""


def _compared(group: list[dict[str, Any]], stored: list[Stored]) -> _Compared:
    """Compare the rows of the product in the cells of several seeds with the peers that are best on average."""
    common = [name for name in stored[0] if all(name in cell for cell in stored)]
    figures = {
        name: {
            metric: float(np.mean([cell["methods"][name][metric] for cell in group])) for metric in METRICS
        }
        for name in common
    }
    pairs = {(row, metric): _rival(row, metric, figures) for row in ROWS for metric in _DIFFERENCES}
    found: _Compared = {}
    for (row, metric), other in {**pairs, **{(_IDS, metric): _CLUSTERED for metric in _DIFFERENCES}}.items():
        own = _RANDOM if row == _IDS else row
        if own in figures and other in figures:
            values = difference(
                metric, [cell[own][1] for cell in stored], [cell[other][1] for cell in stored]
            )
            found.setdefault(row, {})[metric] = (values, other, figures[other][metric])
    return found


def _differences(row: str, groups: list[list[dict[str, Any]]], compared: list[_Compared]) -> Iterator[str]:
    """The table of one row: a line for each set and size, then how often it is better and worse."""
    yield _line(["set", "indexed", *_DIFFERENCES])
    yield _line(["---"] * (len(_DIFFERENCES) + 2))
    rows = [(group[0], found[row]) for group, found in zip(groups, compared, strict=True) if row in found]
    for cell, found in rows:
        entries = []
        for metric in _DIFFERENCES:
            values, other, level = found[metric]
            interval = f"**{_signed(values.value)}** [{_signed(values.low)}, {_signed(values.high)}]"
            entries.append(interval if row == _IDS else f"{interval} {other} {_short(level)}")
        yield _line([cell["set"], str(cell["size"]), *entries])
    if rows:
        totals = []
        for metric in _DIFFERENCES:
            values = [found[metric][0] for _, found in rows]
            better, worse = sum(v.low > 0 for v in values), sum(v.high < 0 for v in values)
            mean = _signed(float(np.mean([v.value for v in values])))
            totals.append(f"**{mean}**, better {better}, worse {worse} of {len(values)}")
        yield _line(["mean", "", *totals])


def _figures(group: list[dict[str, Any]]) -> Iterator[str]:
    """The table of all methods in cells that differ only in the seed: means over the seeds."""
    first, seeds = group[0], ", ".join(str(cell["seed"]) for cell in group)
    yield f"## {first['set']}: {first['size']} images of {first['classes']} classes indexed"
    yield ""
    yield (
        f"{'Locked set. ' if first['locked'] else ''}{first['searched']} {first['queries']} photos, "
        f"{first['copies']} copies, {first['training']} more training photos; seeds {seeds}."
    )
    yield ""
    yield _line(["method", *_SHOWN, "bytes an image", "fit s"])
    yield _line(["---"] * (len(_SHOWN) + 3))
    for name in first["methods"]:
        found = [cell["methods"][name] for cell in group if name in cell["methods"]]
        averages = [_short(float(np.mean([values[metric] for values in found]))) for metric in _SHOWN]
        size, seconds = (np.mean([values[fact] for values in found]) for fact in ("bytes an image", "fit s"))
        yield _line([name, *averages, f"{size:,.0f}", f"{seconds:.1f}"])


def _line(entries: list[str]) -> str:
    return "| " + " | ".join(entries) + " |"


def _short(value: float) -> str:
    return f"{value:.4f}".removeprefix("0")


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("0.", ".", 1)
