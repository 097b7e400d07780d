"""Reading settings: defaults, then a YAML file, then `key=value` overrides; and the keys of earlier versions."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from vitdsi.config.settings import IndexConfig, known_keys, unknown_key
from vitdsi.errors import ConfigError

# The names that `load_config` accepts; "default" stands for the settings as they are declared.
_NAMED = ("default", "paper", "paper_ours")

_MOVED = {
    "ids.variable_length": "ids.paper.variable_length",
    "model.head_dim": "model.embedding_dim",
    "training.views": "training.augment_prob",
    "training.measured_views": "training.augment_sample",
    "training.own_mass": "training.self_weight",
    **{
        f"model.{name}": f"model.paper.{name}"
        for name in ("architecture", "head", "image_size", "patch_size", "positions", "dropout")
    },
    **{
        f"training.{name}": f"training.paper.{name}"
        for name in (
            "schedule",
            "target",
            "constrained",
            "target_accuracy",
            "retrieval_epochs",
            "weight_decay",
            "warmup_steps",
            "cooldown",
        )
    },
}
_REMOVED = ("model.memory_tokens", "model.head_scale", "training.gradient_clip")


def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> IndexConfig:
    """Read settings: the defaults, then a YAML file, then overrides; later ones win.

    Args:
        path: a YAML file, or the name of a configuration that vitdsi brings: default, paper or paper_ours.
        overrides: texts of the form `key=value` with dotted keys, such as `training.batch_size=128`.

    Keys of earlier versions are accepted with a FutureWarning that names the new key.

    Raises:
        ConfigError: an unknown key (the message names the nearest one), a value of a wrong type or outside its range
            or choices, a file that cannot be read, or an override without `=`.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError  # type: ignore[import-untyped]

    for text in overrides:
        if "=" not in text:
            raise ConfigError(f"override {text!r} has no '='; write for example training.batch_size=128")
    try:
        layers: list[Any] = [_read(path)] if path is not None and str(path) != "default" else []
        layers += [OmegaConf.to_container(OmegaConf.from_dotlist([text])) for text in overrides]
        merged = (
            OmegaConf.to_container(OmegaConf.merge(*map(_modern, layers)), resolve=True) if layers else {}
        )
    except YAMLError as error:
        raise ConfigError(f"configuration is not valid YAML: {' '.join(str(error).split())}") from error
    except (OmegaConfBaseException, ValueError) as error:
        raise ConfigError(f"configuration: {str(error).splitlines()[0]}") from error
    assert isinstance(merged, dict)
    return config_from_dict({str(key): value for key, value in merged.items()})


def config_from_dict(values: dict[str, Any]) -> IndexConfig:
    """The settings that `dataclasses.asdict` wrote, also in an earlier version. Raises ConfigError as `load_config`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # The user did not write these keys.
        values = _modern(values)
    return IndexConfig(**values)


def _read(path: str | Path) -> dict[str, Any]:
    from omegaconf import OmegaConf

    loaded = OmegaConf.load(_file(path))
    if not OmegaConf.is_dict(loaded):
        raise ConfigError(f"config {str(path)!r} is a list; it must map keys to values, as in 'seed: 1'")
    values = OmegaConf.to_container(loaded)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _file(path: str | Path) -> str:
    if Path(path).is_file():
        return str(path)
    if str(path) in _NAMED:
        return str(resources.files("vitdsi.paper") / "recipes" / f"{path}.yaml")
    raise ConfigError(f"config {str(path)!r} is neither a file nor one of {', '.join(_NAMED)}")


def _modern(values: Any) -> dict[str, Any]:
    """The same settings under the keys of this version; settings that no longer exist are left out."""
    modern: dict[str, Any] = {}
    for key, value in _flat(values):
        if key in _REMOVED:
            warnings.warn(f"{key} is no longer a setting and is ignored", FutureWarning, 3)
            continue
        if key == "ids.scheme" and value == "residual":
            warnings.warn(
                "the id scheme residual no longer exists; semantic is used instead", FutureWarning, 3
            )
            value = "semantic"
        if key in _MOVED:
            warnings.warn(f"{key} is now called {_MOVED[key]}", FutureWarning, 3)
        *sections, name = _MOVED.get(key, key).split(".")
        inside = modern
        for section in sections:
            inside = inside.setdefault(section, {})
            if not isinstance(inside, dict):
                raise unknown_key(key, known_keys(IndexConfig))
        inside[name] = value
    return modern


def _flat(values: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Pairs of a dotted key and its value; an empty section counts as a value."""
    pairs: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, dict) and value:
            pairs += _flat(value, f"{prefix}{key}.")
        else:
            pairs.append((f"{prefix}{key}", value))
    return pairs
