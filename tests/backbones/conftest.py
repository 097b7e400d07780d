from __future__ import annotations

import pytest
from helpers_backbones import ToyBackbone

from vitdsi.backbones import BACKBONES


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> type[ToyBackbone]:
    """The toy backbone, registered with one line, which has seen no photos yet."""
    monkeypatch.setitem(BACKBONES, "toy", "helpers_backbones:ToyBackbone")
    monkeypatch.setattr(ToyBackbone, "seen", 0)
    monkeypatch.setattr(ToyBackbone, "stop_after", None)
    return ToyBackbone
