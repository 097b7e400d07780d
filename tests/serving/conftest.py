"""Indexes of painted photos and of textures with many keypoints, built once for all tests of the server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from helpers_cli import index, paint
from helpers_images import textured
from helpers_serving import client

from vitdsi.serving.holder import IndexHolder
from vitdsi.serving.served import Served


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint(tmp_path_factory.mktemp("serving") / "photos")


@pytest.fixture(scope="session")
def dsi(photos: Path) -> Path:
    table = photos.parent / "albums.csv"
    rows = [f"round/{i:02}.png,{'sea' if i < 6 else 'hills'},{i}" for i in range(1, 12, 2)]
    table.write_text("\n".join(["file,album,stars", *rows, ""]), "utf-8")
    out = photos.parent / "photos.dsi"
    result = index(photos, out, "--epochs", 10, "--metadata", table)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="session")
def reading(dsi: Path, photos: Path) -> Iterator[TestClient]:
    """A client of a server that does not change its index."""
    with client(dsi, images=photos) as opened:
        yield opened


@pytest.fixture
def copied(dsi: Path, tmp_path: Path) -> Path:
    """An index that a test may change."""
    return Path(shutil.copytree(dsi, tmp_path / "copy.dsi"))


@pytest.fixture
def writing(copied: Path, photos: Path) -> Iterator[TestClient]:
    """A client of a server that may change its index."""
    with client(copied, images=photos, writable=True) as opened:
        yield opened


@pytest.fixture(scope="session")
def photo(photos: Path) -> bytes:
    """An indexed photo."""
    return (photos / "round" / "01.png").read_bytes()


@pytest.fixture(scope="session")
def served(dsi: Path) -> Served:
    return IndexHolder(dsi, "cpu").current()


@pytest.fixture(scope="session")
def textures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index that is hardly trained, of six photos with many keypoints and a smaller copy of one, `small.png`."""
    folder = tmp_path_factory.mktemp("textures")
    (folder / "photos").mkdir()
    for seed in range(6):
        textured(seed=seed).save(folder / "photos" / f"{seed}.png")
    textured(seed=3).resize((200, 150)).save(folder / "photos" / "small.png")
    result = index(folder / "photos", folder / "textures.dsi", "--epochs", 2)
    assert result.exit_code == 0, result.output
    return folder / "textures.dsi"


@pytest.fixture
def proving(textures: Path, tmp_path: Path) -> Iterator[TestClient]:
    """A client of a server that may change its copy of the index of textures."""
    copy = Path(shutil.copytree(textures, tmp_path / "textures.dsi"))
    with client(copy, writable=True) as opened:
        yield opened
