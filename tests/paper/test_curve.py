from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers_experiments import OPTIONS, SIZE, class_folders, runner

from vitdsi.paper import curve as module
from vitdsi.paper.curve import LINES, curve, curve_cell


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return class_folders(tmp_path_factory.mktemp("data") / "photos")


def test_line_begins_at_the_zero_shot_cell_and_has_all_points(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POINTS", (0, 10, 30))
    chosen = runner(photos, tmp_path, replace(OPTIONS, methods=("zero-shot",)))
    cell, result = curve(chosen, LINES[0], SIZE, "random", 0)
    _, zero_shot = chosen.result("zero-shot", SIZE, "random", 0)
    assert [point["step"] for point in result["points"]] == [0, 10, 30]
    assert result["points"][0]["metrics"] == zero_shot["metrics"]
    assert result["points"][-1]["metrics"] == result["metrics"], "the last point is the final model"
    assert result["points"][1]["epoch"] == pytest.approx(10 * 32 / 120)
    assert result["steps"] == zero_shot["steps"] + 30
    assert curve(chosen, LINES[0], SIZE, "random", 0) == (cell, chosen.store.load(cell))


def test_measuring_does_not_change_the_training(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for name, points in (("a", (0, 30)), ("b", (0, 10, 20, 30))):
        monkeypatch.setattr(module, "POINTS", points)
        chosen = runner(photos, tmp_path / name, replace(OPTIONS, methods=("zero-shot",)))
        results.append(curve(chosen, LINES[0], SIZE, "random", 0)[1])
    assert results[0]["metrics"] == results[1]["metrics"]
    assert results[0]["history"]["retrieval"] == results[1]["history"]["retrieval"]


def test_lines_have_different_cells_and_an_epoch_with_replay_has_more_steps(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POINTS", (0, 10))
    chosen = runner(photos, tmp_path, replace(OPTIONS, methods=("zero-shot",)))
    names = {curve_cell(chosen, line, SIZE, "random", 0).name() for line in LINES}
    assert len(names) == len(LINES)
    half = next(line for line in LINES if line.replay == 0.5)
    assert curve(chosen, half, SIZE, "random", 0)[1]["points"][1]["epoch"] == pytest.approx(10 * 16 / 120)
