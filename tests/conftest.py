"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from helpers_backbones import ToyBackbone

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


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> type[ToyBackbone]:
    """The toy backbone, registered with one line, which has seen no photos yet."""
    from helpers_backbones import ToyBackbone

    from vitdsi.backbones import BACKBONES

    monkeypatch.setitem(BACKBONES, "toy", "helpers_backbones:ToyBackbone")
    monkeypatch.setattr(ToyBackbone, "seen", 0)
    monkeypatch.setattr(ToyBackbone, "stop_after", None)
    return ToyBackbone
