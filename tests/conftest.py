"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

_SHARED = Path(__file__).parents[1].parent / "shared"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither read nor fill the feature cache of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VITDSI_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of data sets beside the repository; tests that need it are skipped where it is absent."""
    if not _SHARED.is_dir():
        pytest.skip("needs the data sets in ../shared")
    return _SHARED
