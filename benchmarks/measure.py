"""Measuring a method on a cell: a value for each query, from which means and paired differences are computed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from alterations import KNOWN, UNSEEN
from cell import CLEAN, CONDITIONS, Cell
from methods import Search

from vitdsi.evaluation.comparison import Difference, auroc_difference, false_positives, paired_difference
from vitdsi.evaluation.detection import auroc
from vitdsi.evaluation.metrics import Values, average_precision_at, hit_at, precision_at

Measured = dict[str, Values]
"""Values for each query by name: metrics, and the best scores `inside <condition>` and `outside <condition>`."""

_UNSEEN = "unseen"
MEANS = ("MAP", "P@10", "IA@1", *(f"{name}@1" for name in (KNOWN, _UNSEEN, *UNSEEN)))
AREAS = tuple(f"AUROC {name}" for name in (CLEAN, KNOWN, _UNSEEN, *UNSEEN))
FALSE_POSITIVES = tuple(f"FPR@95 {name}" for name in (CLEAN, KNOWN, _UNSEEN, *UNSEEN))
METRICS = (*MEANS, *AREAS, *FALSE_POSITIVES)
COMPARED = (*MEANS, *AREAS)


def measure(search: Search, cell: Cell) -> Measured:
    """Search with all photos of a cell."""
    ranked, _ = search(cell.searched_features, cell.size)
    own, _ = search(cell.indexed_features[cell.own], 1)
    values = {
        "MAP": average_precision_at(ranked, cell.relevant, None),
        "P@10": precision_at(ranked, cell.relevant, 10),
        "IA@1": hit_at(own, cell.own, 1),
    }
    for condition in CONDITIONS:
        inside, outside = cell.altered[condition]
        ids, scores = search(inside, 1)
        values[f"{condition}@1"] = hit_at(ids, cell.inside, 1)
        values[f"inside {condition}"] = scores[:, 0].astype(np.float64)
        values[f"outside {condition}"] = search(outside, 1)[1][:, 0].astype(np.float64)
    values[f"{_UNSEEN}@1"] = np.mean([values[f"{name}@1"] for name in UNSEEN], axis=0)
    return values


def means(values: Measured) -> dict[str, float]:
    """The metrics of one method in one cell. Those of `unseen` are the means over the six unseen alterations."""
    found = {name: float(values[name].mean()) for name in MEANS}
    for condition in CONDITIONS:
        inside, outside = values[f"inside {condition}"], values[f"outside {condition}"]
        found[f"AUROC {condition}"] = auroc(inside, outside).value
        found[f"FPR@95 {condition}"] = false_positives(inside, outside)
    for kind in ("AUROC", "FPR@95"):
        found[f"{kind} {_UNSEEN}"] = float(np.mean([found[f"{kind} {name}"] for name in UNSEEN]))
    return {name: round(found[name], 4) for name in METRICS}


def difference(metric: str, own: Sequence[Measured], other: Sequence[Measured]) -> Difference:
    """Compare two methods in the same cells by one of the `COMPARED` metrics."""
    if metric in MEANS:
        return paired_difference([cell[metric] for cell in own], [cell[metric] for cell in other])
    condition = metric.removeprefix("AUROC ")
    # The unseen alterations are cells of their own, whose areas are averaged.
    names = UNSEEN if condition == _UNSEEN else (condition,)
    return auroc_difference(
        *(
            [cell[f"{side} {name}"] for cell in part for name in names]
            for part in (own, other)
            for side in ("inside", "outside")
        )
    )


def best_peer(metric: str, peers: dict[str, dict[str, float]]) -> str:
    """The name of the peer with the highest value of a metric, the first of several."""
    return max(peers, key=lambda name: peers[name][metric])
