from __future__ import annotations

from pathlib import Path

import pytest

from vitdsi import errors
from vitdsi.errors import ImageReadError, VitdsiError


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_is_a_vitdsi_error_with_an_exit_code(name: str) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, VitdsiError)
    assert kind.exit_code == (2 if issubclass(kind, errors.UsageError) else 1)
    assert name in (errors.__doc__ or ""), "the tree in the docstring lists every error"


def test_all_lists_every_error_of_the_module() -> None:
    defined = [
        name for name, kind in vars(errors).items() if getattr(kind, "__module__", "") == errors.__name__
    ]
    assert sorted(defined) == sorted(errors.__all__)


def test_config_error_is_a_usage_error() -> None:
    assert issubclass(errors.ConfigError, errors.UsageError)


def test_image_read_error_keeps_path_and_reason_and_joins_them_in_its_message() -> None:
    error = ImageReadError(Path("a/b.jpg"), "the file is empty")
    assert (error.path, error.reason) == ("a/b.jpg", "the file is empty")
    assert str(error) == "a/b.jpg: the file is empty"
