from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers_experiments import OPTIONS, SHORT, SIZE, class_folders, runner

from vitdsi.errors import ConfigError, UsageError
from vitdsi.paper.runner import Options


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return class_folders(tmp_path_factory.mktemp("data") / "photos")


def cell_name(photos: Path, out: Path, method: str = "fine-tuned", **changes: Any) -> str:
    return runner(photos, out, replace(OPTIONS, **changes)).cell(method, SIZE, "random", 0).name()


def test_interrupted_run_continues_with_the_missing_cells(photos: Path, tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        if "ours" in line and "started" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner(photos, tmp_path, say=interrupt).run()
    kept = {path: path.read_bytes() for path in (tmp_path / "cells").iterdir()}
    assert len(kept) == 2
    said: list[str] = []
    cells = runner(photos, tmp_path, say=said.append).run()
    assert [cell.method for cell, _ in cells] == list(OPTIONS.methods)
    assert [line.rpartition(": ")[2] for line in said if "zero-shot" in line] == ["already computed"]
    assert {path: path.read_bytes() for path in kept} == kept
    assert len(list((tmp_path / "cells").iterdir())) == 4


def test_broken_cell_and_missing_weights_are_computed_again(photos: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, methods=("zero-shot", "fine-tuned"))
    (zero_cell, _), (cell, first) = runner(photos, tmp_path, options).run()
    (tmp_path / "cells" / f"{cell.name()}.json").write_text("{")
    (tmp_path / "models" / f"{zero_cell.name()}.safetensors").unlink()
    second = runner(photos, tmp_path, options).run()[1][1]
    assert second["metrics"] == first["metrics"]
    assert second["history"] == first["history"]
    stored = json.loads((tmp_path / "cells" / f"{zero_cell.name()}.json").read_text())
    assert stored["result"]["machine"] == first["machine"], "the recomputed cell is complete"


@pytest.mark.parametrize(("setting", "share"), [(None, 0.9), ("0", 0.0), ("9", 0.9)])
def test_ours_trains_no_longer_than_the_fine_tuned_cell_or_its_own_limit(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str | None, share: float
) -> None:
    limits: list[float | None] = []
    result = runner(photos, tmp_path, replace(OPTIONS, methods=("chance",))).run()[0][1]

    def remember(experiment: Any, callbacks: Any) -> Any:
        limits.append(experiment.config.training.minutes)
        return result

    monkeypatch.setattr("vitdsi.paper.methods.zero_shot", lambda *_: result)
    monkeypatch.setattr("vitdsi.paper.methods.fine_tuned", lambda *_, **__: {**result, "seconds": 30.0})
    monkeypatch.setattr("vitdsi.paper.methods.ours", remember)
    overrides = SHORT if setting is None else (*SHORT, f"ours.training.minutes={setting}")
    runner(photos, tmp_path, replace(OPTIONS, methods=("ours",), overrides=overrides)).run()
    assert limits == [pytest.approx(share * 0.5)]


def test_ours_by_examples_has_as_many_examples_and_flops_as_the_fine_tuned_cell(
    photos: Path, tmp_path: Path
) -> None:
    (_, fine_tuned), (_, ours) = runner(
        photos, tmp_path, replace(OPTIONS, methods=("fine-tuned", "ours by examples"))
    ).run()
    # Steps are rounded up before and after the cooldown begins.
    assert abs(ours["examples"] - fine_tuned["examples"]) <= 2 * 64
    assert fine_tuned["examples"] == 32 * fine_tuned["steps"]


def test_limits_of_retrieval_epochs_belong_to_their_sizes(photos: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, sizes=(20, SIZE), retrieval_epochs=(3.0, 2.0))
    made = runner(photos, tmp_path, options)
    for size, epochs in ((20, 3.0), (SIZE, 2.0)):
        assert made.config("fine-tuned", size, "random", 0).training.paper.retrieval_epochs == epochs
    with pytest.raises(UsageError, match="2 limits of retrieval epochs for 1 sizes"):
        replace(OPTIONS, retrieval_epochs=(1.0, 2.0))


def test_only_finished_cells_are_used_on_request(photos: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, methods=("chance", "fine-tuned"), finished=True)
    with pytest.raises(UsageError, match="no cell of this table is finished"):
        runner(photos, tmp_path, options).run()
    runner(photos, tmp_path, replace(options, methods=("chance",), finished=False)).run()
    made = runner(photos, tmp_path, options)
    assert [cell.method for cell, _ in made.run()] == ["chance"]
    assert [cell.method for cell in made.missing] == ["fine-tuned"]


def test_equal_seeds_give_equal_results_and_other_seeds_others(photos: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, methods=("fine-tuned",), seeds=(0, 1))
    results = []
    for folder in ("a", "b"):
        results.append([result for _, result in runner(photos, tmp_path / folder, options).run()])
    for first, second in zip(*results, strict=True):
        assert first["metrics"] == second["metrics"] and first["history"] == second["history"]
    assert results[0][0]["history"] != results[0][1]["history"]


@pytest.mark.parametrize(
    "change", [{"methods": ("fine-tuned",)}, {"schemes": ("clustered",)}, {"bovw_size": 64}, {"seeds": (3,)}]
)
def test_options_of_other_cells_do_not_change_the_name(
    photos: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    assert cell_name(photos, tmp_path, **change) == cell_name(photos, tmp_path)


def test_each_option_that_changes_the_result_changes_the_name(photos: Path, tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"image_size": 16},
        {"early_stopping": False},
        {"indexing_share": 0.5},
        {"quick": True},
        {"overrides": (*SHORT, "model.paper.dropout=0.2")},
    ]
    assert len({cell_name(photos, tmp_path, **change) for change in changes}) == len(changes)


def test_overrides_of_ours_change_the_name_of_ours_only(photos: Path, tmp_path: Path) -> None:
    overrides = (*SHORT, "ours.training.augment_prob=0.1")
    assert cell_name(photos, tmp_path, "ours", overrides=overrides) != cell_name(photos, tmp_path, "ours")
    assert cell_name(photos, tmp_path, overrides=overrides) == cell_name(photos, tmp_path)


def test_zero_shot_cell_does_not_depend_on_the_retrieval_phase(photos: Path, tmp_path: Path) -> None:
    overrides = (*SHORT, "training.paper.retrieval_epochs=9")
    first, second = (
        cell_name(photos, tmp_path, "zero-shot", overrides=given) for given in (SHORT, overrides)
    )
    assert first == second
    assert cell_name(photos, tmp_path, overrides=overrides) != cell_name(photos, tmp_path)


def test_methods_without_ids_have_one_cell_for_all_schemes(photos: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, schemes=("random", "clustered"), methods=("chance",), seeds=(0, 1))
    cells = [cell for cell, _ in runner(photos, tmp_path, options).run()]
    assert [(cell.method, cell.scheme, cell.seed) for cell in cells] == [
        ("chance", "-", 0),
        ("chance", "-", 1),
    ]


@pytest.mark.parametrize("name", ["methods", "schemes"])
def test_options_without_known_methods_or_schemes_raise(name: str) -> None:
    given: Any = {name: ()}
    with pytest.raises(UsageError, match=f"no {name[:-1]} is given; choose from "):
        Options(**given)
    given = {name: ("magic",)}
    with pytest.raises(UsageError, match=f"{name[:-1]} 'magic' is unknown; choose from "):
        Options(**given)


@pytest.mark.parametrize("prefix", ["", "ours."])
def test_wrong_override_raises_before_anything_is_written(photos: Path, tmp_path: Path, prefix: str) -> None:
    with pytest.raises(ConfigError, match="unknown configuration key"):
        runner(photos, tmp_path, replace(OPTIONS, overrides=(f"{prefix}training.augment=1",)))
    assert list(tmp_path.iterdir()) == []
