from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers_cli import one_error_line, run
from helpers_experiments import SIZE, class_folders

from vitdsi.paper import methods
from vitdsi.paper.samples import Samples, read_dataset, sample

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
        (["model.image_size=160"], ["'model.image_size=160'", "use --image-size"]),
        (["--methods", ","], ["no method is given", "zero-shot"]),
        (["ours.ids.scheme=semantic"], ["use --schemes"]),
        (["seed=3"], ["use --seeds"]),
        (["--relevance", "largest"], ["choose class for class folders"]),
        (["--manifest", "nowhere.json"], ["nowhere.json", "cannot be read"]),
        (["--classes", "3"], ["3 classes of at least 1 images are needed, but there are 2"]),
    ],
)
def test_wrong_argument_is_reported_in_one_line(
    photos: Path, tmp_path: Path, given: list[str], parts: list[str]
) -> None:
    result = run("experiment", "table1", photos, "-o", tmp_path / "out", "--sizes", SIZE, *CHANCE, *given)
    one_error_line(result, 2, *parts)


def test_recorded_command_has_no_paths_and_no_cache(photos: Path, tmp_path: Path) -> None:
    run("experiment", "table1", photos, "-o", tmp_path / "out", "--sizes", SIZE, "--cache", tmp_path, *CHANCE)
    content = json.loads((tmp_path / "out" / "table1.json").read_text())
    assert content["command"] == (
        "vitdsi experiment table1 photos -o out --sizes 40 --methods chance --no-figures"
    )
    assert str(tmp_path) not in (tmp_path / "out" / "table1.md").read_text()


@pytest.mark.parametrize(
    "option", ["--sizes=36", "--classes=2", "--indexing-share=.5", "--aspect-tolerance=.1"]
)
def test_manifest_excludes_options_that_choose_images(photos: Path, tmp_path: Path, option: str) -> None:
    sample(read_dataset(photos), SIZE, 0).manifest(tmp_path / "m.json")
    given = [
        "experiment",
        "table1",
        photos,
        "-o",
        tmp_path / "out",
        "--manifest",
        tmp_path / "m.json",
        *CHANCE,
    ]
    name, _, _ = option.partition("=")
    one_error_line(run(*given, option), 2, "--manifest fixes the images", f"leave out {name}")


def test_features_are_cached_in_the_folder_of_the_user_unless_another_is_given(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches: list[Path | None] = []

    def remember(samples: Samples, cache: Path | None, seed: int) -> methods.Result:
        caches.append(cache)
        return methods.chance(samples)

    monkeypatch.setattr("vitdsi.backbones.cache.default_cache", lambda: tmp_path / "user")
    monkeypatch.setattr(methods, "nearest_features", remember)
    given = ["experiment", "table1", photos, "--sizes", SIZE, "--methods", "kNN", "--no-figures"]
    assert run(*given, "-o", tmp_path / "a").exit_code == 0
    assert run(*given, "-o", tmp_path / "b", "--cache", tmp_path / "given").exit_code == 0
    assert caches == [tmp_path / "user", tmp_path / "given"]
