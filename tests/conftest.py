"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from helpers_backbones import ToyBackbone
    from helpers_hub import Hub
    from playwright.sync_api import Browser

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


@pytest.fixture(scope="session")
def colour_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP whose towers agree about colours, but whose texts are far from all photos."""
    from helpers_transformers import agreeing_clip, library, write_model

    library()
    return write_model(tmp_path_factory.mktemp("models") / "colour-clip", "clip", agreeing_clip(gap=3.0))


@pytest.fixture(scope="session")
def colour_index(colour_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of photos called red/0.png and so on, with captions, which reads them with `colour_clip`."""
    from helpers_transformers import COLOURS, coloured

    from vitdsi import ImageIndex, load_config

    folder = tmp_path_factory.mktemp("colours")
    captions = {}
    for seed in range(4):
        for colour in COLOURS:
            path = folder / "photos" / colour / f"{seed}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            coloured(colour, 100 + seed).save(path)
            captions[f"{colour}/{seed}.png"] = {"caption": f"a photo of {colour}"}
    settings = [f"model.backbone={colour_clip}", "training.max_epochs=20", "training.batch_size=64"]
    index = ImageIndex(load_config(overrides=settings)).fit(folder / "photos", metadata=captions)
    index.save(folder / "colours.dsi")
    return folder / "colours.dsi"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """An empty stand-in for the Hugging Face hub, with whose address and token the client of the hub works."""
    pytest.importorskip("huggingface_hub")
    from helpers_hub import TOKEN, serving

    with serving() as made:
        monkeypatch.setenv("HF_ENDPOINT", made.address)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_PROGRESS_BARS", True)
        yield made


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Chromium without a window; tests that need it are skipped where it is absent."""
    from helpers_page import browser

    with browser() as started:
        yield started
