from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers_cli import one_error_line, run
from helpers_experiments import SIZE, class_folders, coco

CHANCE = ("--methods", "chance", "--no-figures")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return class_folders(tmp_path_factory.mktemp("data") / "photos")


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        (["--methods", "chance,magic"], ["method 'magic' is unknown", "zero-shot"]),
        (["--schemes", "semantic"], ["scheme 'semantic' is unknown", "random, clustered"]),
        (["--sizes", "many"], ["--sizes 'many'", "separated by commas"]),
        (["--seeds", "-1"], ["--seeds '-1'"]),
        (["--sizes", "41"], ["has 40 images; a DB size of 41"]),
        (["more"], ["'more' is one argument too many"]),
        (["model.patchsize=8"], ["unknown configuration key", "did you mean model.paper.patch_size?"]),
        (["model.paper.dropout=lots"], ["model.paper.dropout"]),
        (["ours.training.augment=1"], ["unknown configuration key", "training.augment_prob"]),
        (["model.paper.positions=fixed"], ["choose one of learned, sincos1d, sincos2d"]),
        (["model.paper.image_size=160"], ["'model.paper.image_size=160'", "use --image-size"]),
        (["ours.ids.scheme=semantic"], ["use --schemes"]),
        (["seed=3"], ["use --seeds"]),
        (["--relevance", "largest"], ["choose class for class folders"]),
        (["--manifest", "nowhere.json"], ["nowhere.json", "cannot be read"]),
        (["--classes", "3"], ["3 classes of at least 1 images are needed, but there are 2"]),
    ],
)
def test_one_line_says_what_is_wrong(
    photos: Path, tmp_path: Path, given: list[str], parts: list[str]
) -> None:
    result = run("experiment", "table1", photos, "-o", tmp_path / "out", "--sizes", SIZE, *CHANCE, *given)
    one_error_line(result, 2, *parts)


def test_a_missing_folder_and_one_without_classes(tmp_path: Path) -> None:
    one_error_line(run("experiment", "table1", tmp_path / "no", "-o", tmp_path / "out"), 2, "no")
    class_folders(tmp_path / "photos", each=1)
    flat = tmp_path / "photos" / "a"
    one_error_line(run("experiment", "table1", flat, "-o", tmp_path / "out"), 2, "lies in no class folder")
    (tmp_path / "file").write_text("")
    result = run("experiment", "table1", tmp_path / "photos", "-o", tmp_path / "file" / "out")
    one_error_line(result, 2, "cannot be created")


def test_the_hub_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    result = run("experiment", "table1", "hub:frgfm/imagenette", "-o", tmp_path / "out")
    one_error_line(result, 2, "frgfm/imagenette", "pip install 'vitdsi[hub]'")


def test_again_from_the_manifest_of_an_earlier_run(photos: Path, tmp_path: Path) -> None:
    first = run("experiment", "table1", photos, "-o", tmp_path / "a", "--sizes", 36, "--seeds", 3, *CHANCE)
    assert first.exit_code == 0, first.output
    (manifest,) = (tmp_path / "a" / "manifests").iterdir()
    again = [
        "experiment",
        "table1",
        photos,
        "-o",
        tmp_path / "b",
        "--manifest",
        manifest,
        "--seeds",
        3,
        *CHANCE,
    ]
    assert run(*again).exit_code == 0
    cells = [{path.name for path in (tmp_path / out / "cells").iterdir()} for out in "ab"]
    assert cells[0] == cells[1] and len(cells[0]) == 1
    for option in ("--sizes=36", "--classes=2", "--indexing-share=.5", "--aspect-tolerance=.1"):
        result = run(*again, option)
        one_error_line(
            result, 2, "--manifest says which images there are", f"leave out {option.split('=')[0]}"
        )
    given = ["experiment", "ablation", "indexing_share", photos, "-o", tmp_path / "c", "--manifest", manifest]
    one_error_line(run(*given), 2, "vary indexing_share without one")


def test_the_command_in_the_table_has_no_paths(photos: Path, tmp_path: Path) -> None:
    run("experiment", "table1", photos, "-o", tmp_path / "out", "--sizes", SIZE, "--cache", tmp_path, *CHANCE)
    content = json.loads((tmp_path / "out" / "table1.json").read_text())
    assert content["command"] == (
        "vitdsi experiment table1 photos -o out --sizes 40 --methods chance --no-figures"
    )
    assert str(tmp_path) not in (tmp_path / "out" / "table1.md").read_text()


def test_coco_with_both_kinds_of_relevance(tmp_path: Path) -> None:
    objects = [{"cat": 3.0, "dog": 1.0} if i % 2 else {"dog": 2.0} for i in range(SIZE)]
    images, instances = coco(tmp_path / "mini", objects)
    given = ["experiment", "table1", images, "--instances", instances, "--sizes", SIZE, *CHANCE]
    for relevance, expected in (("shared", 1.0), ("largest", 0.5)):
        out = tmp_path / relevance
        assert run(*given, "-o", out, "--relevance", relevance).exit_code == 0
        (row,) = json.loads((out / "table1.json").read_text())["rows"]
        assert row["dataset"] == "mini" and row["metrics"]["P@10"]["value"] == pytest.approx(expected)
        assert f"# Table 1: mini, relevance: {relevance}" in (out / "table1.md").read_text()


def test_ablation_and_scaling(photos: Path, tmp_path: Path) -> None:
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
