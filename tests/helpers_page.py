"""A server with the page, a browser to look at it with, and photos to look at; shared by the tests of the page."""

from __future__ import annotations

import csv
import importlib.resources
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from helpers_cli import index as build_index
from helpers_cli import paint
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    # A camera that shows a test picture, and permission to use it.
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]

# Pictures inside the wheels of scikit-image and scikit-learn: (file, album, year).
PICTURES = (
    ("skimage/data/astronaut.png", "space", 2019),
    ("skimage/data/rocket.jpg", "space", 2021),
    ("skimage/data/hubble_deep_field.jpg", "space", 2021),
    ("skimage/data/moon.png", "space", 2022),
    ("skimage/data/chelsea.png", "home", 2020),
    ("skimage/data/coffee.png", "home", 2022),
    ("skimage/data/motorcycle_left.png", "workshop", 2021),
    ("skimage/data/camera.png", "campus", 2019),
    ("skimage/data/coins.png", "museum", 2022),
    ("skimage/data/retina.jpg", "laboratory", 2020),
    ("skimage/data/ihc.png", "laboratory", 2020),
    ("sklearn/datasets/images/china.jpg", "travel", 2021),
    ("sklearn/datasets/images/flower.jpg", "garden", 2020),
)
COPIED = ("chelsea", "rocket", "coffee", "china")  # also as a smaller copy


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium without a window. Tests are skipped where it, or playwright, is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def tiny_server(folder: Path, **options: Any) -> Iterator[str]:
    """The address of a writable server of twelve drawings, which have albums and years."""
    images = paint(folder / "photos")
    names = sorted(path.relative_to(images).as_posix() for path in images.rglob("*.png"))
    rows = [(name, ("sea", "hills", "town")[i % 3], 2018 + i % 4) for i, name in enumerate(names)]
    _write_table(folder / "photos.csv", [("file", "album", "year"), *rows])
    made = build_index(
        images, folder / "tiny.dsi", "--metadata", folder / "photos.csv", "training.max_epochs=4"
    )
    assert made.exit_code == 0, made.output
    with server(folder / "tiny.dsi", images=images, writable=True, **options) as address:
        yield address


@contextmanager
def server(index: Path, **options: Any) -> Iterator[str]:
    """The address of a server of an index, on a free port."""
    uvicorn = pytest.importorskip("uvicorn", reason="needs the extra serve")
    from vitdsi.serving import create_app

    config = uvicorn.Config(
        create_app(index, **options), port=0, log_level="warning", lifespan="on", ws="none"
    )
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        while not running.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        port = running.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/"
    finally:
        running.should_exit = True
        thread.join()


@contextmanager
def opened(
    browser: Browser,
    address: str,
    path: str = "",
    *,
    may_fail: bool = False,
    before: Callable[[BrowserContext], object] | None = None,
    **options: Any,
) -> Iterator[Page]:
    """A page of its own that has loaded. At its end, it must have done nothing that it must not do.

    With `may_fail`, requests may be refused by the server, which the browser reports as an error. `before` is called
    before anything is loaded.
    """
    options = {"viewport": {"width": 1280, "height": 800}, **options}
    context = browser.new_context(**options)
    context.set_default_timeout(120_000)  # of a busy machine
    if before is not None:
        before(context)
    page = context.new_page()
    wrong = watch(page, address)
    try:
        page.goto(address + path)
        page.locator(".tile, .message, dialog[open]").first.wait_for()
        yield page
        unexpected = [line for line in wrong if not (may_fail and line.startswith("Failed to load resource"))]
        assert not unexpected, unexpected
    finally:
        context.close()


def violations(page: Page) -> list[str]:
    """What axe says about accessibility. It is put into the page past the CSP, which would not let it in."""
    folder = Path(str(importlib.resources.files("axe_playwright_python")))
    page.evaluate((folder / "axe.min.js").read_text("utf-8") + "\n;0")
    found = page.evaluate("axe.run().then((result) => result.violations)")
    return [f"{one['id']}: {node['html'][:160]}" for one in found for node in one["nodes"]]


def watch(page: Page, address: str) -> list[str]:
    """A list that grows by whatever a page must not do: errors, violations of the CSP, and requests to other hosts."""
    wrong: list[str] = []

    def listen(line: ConsoleMessage) -> None:
        if line.type in ("error", "warning"):
            wrong.append(f"{line.text} {line.location}")

    page.on("console", listen)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    own = (address, "blob:", "data:")
    page.on("request", lambda asked: None if asked.url.startswith(own) else wrong.append(asked.url))
    page.add_init_script(
        "addEventListener('securitypolicyviolation', (event) => console.error(`CSP: ${event.violatedDirective}`))"
    )
    return wrong


def sample_photos(folder: Path, *, crops: int = 24, seed: int = 0) -> Path:
    """Write pictures, crops and copies of them to `folder`. Return a table of their metadata."""
    rng = np.random.default_rng(seed)
    made: list[tuple[Image.Image, str, str, int, int]] = []  # picture, name, album, year, quality
    for name, album, year in PICTURES:
        package, _, file = name.partition("/")
        with Image.open(Path(str(importlib.resources.files(package))) / file) as opened:
            picture = opened.convert("RGB")
        picture.thumbnail((720, 720))
        stem = Path(name).stem.removesuffix("_left").replace("_", "-")
        made.append((picture, stem, album, year, 93))
        for number in range(crops):
            width, height = (round(side * rng.uniform(0.45, 0.65)) for side in picture.size)
            left, top = rng.integers(picture.width - width), rng.integers(picture.height - height)
            crop = picture.crop((left, top, left + width, top + height))
            made.append((crop, f"{stem}-{number + 1}", album, year, 93))
        if stem in COPIED:
            half = picture.resize((picture.width // 2, picture.height // 2))
            made.append((half, f"{stem}-copy", album, year, 60))
    rows = []
    folder.mkdir(parents=True)
    for number, place in enumerate(rng.permutation(len(made)).tolist()):
        picture, name, album, year, quality = made[place]
        rows.append((f"{number:03}-{name}.jpg", album, year, int(rng.integers(2, 6))))
        picture.save(folder / rows[-1][0], quality=quality)
    table = folder.parent / f"{folder.name}.csv"
    _write_table(table, [("file", "album", "year", "stars"), *rows])
    return table


def _write_table(path: Path, rows: list[tuple[Any, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
