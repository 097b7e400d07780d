from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vitdsi.photos.find import ImageRecord

_COUNT = 40


def make_cell() -> Any:
    """A cell of random features of four classes, whose altered copies are noisy."""
    from cell import CONDITIONS, Cell

    rng = np.random.default_rng(0)
    centres = rng.uniform(0, 2, size=(4, 16))

    def photos(count: int) -> tuple[list[ImageRecord], torch.Tensor]:
        classes = np.arange(count) % 4
        features = np.maximum(centres[classes] + rng.normal(0, 0.4, (count, 16)), 0)
        records = [ImageRecord(f"{c}/{i}", Path(f"{c}/{i}"), str(c)) for i, c in enumerate(classes)]
        return records, torch.from_numpy(features).half()

    indexed, indexed_features = photos(_COUNT)
    training, training_features = photos(24)
    searched, searched_features = photos(12)
    inside = np.arange(0, _COUNT, 2)
    altered = {}
    for i, condition in enumerate(CONDITIONS):
        noise = [torch.from_numpy(rng.normal(0, 0.2 * i, (n, 16))).half() for n in (len(inside), 12)]
        altered[condition] = (indexed_features[inside] + noise[0], searched_features + noise[1])
    relevant = [np.arange(q % 4, _COUNT, 4) for q in range(12)]
    return Cell(
        "toy",
        _COUNT,
        0,
        "validation",
        indexed,
        training,
        searched,
        indexed_features,
        training_features,
        searched_features,
        relevant,
        np.arange(_COUNT),
        inside,
        altered,
    )


def test_the_metrics_of_a_peer_are_those_of_its_rankings() -> None:
    from measure import METRICS, UNSEEN, means, measure
    from methods import fit_peer

    from vitdsi.evaluation.detection import auroc
    from vitdsi.evaluation.metrics import summarise

    cell = make_cell()
    search = fit_peer("raw cosine", cell).search
    values = measure(search, cell)
    found = means(values)
    assert tuple(found) == METRICS
    ids, _ = search(cell.searched_features, _COUNT)
    expected = summarise(ids, cell.relevant, _COUNT, ("MAP", "P@10"))
    assert (found["MAP"], found["P@10"]) == pytest.approx(
        (expected["MAP"].value, expected["P@10"].value), abs=1e-4
    )
    assert found["IA@1"] == found["AUROC clean"] == 1
    assert found["collage@1"] < 1
    assert found["unseen@1"] == pytest.approx(np.mean([found[f"{name}@1"] for name in UNSEEN]), abs=1e-4)
    area = auroc(values["inside blur"], values["outside blur"]).value
    assert found["AUROC blur"] == pytest.approx(area, abs=1e-4)


@pytest.mark.parametrize("metric", ["MAP", "unseen@1", "AUROC clean", "AUROC unseen"])
def test_differences_are_those_of_the_means(metric: str) -> None:
    from measure import difference, means, measure
    from methods import fit_peer

    cell = make_cell()
    first, second = (
        measure(fit_peer(name, cell).search, cell) for name in ("whitened cosine", "raw + diffusion")
    )
    found = difference(metric, [first], [second])
    assert found.value == pytest.approx(means(first)[metric] - means(second)[metric], abs=2e-4)
    assert found.low <= found.value <= found.high
    assert difference(metric, [first], [first]).high == 0


def test_the_best_peer_is_the_first_with_the_highest_value() -> None:
    from measure import best_peer

    peers = {"a": {"MAP": 0.5}, "b": {"MAP": 0.7}, "c": {"MAP": 0.7}}
    assert best_peer("MAP", peers) == "b"
