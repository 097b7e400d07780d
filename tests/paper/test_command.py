from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from helpers_cli import one_error_line, run
from helpers_experiments import SIZE, class_folders, coco

CHANCE = ("--methods", "chance", "--no-figures")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return class_folders(tmp_path_factory.mktemp("data") / "photos")


def test_folder_that_cannot_be_read_or_written_is_reported_in_one_line(tmp_path: Path) -> None:
    one_error_line(run("experiment", "table1", tmp_path / "no", "-o", tmp_path / "out"), 2, "no")
    class_folders(tmp_path / "photos", each=1)
    flat = tmp_path / "photos" / "a"
    one_error_line(run("experiment", "table1", flat, "-o", tmp_path / "out"), 2, "lies in no class folder")
    (tmp_path / "file").write_text("")
    result = run("experiment", "table1", tmp_path / "photos", "-o", tmp_path / "file" / "out")
    one_error_line(result, 2, "cannot be created")


def test_missing_library_of_the_hub_is_reported_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    result = run("experiment", "table1", "hub:frgfm/imagenette", "-o", tmp_path / "out")
    one_error_line(result, 2, "frgfm/imagenette", "pip install 'vitdsi[hub]'")


def test_manifest_of_an_earlier_run_repeats_it(photos: Path, tmp_path: Path) -> None:
    given = ["experiment", "table1", photos, "--seeds", 3, *CHANCE]
    first = run(*given, "-o", tmp_path / "a", "--sizes", 36)
    assert first.exit_code == 0, first.output
    (manifest,) = (tmp_path / "a" / "manifests").iterdir()
    assert run(*given, "-o", tmp_path / "b", "--manifest", manifest).exit_code == 0
    cells = [{path.name for path in (tmp_path / out / "cells").iterdir()} for out in "ab"]
    assert cells[0] == cells[1] and len(cells[0]) == 1
    given = ["experiment", "ablation", "indexing_share", photos, "-o", tmp_path / "c", "--manifest", manifest]
    one_error_line(run(*given), 2, "vary indexing_share without it")


def test_coco_is_read_with_either_relevance(tmp_path: Path) -> None:
    objects = [{"cat": 3.0, "dog": 1.0} if i % 2 else {"dog": 2.0} for i in range(SIZE)]
    images, instances = coco(tmp_path / "mini", objects)
    given = ["experiment", "table1", images, "--instances", instances, "--sizes", SIZE, *CHANCE]
    for relevance, expected in (("shared", 1.0), ("largest", 0.5)):
        out = tmp_path / relevance
        assert run(*given, "-o", out, "--relevance", relevance).exit_code == 0
        (row,) = json.loads((out / "table1.json").read_text())["rows"]
        assert row["dataset"] == "mini" and row["metrics"]["P@10"]["value"] == pytest.approx(expected)
        assert f"# Table 1: mini, relevance: {relevance}" in (out / "table1.md").read_text()


def test_ablation_and_scaling_write_their_files(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("faiss")
    given = ["--size", SIZE, "--methods", "chance", "--values", "0.25,0.5"]
    result = run("experiment", "ablation", "indexing_share", photos, "-o", tmp_path / "out", *given)
    assert result.exit_code == 0, result.output
    assert "ablation-indexing_share.md" in result.stderr + result.stdout
    one_error_line(run("experiment", "scaling", "-o", tmp_path / "out", "--sizes", "5"), 2, "at least 10")
    small = ("--image-size", 32, "model.embed_dim=16", "model.depth=1", "model.num_heads=2")
    result = run("experiment", "scaling", "-o", tmp_path / "out", "--sizes", "10,20", "--repeats", 1, *small)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "scaling.png").is_file()
