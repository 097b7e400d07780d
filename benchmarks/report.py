"""The tables of the quality benchmark: figures of all methods, and differences of the product to its best peer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from measure import COMPARED, METRICS, Measured, best_peer, difference, means
from methods import ROWS

from vitdsi.evaluation.peers import PEERS, peer_named

Stored = dict[str, tuple[dict[str, Any], Measured]]

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
    labels = row != "product"
    peers = {name: figures[name] for name in PEERS if name in figures}
    allowed = {name: found for name, found in peers.items() if labels or not peer_named(name).needs_labels}
    return best_peer(metric, allowed) if allowed else None


def summary(cells: list[dict[str, Any]], stored_of: Callable[[dict[str, Any]], Stored]) -> str:
    """Markdown tables of all cells, the means over the seeds.

    Args:
        cells: what the JSON files of the cells hold.
        stored_of: returns the values of single photos of a cell.
    """
    groups: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for cell in cells:
        groups.setdefault((cell["set"], cell["size"], cell["queries"]), []).append(cell)
    lines = []
    for (name, size, queries), group in sorted(groups.items()):
        seeds = ", ".join(str(cell["seed"]) for cell in group)
        first = group[0]
        lines += [
            f"## {name}: {size} of {first['classes']} classes indexed",
            "",
            f"{'Locked set. ' if first['locked'] else ''}{first['searched']} {queries} photos, {first['copies']} "
            f"copies, {first['training']} more training photos; seeds {seeds}.",
            "",
            *_figures(group),
            "",
            *_differences(group, [stored_of(cell) for cell in group]),
            "",
        ]
    return "\n".join(lines)


def _figures(group: list[dict[str, Any]]) -> Iterator[str]:
    """The table of all methods, the means over cells that differ in the seed."""
    yield _row(["method", *_SHOWN, "bytes an image", "fit s"])
    yield _row(["---"] * (len(_SHOWN) + 3))
    for name in group[0]["methods"]:
        found = [cell["methods"][name] for cell in group if name in cell["methods"]]
        averages = [np.mean([values[metric] for values in found]) for metric in _SHOWN]
        more = [np.mean([values[fact] for values in found]) for fact in ("bytes an image", "fit s")]
        yield _row([name, *(_short(value) for value in averages), f"{more[0]:,.0f}", f"{more[1]:.1f}"])


def _differences(group: list[dict[str, Any]], stored: list[Stored]) -> Iterator[str]:
    """The table of differences to the peer that is best on average, with intervals over queries within the seeds."""
    common = [name for name in stored[0] if all(name in cell for cell in stored)]
    figures = {
        name: {
            metric: float(np.mean([cell["methods"][name][metric] for cell in group])) for metric in METRICS
        }
        for name in common
    }
    yield "Differences to the best peer, with paired 95 % bootstrap intervals:"
    yield ""
    yield _row(["row", *_DIFFERENCES])
    yield _row(["---"] * (len(_DIFFERENCES) + 1))
    for row in ROWS:
        if row not in common:
            continue
        entries = []
        for metric in _DIFFERENCES:
            peer = _rival(row, metric, figures)
            if peer is not None:
                entries.append(
                    f"{_interval(metric, row, peer, stored)} {peer} {_short(figures[peer][metric])}"
                )
        yield _row([row, *entries])
    if _CLUSTERED in common and _RANDOM in common:
        entries = [_interval(metric, _RANDOM, _CLUSTERED, stored) for metric in _DIFFERENCES]
        yield _row(["random ids minus clustered ids", *entries])


def _interval(metric: str, own: str, other: str, stored: list[Stored]) -> str:
    found = difference(metric, [cell[own][1] for cell in stored], [cell[other][1] for cell in stored])
    return f"**{_signed(found.value)}** [{_signed(found.low)}, {_signed(found.high)}]"


def _row(entries: list[str]) -> str:
    return "| " + " | ".join(entries) + " |"


def _short(value: float) -> str:
    return f"{value:.4f}".removeprefix("0")


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("0.", ".", 1)
