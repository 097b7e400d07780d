from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from vitdsi.config import IndexConfig, config_from_dict, load_config
from vitdsi.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def test_no_file_and_no_overrides_give_the_defaults() -> None:
    assert load_config() == IndexConfig()
    assert load_config("default") == IndexConfig()


def test_named_configuration_paper_holds_the_settings_of_the_paper() -> None:
    config = load_config("paper")
    assert config.labels == "folder"
    assert (config.ids.scheme, config.ids.base, config.ids.paper.variable_length) == ("random", 10, True)
    model, training = config.model, config.training
    pixels = model.paper
    assert (model.stem, pixels.image_size, pixels.patch_size, pixels.positions) == (
        "pixels",
        160,
        16,
        "sincos1d",
    )
    assert (pixels.architecture, model.embed_dim, model.mlp_dim, model.depth) == ("single_stack", 128, 256, 6)
    assert (model.num_heads, pixels.dropout, pixels.head) == (4, 0.1, "digits")
    assert (training.paper.schedule, training.paper.target, training.batch_size) == (
        "sequential",
        "sampled",
        32,
    )
    assert (training.learning_rate, training.paper.weight_decay) == (5e-4, 0.0)
    assert not training.paper.constrained
    assert (training.augment_prob, training.paper.target_accuracy) == (0.0, 0.98)
    assert (training.max_epochs, training.paper.retrieval_epochs) == (1000, 75)


def test_overrides_come_after_the_file_and_the_file_after_the_defaults(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: 5\ntraining:\n  batch_size: 64\n  learning_rate: 0.01\n")
    config = load_config(path, ["training.batch_size=7", "ids.base=null", "ids.scheme=random"])
    assert (config.seed, config.training.batch_size, config.training.learning_rate) == (5, 7, 0.01)
    assert (config.ids.base, config.ids.scheme) == (None, "random")
    assert config.training.patience == IndexConfig().training.patience
    assert load_config(path, ["seed=1", "seed=2"]).seed == 2


def test_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "")) == IndexConfig()


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("training.batchsize=3", "training.batch_size"),
        ("model.embed_dmi=3", "model.embed_dim"),
        ("sed=3", "seed"),
    ],
)
def test_unknown_key_is_refused_with_the_nearest_one(given: str, meant: str) -> None:
    key = given.partition("=")[0]
    with pytest.raises(ConfigError, match=f"unknown configuration key '{key}'; did you mean {meant}\\?"):
        load_config(overrides=[given])


def test_unknown_key_in_a_file_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"did you mean model\.num_heads\?"):
        load_config(write(tmp_path, "model:\n  num_head: 2\n"))


def test_unknown_key_without_a_near_one_lists_all_keys() -> None:
    with pytest.raises(ConfigError, match=r"keys are .*training\.batch_size"):
        load_config(overrides=["zzzzzzzz=1"])


@pytest.mark.parametrize("override", ["training.batch_size=many", "seed=1.5", "training.augment_prob=often"])
def test_value_of_a_wrong_type_is_refused_with_key_and_value(override: str) -> None:
    key, _, value = override.partition("=")
    with pytest.raises(ConfigError, match=key) as error:
        load_config(overrides=[override])
    assert value in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("override", "allowed"),
    [
        ("labels=names", "none, folder"),
        ("model.paper.positions=none", "learned, sincos1d, sincos2d"),
        ("training.paper.schedule=random", "joint, sequential"),
        ("training.paper.target=exact", "marginal, sampled"),
    ],
)
def test_unknown_choice_is_refused_with_the_choices(override: str, allowed: str) -> None:
    with pytest.raises(ConfigError, match=allowed) as error:
        load_config(overrides=[override])
    assert repr(override.partition("=")[2]) in str(error.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.augment_prob=1.01", "at most 1"),
        ("training.retrieval_ratio=-0.1", "at least 0"),
        ("training.paper.target_accuracy=2", "at most 1"),
        ("model.paper.dropout=1", "at most 0.95"),
        ("training.paper.cooldown=1", "below 1"),
        ("training.learning_rate=0", "above 0"),
        ("training.batch_size=0", "at least 1"),
        ("model.num_heads=0", "at least 1"),
        ("model.num_heads=3", "not a multiple"),
    ],
)
def test_numbers_out_of_range_are_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        load_config(overrides=[override])
    assert override.partition("=")[0] in str(error.value)


