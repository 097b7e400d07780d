from __future__ import annotations

import ast
import dataclasses
import inspect
from typing import get_args, get_type_hints

import pytest

from vitdsi.config import IdsConfig, IndexConfig, ModelConfig, PaperTrainingConfig, TrainingConfig, settings
from vitdsi.config.settings import known_keys
from vitdsi.errors import ConfigError
from vitdsi.training.schedule import SCHEDULES
from vitdsi.training.targets import TARGETS


def test_settings_outside_the_paper_sections_are_about_28() -> None:
    keys = known_keys(IndexConfig)
    product = [key for key in keys if ".paper." not in key]
    assert 24 <= len(product) <= 33
    assert len(keys) == len(set(keys))


def test_every_setting_has_its_own_docstring() -> None:
    missing = []
    for section in ast.parse(inspect.getsource(settings)).body:
        if not isinstance(section, ast.ClassDef):
            continue
        for entry, following in zip(section.body, [*section.body[1:], None], strict=True):
            if not isinstance(entry, ast.AnnAssign) or not isinstance(entry.target, ast.Name):
                continue
            documented = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            is_section = entry.target.id in ("ids", "model", "training", "paper", "_section")
            if not documented and not is_section:
                missing.append(f"{section.name}.{entry.target.id}")
    assert missing == []


def test_wrong_values_in_code_raise_the_errors_of_the_command_line() -> None:
    with pytest.raises(ConfigError, match=r"labels is 'names'; choose one of none, folder"):
        IndexConfig(labels="names")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"training\.batch_size is 0; it must be at least 1"):
        TrainingConfig(batch_size=0)
    with pytest.raises(ConfigError, match=r"unknown configuration key 'ids\.bass'; did you mean ids\.base\?"):
        IdsConfig(bass=3)  # type: ignore[call-arg]


def test_width_that_the_heads_do_not_divide_is_refused_with_a_suggestion() -> None:
    with pytest.raises(
        ConfigError, match=r"model\.embed_dim is 130.*model\.num_heads, 4; choose for example 128"
    ):
        ModelConfig(embed_dim=130)


def test_settings_cannot_be_changed_in_place_and_a_changed_copy_is_checked() -> None:
    config = ModelConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.depth = 3  # type: ignore[misc]
    with pytest.raises(ConfigError, match=r"model\.depth is -1"):
        dataclasses.replace(config, depth=-1)
    assert dataclasses.replace(config, depth=3).depth == 3


def test_choices_with_an_implementation_are_the_registered_ones() -> None:
    hints = get_type_hints(PaperTrainingConfig)
    assert set(get_args(hints["schedule"])) == set(SCHEDULES)
    assert set(get_args(hints["target"])) == set(TARGETS)
