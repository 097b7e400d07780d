"""The files of `benchmarks/` import each other by name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _importable() -> Iterator[None]:
    """Files of `benchmarks/` can be imported within a test, and are forgotten after it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(_FOLDER)
        yield
        for path in _FOLDER.glob("*.py"):
            sys.modules.pop(path.stem, None)