def test_ends_of_a_range_are_allowed() -> None:
    config = load_config(
        overrides=["training.augment_prob=1", "training.retrieval_ratio=0", "training.batch_size=1"]
    )
    assert (config.training.augment_prob, config.training.retrieval_ratio, config.training.batch_size) == (
        1,
        0,
        1,
    )


def test_override_without_an_equals_sign_is_refused() -> None:
    with pytest.raises(ConfigError, match="no '='"):
        load_config(overrides=["training.batch_size"])


def test_unknown_configuration_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'papre' is neither a file nor one of default, paper, paper_ours"):
        load_config("papre")


def test_saved_settings_are_read_back() -> None:
    config = load_config("paper", ["ids.base=37", "training.minutes=2.5", "training.max_epochs=null"])
    assert config_from_dict(dataclasses.asdict(config)) == config


def test_saved_settings_are_checked_too() -> None:
    values = dataclasses.asdict(IndexConfig())
    values["training"]["batchsize"] = 3
    with pytest.raises(ConfigError, match=r"did you mean training\.batch_size\?"):
        config_from_dict(values)
    values = dataclasses.asdict(IndexConfig())
    values["model"]["paper"]["positions"] = "flat"
    with pytest.raises(ConfigError, match=r"model\.paper\.positions"):
        config_from_dict(values)


@pytest.mark.parametrize("text", ["a: [1\n b: }", "seed: 1\nseed: 2\n"])
def test_broken_yaml_is_one_line_that_says_where(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"not valid YAML.*mine\.yaml.*line \d") as error:
        load_config(write(tmp_path, text))
    assert "\n" not in str(error.value)


def test_file_that_holds_a_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must map keys to values"):
        load_config(write(tmp_path, "- 1\n- 2\n"))


def test_override_that_is_not_valid_yaml_is_refused() -> None:
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(overrides=["seed=[1"])


@pytest.mark.parametrize("text", ["training: 5\n", "training: null\n"])
def test_section_without_keys_is_refused_as_a_section(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"training is .*it is a section") as error:
        load_config(write(tmp_path, text))
    assert "unknown" not in str(error.value)


@pytest.mark.parametrize("base", [1, 0, -4])
def test_base_below_two_is_refused(base: int) -> None:
    with pytest.raises(ConfigError, match=rf"ids\.base is {base}; it must be at least 2"):
        load_config(overrides=[f"ids.base={base}"])
    assert load_config(overrides=["ids.base=2"]).ids.base == 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("model.head_dim=64", "model.embedding_dim=64"),
        ("training.views=0.3", "training.augment_prob=0.3"),
        ("training.own_mass=0.3", "training.self_weight=0.3"),
        ("training.measured_views=0.3", "training.augment_sample=0.3"),
        ("model.dropout=0.2", "model.paper.dropout=0.2"),
        ("training.retrieval_epochs=3", "training.paper.retrieval_epochs=3"),
        ("ids.variable_length=true", "ids.paper.variable_length=true"),
    ],
)
def test_former_key_works_and_warns_with_the_new_one(old: str, new: str) -> None:
    with pytest.warns(FutureWarning, match=new.partition("=")[0]):
        found = load_config(overrides=[old])
    assert found == load_config(overrides=[new]) != IndexConfig()


@pytest.mark.parametrize("key", ["model.memory_tokens", "model.head_scale", "training.gradient_clip"])
def test_removed_setting_is_ignored_with_a_warning(key: str) -> None:
    with pytest.warns(FutureWarning, match=key):
        assert load_config(overrides=[f"{key}=3"]) == IndexConfig()


def test_residual_scheme_is_replaced_by_semantic_with_a_warning() -> None:
    with pytest.warns(FutureWarning, match="residual"):
        assert load_config(overrides=["ids.scheme=residual"]) == IndexConfig()


def test_override_wins_over_the_former_name_of_its_key_in_a_file(tmp_path: Path) -> None:
    path = write(tmp_path, "model:\n  head_dim: 64\n")
    with pytest.warns(FutureWarning, match="embedding_dim"):
        assert load_config(path, ["model.embedding_dim=32"]).model.embedding_dim == 32


def test_settings_saved_by_an_earlier_version_are_read_without_a_warning() -> None:
    saved = {"labels": "folder", "training": {"views": 0.5}, "model": {"memory_tokens": 4, "head": "digits"}}
    config = config_from_dict(saved)
    assert (config.labels, config.training.augment_prob, config.model.paper.head) == ("folder", 0.5, "digits")
