from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from helpers_cli import COUNT, one_error_line, run

New = Callable[..., Path]


def test_figures_are_printed_and_written_to_the_report(dsi: Path, photos: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    result = run("evaluate", dsi, photos, "--labels", "folder", "--json", report)
    assert result.exit_code == 0, result.stderr
    content = json.loads(report.read_text("utf-8"))
    assert list(content) == ["metrics", "queries", "excluded"]
    assert set(content["metrics"]) == {"IA@1", "IA@5", "P@10", "MAP@10", "MAP", "Recall@100"}
    assert (content["queries"], content["excluded"]) == (COUNT, 0)
    for name, metric in content["metrics"].items():
        assert set(metric) == {"value", "chance", "ci95"}
        low, high = metric["ci95"]
        assert 0 <= low <= metric["value"] <= high <= 1
        assert name in result.stdout and f"{metric['value']:.4f}" in result.stdout
    # Both ends of the scale: the tiny index knows its own images, and 100 places hold all twelve.
    assert content["metrics"]["IA@1"]["value"] == 1.0
    assert content["metrics"]["Recall@100"] == {"value": 1.0, "chance": 1.0, "ci95": [1.0, 1.0]}
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_indexing_accuracy_is_left_out_without_stored_features(
    copied: Path, photos: Path, tmp_path: Path
) -> None:
    assert run("compact", copied, "--drop-features", "--no-retrain").exit_code == 0
    report = tmp_path / "report.json"
    result = run("evaluate", copied, photos, "--json", report)
    assert result.exit_code == 0
    assert "IA@1" not in result.stdout and "MAP@10" in result.stdout
    assert "\nnote: IA@1 and IA@5 need the stored features" in result.stderr
    assert set(json.loads(report.read_text("utf-8"))["metrics"]) == {
        "P@10",
        "MAP@10",
        "MAP",
        "Recall@100",
    }


def test_queries_of_classes_that_are_not_indexed_are_excluded(
    dsi: Path, photos: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(photos, tmp_path / "more"))
    (folder / "oval").mkdir()
    shutil.copy(folder / "round" / "01.png", folder / "oval")
    result = run("evaluate", dsi, folder, "--json", tmp_path / "report.json")
    assert "queries without a relevant indexed image, left out: 1\n" in result.stdout
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert (report["queries"], report["excluded"]) == (COUNT, 1)


def test_wrong_arguments_are_refused(dsi: Path, photos: Path, tmp_path: Path) -> None:
    report = tmp_path / "nowhere" / "report.json"
    one_error_line(run("evaluate", dsi, photos, "--json", report), 2, "no such folder")
    one_error_line(run("evaluate", dsi, tmp_path / "none"), 2, "none")
    one_error_line(run("evaluate", dsi, photos / "round"), 2, "no class folder")
