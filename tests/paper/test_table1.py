"""Table 1 end to end on a few mosaics, from the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from helpers_cli import run
from helpers_experiments import OPTIONS, SHORT, SIZE, class_folders, runner

from vitdsi.paper.methods import METHODS, TRAINED
from vitdsi.paper.scores import METRICS
from vitdsi.paper.table1 import run_table1

for _library in ("cv2", "faiss", "matplotlib"):
    pytest.importorskip(_library)

_FIGURES = ("figure1-indexing", "figure2-retrieval-train", "figure3-retrieval-validation")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return class_folders(tmp_path_factory.mktemp("data") / "photos")


def test_command_writes_tables_figures_curves_and_manifest_and_keeps_them(
    photos: Path, tmp_path: Path
) -> None:
    given = ["experiment", "table1", photos, "-o", tmp_path / "out", "--sizes", SIZE, "--image-size", 32]
    given += ["--bovw-size", 32, *SHORT]
    first = run(*given)
    assert first.exit_code == 0, first.output
    out = tmp_path / "out"
    table = json.loads((out / "table1.json").read_text())
    found = [(row["method"], row["ids"]) for row in table["rows"]]
    assert found == [
        *((method, ids) for method in METHODS[:4] for ids in ("random", "clustered")),
        *((method, "-") for method in METHODS[4:]),
    ]
    for row in table["rows"]:
        assert (row["size"], row["indexed"]) == (SIZE, 10)
        assert set(row["metrics"]) == set(METRICS)
        assert row["metrics"]["Recall@100"]["value"] == 1.0, "every method ranks all ten"
        assert all(0 <= metric["value"] <= 1 for metric in row["metrics"].values())
        trained = row["method"] in TRAINED
        assert (row["steps"] > 0) == trained
        if trained:
            assert row["parameters"] > 1000
    by_name = {(row["method"], row["ids"]): row for row in table["rows"]}
    for method in ("BoVW", "BoVW improved", "kNN"):
        assert by_name[method, "-"]["metrics"]["IA@1"]["value"] == 1.0
    assert by_name["chance", "-"]["metrics"]["IA@1"]["value"] == pytest.approx(0.1)
    for ids in ("random", "clustered"):
        assert by_name["fine-tuned", ids]["steps"] > by_name["zero-shot", ids]["steps"]

    text = (out / "table1.md").read_text()
    assert "Command: `vitdsi experiment table1 photos model.embed_dim=16" in text
    assert "-o out --image-size 32 --bovw-size 32 --sizes 40`" in text
    assert str(tmp_path) not in text and "Quick" not in text
    assert text.count("| BoVW | - | 40 (10) |") == 2
    assert "| ours by examples - BoVW improved | clustered | 40 |" in text
    assert len(table["differences"]) == 2 * 9
    figures = [f"{name}.{kind}" for name in _FIGURES for kind in ("png", "svg")]
    assert sorted(path.name for path in out.glob("figure*")) == sorted(figures)
    (manifest,) = (out / "manifests").iterdir()
    assert len(json.loads(manifest.read_text())["images"]) == SIZE
    logs = {path.parent.name.split("-")[4]: path for path in (out / "logs").glob("*random*/metrics.jsonl")}
    phases = {
        name: {json.loads(line)["phase"] for line in path.read_text().splitlines()}
        for name, path in logs.items()
    }
    assert {"indexing"} in phases.values() and {"retrieval"} in phases.values()

    cells = {path: path.read_bytes() for path in (out / "cells").iterdir()}
    again = run(*given[: -len(SHORT)], *SHORT, "--no-figures")
    assert again.stderr.count(": already computed") >= len(found) and ": started" not in again.stderr
    assert {path: path.read_bytes() for path in (out / "cells").iterdir()} == cells
    assert json.loads((out / "table1.json").read_text())["rows"] == table["rows"]


@pytest.mark.parametrize("quick", [True, False])
def test_table_of_a_quick_run_says_so(photos: Path, tmp_path: Path, quick: bool) -> None:
    options = replace(OPTIONS, methods=("chance",), quick=quick)
    run_table1(runner(photos, tmp_path, options), tmp_path, "vitdsi experiment table1 photos")
    assert ("**Quick run:**" in (tmp_path / "table1.md").read_text()) == quick
    assert json.loads((tmp_path / "table1.json").read_text())["quick"] is quick


def test_table_says_how_the_retrieval_phase_ends(photos: Path, tmp_path: Path) -> None:
    for early_stopping, text in ((True, "no longer falls"), (False, "takes all its epochs")):
        options = replace(OPTIONS, methods=("chance",), early_stopping=early_stopping)
        run_table1(runner(photos, tmp_path, options), tmp_path, "")
        assert text in (tmp_path / "table1.md").read_text()


def test_table_says_which_cells_are_not_measured(photos: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, methods=("chance",))
    run_table1(runner(photos, tmp_path, options), tmp_path, "")
    assert "Not measured" not in (tmp_path / "table1.md").read_text()
    options = replace(options, methods=("chance", "fine-tuned"), finished=True, seeds=(0, 1))
    run_table1(runner(photos, tmp_path, options), tmp_path, "")
    text = (tmp_path / "table1.md").read_text()
    assert f"by seeds: fine-tuned, random ids, {SIZE}: 0, 1; chance, - ids, {SIZE}: 1." in text
