"""Registries: parts that the configuration chooses by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from vitdsi.errors import ConfigError

T = TypeVar("T")


def choose(parts: Mapping[str, T], key: str, name: str) -> T:
    """Return the part that is registered as `name`.

    Args:
        parts: the registry, by name, such as `vitdsi.ids.SCHEMES` or `vitdsi.model.heads.HEADS`.
        key: the configuration key whose value is `name`, for the message.

    Raises:
        ConfigError: nothing is registered as `name`. The message lists the registered names.
    """
    if name not in parts:
        *others, last = parts
        known = f"{', '.join(others)} or {last}" if others else last
        raise ConfigError(f"{key} is {name!r}; choose {known}")
    return parts[name]
