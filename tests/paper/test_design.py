from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers_experiments import OPTIONS, SHORT, SIZE, class_folders, runner

from vitdsi.paper.design import (
    FACTORS,
    combinations,
    combined,
    combined_cell,
    configured,
    effect,
    interactions,
    name_of,
)
from vitdsi.paper.recipes import our_recipe, paper_recipe

PAPER = [text for text in SHORT if not text.startswith("ours.")]
COUNT = len(FACTORS)


def levels() -> np.ndarray:
    return np.array(combinations(), dtype=float) * 2 - 1


def test_design_begins_with_the_recipe_of_the_paper_and_ours() -> None:
    names = [name_of(given) for given in combinations()]
    assert names[:2] == ["." * COUNT, "JMCABR"]
    assert len(set(names)) == 16


def test_main_effects_are_orthogonal_to_one_another_and_to_all_interactions() -> None:
    signs = levels()
    np.testing.assert_array_equal(signs.T @ signs, 16 * np.eye(COUNT))
    for one, (two, three) in itertools.product(range(COUNT), itertools.combinations(range(COUNT), 2)):
        assert (signs[:, one] * signs[:, two] * signs[:, three]).sum() == 0


def test_interactions_that_cannot_be_told_apart_are_listed_together() -> None:
    listed = interactions()
    assert sorted(pair for pairs in listed for pair in pairs) == list(itertools.combinations(range(COUNT), 2))
    assert [(0, 1), (2, 4)] in listed, "J x M and C x B"


def test_effects_recover_the_coefficients_of_a_linear_model() -> None:
    ours = np.array(combinations(), dtype=float)
    values = (0.1 + 0.3 * ours[:, 0] - 0.2 * ours[:, 3] + 0.4 * ours[:, 0] * ours[:, 1])[:, None].repeat(5, 1)
    np.testing.assert_allclose(effect(values, [3]), np.full(5, -0.2), atol=1e-12)
    np.testing.assert_allclose(effect(values, [0]), np.full(5, 0.5), atol=1e-12)
    np.testing.assert_allclose(effect(values, [0, 1]), np.full(5, 0.2), atol=1e-12)
    np.testing.assert_allclose(effect(values, [5]), np.zeros(5), atol=1e-12)


def test_combination_of_the_paper_is_its_recipe_and_that_of_all_factors_trains_as_ours() -> None:
    paper = paper_recipe("random", 0, 16, PAPER)
    assert configured(paper, combinations()[0]) == paper
    made = configured(paper, combinations()[1]).training
    ours = our_recipe("random", 0, 16, SHORT).training
    assert replace(
        made, patience=ours.patience, evaluate_every=ours.evaluate_every, max_epochs=None, paper=ours.paper
    ) == replace(ours, max_epochs=None)
    for name in ("schedule", "target", "constrained", "warmup_steps", "cooldown", "weight_decay"):
        assert getattr(made.paper, name) == getattr(ours.paper, name)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return class_folders(tmp_path_factory.mktemp("data") / "photos")


def test_no_combination_uses_more_examples_than_the_limit(photos: Path, tmp_path: Path) -> None:
    chosen = runner(photos, tmp_path, replace(OPTIONS, methods=("fine-tuned",)))
    for given in combinations()[:2]:
        _, result = combined(chosen, given, SIZE, "random", 0, examples=640)
        assert 0 < result["examples"] <= 640 + 64
    assert set(result["history"]) == {"joint"}
    assert combined_cell(chosen, given, SIZE, "random", 0, 640) != combined_cell(
        chosen, given, SIZE, "random", 0, 641
    )


def test_without_a_limit_combinations_have_the_examples_of_the_fine_tuned_cell(
    photos: Path, tmp_path: Path
) -> None:
    chosen = runner(photos, tmp_path, replace(OPTIONS, methods=("fine-tuned",)))
    _, fine_tuned = chosen.result("fine-tuned", SIZE, "random", 0)
    _, result = combined(chosen, combinations()[1], SIZE, "random", 0)
    assert (
        abs(result["examples"] - fine_tuned["examples"]) <= 2 * 64
    )  # rounded up before and after the cooldown begins
