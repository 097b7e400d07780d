from __future__ import annotations

from dataclasses import replace

import pytest

from vitdsi.config import load_config
from vitdsi.errors import ConfigError
from vitdsi.paper.recipes import our_recipe, paper_recipe


def test_paper_recipe_has_the_settings_of_the_paper() -> None:
    config = paper_recipe("random", 0, 160, [])
    model, training, ids = config.model, config.training, config.ids
    assert (model.stem, model.embed_dim, model.mlp_dim, model.depth, model.num_heads) == (
        "pixels",
        128,
        256,
        6,
        4,
    )
    assert (model.paper.patch_size, model.paper.dropout, model.paper.head) == (16, 0.1, "digits")
    assert (training.learning_rate, training.batch_size, training.augment_prob) == (5e-4, 32, 0.0)
    paper = training.paper
    assert (paper.schedule, paper.target, paper.retrieval_epochs) == ("sequential", "sampled", 75)
    assert (paper.target_accuracy, paper.constrained, paper.weight_decay) == (0.98, False, 0.0)
    assert (ids.base, ids.paper.variable_length) == (10, True)


def test_both_recipes_set_scheme_seed_and_image_size() -> None:
    for recipe in (paper_recipe, our_recipe):
        config = recipe("clustered", 3, 64, [])
        assert (config.ids.scheme, config.seed, config.model.paper.image_size) == ("clustered", 3, 64)


def test_our_recipe_trains_the_model_of_the_paper() -> None:
    assert our_recipe("random", 0, 160, []).model == paper_recipe("random", 0, 160, []).model
    assert our_recipe("random", 0, 160, []).training.paper.schedule == "joint"


def test_both_recipes_read_the_named_configurations() -> None:
    ours = our_recipe("random", 0, 160, [])
    assert ours == load_config("paper_ours")
    paper = load_config("paper").training
    assert paper_recipe("random", 0, 160, []).training == replace(
        paper, patience=40, paper=replace(paper.paper, cooldown=0.0, warmup_steps=1)
    )


def test_overrides_of_training_do_not_apply_to_our_recipe() -> None:
    given = ["training.learning_rate=0.1", "model.paper.dropout=0.2", "device=cpu"]
    paper, ours = paper_recipe("random", 0, 64, given), our_recipe("random", 0, 64, given)
    assert (paper.training.learning_rate, paper.model.paper.dropout, paper.device) == (0.1, 0.2, "cpu")
    assert ours.training == our_recipe("random", 0, 64, []).training
    assert (ours.model.paper.dropout, ours.device) == (0.2, "cpu")


def test_overrides_of_ours_apply_to_our_recipe_only_and_take_precedence() -> None:
    given = ["ours.model.paper.dropout=0", "model.paper.dropout=0.2", "ours.training.learning_rate=0.3"]
    ours, paper = our_recipe("random", 0, 64, given), paper_recipe("random", 0, 64, given)
    assert (ours.model.paper.dropout, ours.training.learning_rate) == (0, 0.3)
    assert (paper.model.paper.dropout, paper.training.learning_rate) == (0.2, 5e-4)


def test_minutes_limit_our_recipe_unless_a_setting_is_lower() -> None:
    assert our_recipe("random", 0, 64, [], minutes=2.0).training.minutes == 2.0
    for setting, expected in (("1", 1.0), ("3", 2.0)):
        config = our_recipe("random", 0, 64, [f"ours.training.minutes={setting}"], minutes=2.0)
        assert config.training.minutes == expected


def test_epochs_limit_our_recipe_unless_a_setting_is_lower() -> None:
    assert our_recipe("random", 0, 64, [], epochs=2.5).training.max_epochs == 2.5
    for setting, expected in (("1", 1.0), ("3", 2.5)):
        config = our_recipe("random", 0, 64, [f"ours.training.max_epochs={setting}"], epochs=2.5)
        assert (config.training.max_epochs, config.training.minutes) == (expected, None)


def test_quick_recipe_limits_epochs_and_minutes_but_not_the_model() -> None:
    full, quick = (paper_recipe("random", 0, 64, [], quick=quick) for quick in (False, True))
    assert quick.model == full.model
    assert full.training.minutes is None and quick.training.minutes is not None
    assert (quick.training.max_epochs or 0) < (full.training.max_epochs or 0)


def test_wrong_override_raises() -> None:
    with pytest.raises(ConfigError, match="did you mean model\\.paper\\.patch_size"):
        paper_recipe("random", 0, 64, ["model.paper.patchsize=8"])
    with pytest.raises(ConfigError, match="training\\.augment_prob"):
        our_recipe("random", 0, 64, ["ours.training.augment=1"])
