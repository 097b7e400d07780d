from __future__ import annotations

import re

import pytest

from vitdsi.errors import ConfigError
from vitdsi.registry import choose


def test_registered_name_gives_its_part() -> None:
    assert choose({"one": 1, "two": 2}, "model.number", "two") == 2


@pytest.mark.parametrize(
    ("parts", "known"),
    [({"one": 1}, "one"), ({"one": 1, "two": 2}, "one or two"), ({"a": 1, "b": 2, "c": 3}, "a, b or c")],
)
def test_unknown_name_is_refused_with_the_known_ones(parts: dict[str, int], known: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"model.number is 'other'; choose {known}") + "$"):
        choose(parts, "model.number", "other")
