from __future__ import annotations

from typing import Any

import numpy as np
import pytest

_ROWS = ("product", "product, labels, random ids", "product, labels, clustered ids")


def _values(level: float, seed: int = 0) -> dict[str, Any]:
    """Values of a method, which are about as high as `level`."""
    from cell import CONDITIONS
    from measure import UNSEEN

    rng = np.random.default_rng(seed)
    values = {name: np.clip(level + rng.normal(0, 0.01, 30), 0, 1) for name in ("MAP", "P@10", "IA@1")}
    for condition in CONDITIONS:
        values[f"{condition}@1"] = np.clip(level + rng.normal(0, 0.01, 20), 0, 1)
        values[f"inside {condition}"] = level + rng.normal(0, 0.1, 20)
        values[f"outside {condition}"] = rng.normal(0, 0.1, 25)
    values["unseen@1"] = np.mean([values[f"{name}@1"] for name in UNSEEN], axis=0)
    return values


def _stored(levels: dict[str, float], seed: int = 0) -> dict[str, Any]:
    facts = {"bytes an image": 512.0, "fit s": 1.5}
    return {
        name: ({"name": name, "facts": facts, "overrides": []}, _values(level, seed))
        for name, level in levels.items()
    }


def _levels() -> dict[str, float]:
    return {"raw cosine": 0.6, "raw + diffusion": 0.7, "LDA cosine": 0.9} | dict.fromkeys(_ROWS, 0.8)


def test_rows_are_compared_with_the_best_peer_that_may_use_as_much() -> None:
    from report import cell_report

    found = cell_report(_stored(_levels()), locked=False)
    differences = found["differences to the best peer"]
    assert differences["product"]["MAP"]["best peer"] == "raw + diffusion"
    assert differences["product"]["MAP"]["value"] == pytest.approx(0.1, abs=0.02)
    assert differences["product"]["MAP"]["low"] > 0
    for row in _ROWS[1:]:
        assert differences[row]["MAP"]["best peer"] == "LDA cosine"
        assert differences[row]["MAP"]["high"] < 0
    assert found["methods"]["raw cosine"]["bytes an image"] == 512


def test_the_summary_has_every_method_each_difference_and_that_of_the_ids() -> None:
    from report import cell_report, summary

    stored = {seed: _stored(_levels(), seed) for seed in (0, 1)}
    about = {
        "set": "toy",
        "size": 40,
        "queries": "test",
        "classes": 4,
        "searched": 30,
        "copies": 20,
        "training": 9,
    }
    cells = [{**about, "seed": seed, **cell_report(stored[seed], locked=True)} for seed in (0, 1)]
    text = summary(cells, lambda cell: stored[cell["seed"]])
    assert "## toy: 40 images of 4 classes indexed" in text
    assert "Locked set. 30 test photos, 20 copies, 9 more training photos; seeds 0, 1." in text
    lines = text.splitlines()
    for name in _levels():
        assert any(line.startswith(f"| {name} | .") for line in lines)
    without, random, _, ids = [line for line in lines if line.startswith("| toy | 40 | **")]
    assert without.startswith("| toy | 40 | **+.1") and "] raw + diffusion .7" in without
    assert random.startswith("| toy | 40 | **-.") and "] LDA cosine .9" in random
    assert ids.count("[") == 7 and "cosine" not in ids
    totals = [line for line in lines if line.startswith("| mean |  | **")]
    assert (
        len(totals) == 4
        and totals[0].startswith("| mean |  | **+.1")
        and "better 1, worse 0 of 1" in totals[0]
    )


def test_cells_of_peers_alone_have_no_differences() -> None:
    from report import cell_report

    assert cell_report(_stored({"raw cosine": 0.5}), locked=False)["differences to the best peer"] == {}
