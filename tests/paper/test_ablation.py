from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers_experiments import SHORT, SIZE, class_folders

from vitdsi.errors import UsageError
from vitdsi.paper.ablation import run_ablation
from vitdsi.paper.cells import CellStore
from vitdsi.paper.runner import Options, Runner
from vitdsi.paper.samples import Dataset, read_dataset

pytest.importorskip("matplotlib")

OPTIONS = Options(
    sizes=(SIZE,), schemes=("random",), methods=("zero-shot", "fine-tuned"), image_size=32, overrides=SHORT
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return read_dataset(class_folders(tmp_path_factory.mktemp("data") / "photos"))


def ablate(dataset: Dataset, out: Path, name: str, *values: str, **options: Any) -> list[str]:
    return run_ablation(
        name,
        replace(OPTIONS, **options),
        lambda given: Runner(dataset, given, CellStore(out)),
        out,
        "vitdsi experiment ablation",
        values=values,
    )


def test_ablation_writes_cells_table_and_figure_of_each_value(dataset: Dataset, tmp_path: Path) -> None:
    written = ablate(dataset, tmp_path, "dropout", "0.0", "0.5")
    assert written == [f"ablation-dropout.{kind}" for kind in ("md", "json", "png", "svg")]
    assert all((tmp_path / name).stat().st_size for name in written)
    content = json.loads((tmp_path / "ablation-dropout.json").read_text())
    assert content["setting"] == "model.paper.dropout" and "dropout of 0.1 is best" in content["claim"]
    found = [(row["value"], row["method"]) for row in content["rows"]]
    assert found == [(value, method) for value in ("0.0", "0.5") for method in OPTIONS.methods]
    text = (tmp_path / "ablation-dropout.md").read_text()
    assert text.count("\nMachine: ") == 1, "all cells ran on the same machine"
    assert "The paper says: a dropout of 0.1 is best." in text
    assert text.count("| 0.5 |") == 2
    cells = [json.loads(path.read_text())["key"] for path in (tmp_path / "cells").iterdir()]
    assert sorted(cell["settings"]["config"]["model"]["paper"]["dropout"] for cell in cells) == [
        0,
        0,
        0.5,
        0.5,
    ]


def test_retrieval_epochs_share_one_indexing_phase_and_never_stop_early(
    dataset: Dataset, tmp_path: Path
) -> None:
    ablate(dataset, tmp_path, "retrieval_epochs", "0", "2")
    cells = [json.loads(path.read_text()) for path in (tmp_path / "cells").iterdir()]
    tuned = [cell for cell in cells if cell["key"]["method"] == "fine-tuned"]
    assert len(cells) == 3 and len(tuned) == 2, "the zero-shot cell is the same for both"
    assert [cell["key"]["settings"]["early_stopping"] for cell in tuned] == [False, False]
    (none,) = (cell["result"] for cell in tuned if "retrieval" not in cell["result"]["history"])
    (zero,) = (cell["result"] for cell in cells if cell["key"]["method"] == "zero-shot")
    assert none["metrics"] == zero["metrics"] and none["steps"] == zero["steps"]


def test_indexing_share_changes_the_number_of_indexed_images(dataset: Dataset, tmp_path: Path) -> None:
    ablate(dataset, tmp_path, "indexing_share", "0.25", "0.5", methods=("chance",))
    content = json.loads((tmp_path / "ablation-indexing_share.json").read_text())
    assert [(row["value"], row["indexed"]) for row in content["rows"]] == [("0.25", 10), ("0.5", 20)]


def test_unknown_ablations_and_values_that_are_not_numbers_raise(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ablation 'colour' is unknown; choose one of patch_size, "):
        ablate(dataset, tmp_path, "colour")
    with pytest.raises(UsageError, match="image_size=large: give a number"):
        ablate(dataset, tmp_path, "image_size", "32", "large")
    assert list(tmp_path.iterdir()) == []
