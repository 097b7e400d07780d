"""Table 1 end to end on a few mosaics, from the command line and from the runner."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_cli import run
from helpers_experiments import SHORT, SIZE, class_folders

from vitdsi.paper.cells import CellStore
from vitdsi.paper.methods import METHODS
from vitdsi.paper.runner import Options, Runner
from vitdsi.paper.samples import read_dataset
from vitdsi.paper.scores import METRICS
from vitdsi.paper.table1 import run_table1

for _library in ("cv2", "faiss", "matplotlib"):
    pytest.importorskip(_library)

OPTIONS = Options(
    sizes=(SIZE,),
    schemes=("random",),
    methods=("zero-shot", "fine-tuned", "ours", "chance"),
    image_size=32,
    bovw_size=32,
    overrides=SHORT,
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return class_folders(tmp_path_factory.mktemp("data") / "photos")


def runner(photos: Path, out: Path, options: Options = OPTIONS, say: Any = lambda line: None) -> Runner:
    return Runner(read_dataset(photos), options, CellStore(out), say=say)


def test_the_command_writes_tables_figures_curves_and_manifest(photos: Path, tmp_path: Path) -> None:
    given = ["experiment", "table1", photos, "-o", tmp_path / "out", "--sizes", SIZE, "--image-size", 32]
    given += ["--bovw-size", 32, *SHORT]
    first = run(*given)
    assert first.exit_code == 0, first.output
    out = tmp_path / "out"
    table = json.loads((out / "table1.json").read_text())
    found = [(row["method"], row["ids"]) for row in table["rows"]]
    assert found == [
        *((method, ids) for method in METHODS[:3] for ids in ("random", "clustered")),
        *((method, "-") for method in METHODS[3:]),
    ]
    for row in table["rows"]:
        assert (row["size"], row["indexed"]) == (SIZE, 10)
        assert set(row["metrics"]) == set(METRICS)
        assert row["metrics"]["Recall@100"]["value"] == 1.0, "every method ranks all ten"
        assert all(0 <= metric["value"] <= 1 for metric in row["metrics"].values())
        trained = row["method"] in ("zero-shot", "fine-tuned", "ours")
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
    assert again.stderr.count(": kept") >= len(found) and ": begins" not in again.stderr
    assert {path: path.read_bytes() for path in (out / "cells").iterdir()} == cells
    assert json.loads((out / "table1.json").read_text())["rows"] == table["rows"]


_FIGURES = ("figure1-indexing", "figure2-retrieval-train", "figure3-retrieval-validation")


def test_a_run_that_was_stopped_keeps_its_finished_cells(photos: Path, tmp_path: Path) -> None:
    said: list[str] = []

    def stop(line: str) -> None:
        said.append(line)
        if "ours" in line and "begins" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner(photos, tmp_path, say=stop).run()
    kept = {path: path.read_bytes() for path in (tmp_path / "cells").iterdir()}
    assert len(kept) == 2
    said = []
    cells = runner(photos, tmp_path, say=said.append).run()
    assert [cell.method for cell, _ in cells] == list(OPTIONS.methods)
    assert [line.rpartition(": ")[2] for line in said if "zero-shot" in line] == ["kept"]
    assert {path: path.read_bytes() for path in kept} == kept
    assert len(list((tmp_path / "cells").iterdir())) == 4

    # one broken file, and the weights that the fine-tuned cell starts from gone: both are made again, the same
    broken = next(path for path in kept if "fine-tuned" in path.name)
    before = json.loads(kept[broken])
    broken.write_text("{")
    for path in (tmp_path / "models").iterdir():
        path.unlink()
    again = {cell.method: result for cell, result in runner(photos, tmp_path).run()}
    assert again["fine-tuned"]["metrics"] == before["result"]["metrics"]
    assert again["fine-tuned"]["history"] == before["result"]["history"]


def test_ours_gets_no_more_time_than_the_papers_recipe_took(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = runner(photos, tmp_path, replace(OPTIONS, methods=("zero-shot", "fine-tuned"))).run()
    given: list[float | None] = []

    def remember(trained: Any, watch: Any) -> Any:
        given.append(trained.config.training.minutes)
        return cells[0][1]

    monkeypatch.setattr("vitdsi.paper.methods.ours", remember)
    runner(photos, tmp_path, replace(OPTIONS, methods=("ours",))).run()
    (minutes,) = given
    took = cells[1][1]["seconds"] / 60
    assert minutes is not None and 0.8 * took <= minutes <= took


def test_the_same_seed_gives_the_same_cell_and_another_seed_another(photos: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, methods=("fine-tuned",), seeds=(0, 1))
    results = []
    for folder in ("a", "b"):
        results.append([result for _, result in runner(photos, tmp_path / folder, options).run()])
    for first, second in zip(*results, strict=True):
        assert first["metrics"] == second["metrics"] and first["history"] == second["history"]
    assert results[0][0]["history"] != results[0][1]["history"]


def test_what_is_not_of_a_cell_does_not_change_its_name(photos: Path, tmp_path: Path) -> None:
    """Other rows of the table or another place to write to leave a cell what it is; settings do not."""
    base = runner(photos, tmp_path).cell("fine-tuned", SIZE, "random", 0).name()
    for change in (
        {"methods": ("fine-tuned",)},
        {"schemes": ("clustered",)},
        {"bovw_size": 64},
        {"seeds": (3,)},
    ):
        assert (
            runner(photos, tmp_path, replace(OPTIONS, **change))
            .cell(  # type: ignore[arg-type]
                "fine-tuned", SIZE, "random", 0
            )
            .name()
            == base
        )
    changes: list[dict[str, Any]] = [
        {"image_size": 16},
        {"early_stopping": False},
        {"indexing_share": 0.5},
        {"quick": True},
        {"overrides": (*SHORT, "model.paper.dropout=0.2")},
    ]
    names = {
        runner(photos, tmp_path, replace(OPTIONS, **change)).cell("fine-tuned", SIZE, "random", 0).name()
        for change in changes
    }
    assert len({base, *names}) == 6
    ours = runner(photos, tmp_path).cell("ours", SIZE, "random", 0).name()
    other = replace(OPTIONS, overrides=(*SHORT, "ours.training.augment_prob=0.1"))
    assert runner(photos, tmp_path, other).cell("ours", SIZE, "random", 0).name() != ours
    assert runner(photos, tmp_path, other).cell("fine-tuned", SIZE, "random", 0).name() == base


def test_a_quick_table_says_so(photos: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, methods=("chance",), quick=True)
    run_table1(runner(photos, tmp_path, options), tmp_path, "vitdsi experiment table1 photos --quick")
    assert "**Quick run:**" in (tmp_path / "table1.md").read_text()
    assert json.loads((tmp_path / "table1.json").read_text())["quick"] is True


def test_training_leaves_the_callers_random_numbers_alone(photos: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    runner(photos, tmp_path, replace(OPTIONS, methods=("zero-shot",))).run()
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)
