"""An index of the photos of `helpers_cli`, built once for all verbs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from helpers_cli import index, paint
from helpers_images import photo
from PIL import ExifTags, Image


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint(tmp_path_factory.mktemp("images") / "photos")


@pytest.fixture(scope="session")
def built(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("index") / "photos.dsi"
    return out, index(photos, out, "training.max_epochs=150", "training.paper.warmup_steps=10")


@pytest.fixture
def dsi(built: tuple[Path, Result]) -> Path:
    return built[0]


@pytest.fixture
def copied(dsi: Path, tmp_path: Path) -> Path:
    """An index that a test may break."""
    return Path(shutil.copytree(dsi, tmp_path / "copy.dsi"))


@pytest.fixture(scope="session")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of photos with a mirrored one, one of lower quality, and the same bytes under three names."""
    folder = tmp_path_factory.mktemp("copies") / "photos"
    folder.mkdir()
    for i in range(8):
        photo(seed=i).save(folder / f"{i}.png")
    photo(seed=0).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "0 mirrored.png")
    photo(seed=1).save(folder / "1 small.jpg", quality=50)
    shutil.copy(folder / "2.png", folder / "2 again.png")
    shutil.copy(folder / "2.png", folder / "2 and again.png")
    out = folder.parent / "copies.dsi"
    assert index(folder, out, "--epochs", 150, "training.paper.warmup_steps=10").exit_code == 0
    return out


@pytest.fixture(scope="session")
def described(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of photos 0.jpg to 5.jpg of width 48 + 8 times the number, with albums; 4.jpg says who took it."""
    folder = tmp_path_factory.mktemp("described") / "photos"
    folder.mkdir()
    for i in range(6):
        exif = Image.Exif()
        if i == 4:
            exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "Acme", "Box 1"
            exif[ExifTags.Base.DateTime] = "2019:07:14 10:00:00"
        photo(48 + 8 * i, 80, seed=i).save(folder / f"{i}.jpg", exif=exif)
    table = folder.parent / "albums.csv"
    table.write_text('file,album,stars\n0.jpg,sea,3\n1.jpg,sea,\n2.jpg,"the, hills",5\n', "utf-8")
    out = folder.parent / "described.dsi"
    assert index(folder, out, "--epochs", 20, "--metadata", table).exit_code == 0
    return out


@pytest.fixture
def new(tmp_path: Path) -> Callable[..., Path]:
    """Write photos that the index does not hold: `new("a.png", "b/c.png")`."""

    def write(*names: str, folder: str = "new", seed: int = 100) -> Path:
        for i, name in enumerate(names):
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            photo(seed=seed + i).save(path, "PNG")
        return tmp_path / folder

    return write


@pytest.fixture
def interrupt_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[str, int], bool]], None]]:
    """Press Ctrl-C when the progress display is told of a (phase, done) that the condition accepts."""
    from vitdsi.cli.terminal import BuildDisplay
    from vitdsi.progress import Progress

    def arm(condition: Callable[[str, int], bool]) -> None:
        def press(_: BuildDisplay, progress: Progress) -> None:
            if condition(progress.phase, progress.done):
                raise KeyboardInterrupt

        monkeypatch.setattr(BuildDisplay, "__call__", press)

    yield arm
