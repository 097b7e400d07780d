"""The screenshots of docs/guide/page.md, taken where the variable VITDSI_SCREENSHOTS names a folder for them."""

from __future__ import annotations

import importlib.resources
import io
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from helpers_cli import run
from helpers_page import browser, opened, sample_photos, server
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.slow

_FOLDER = os.environ.get("VITDSI_SCREENSHOTS")
_SIZES = {390: 844, 820: 1100, 1440: 900}
# The default threshold needs thousands of photos, and these are hundreds (docs/guide/duplicates.md).
_THRESHOLD = 1.01
_ALL_LOADED = """() => [...document.querySelectorAll(".tile")]
    .filter((tile) => tile.getBoundingClientRect().top < innerHeight)
    .every((tile) => tile.classList.contains("loaded"))"""


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server of the sample photos."""
    from vitdsi.serving import grouping

    monkeypatch.setattr(grouping, "near_identical", partial(grouping.near_identical, threshold=_THRESHOLD))
    table = sample_photos(tmp_path / "photos")
    made = run("index", tmp_path / "photos", "-o", tmp_path / "photos.dsi", "--metadata", table)
    assert made.exit_code == 0, made.output
    with server(tmp_path / "photos.dsi", images=tmp_path / "photos", writable=True) as started:
        yield started


@pytest.mark.skipif(_FOLDER is None, reason="takes screenshots only into the folder VITDSI_SCREENSHOTS")
def test_screenshots_at_three_widths_in_both_colours(address: str, tmp_path: Path) -> None:
    query = tmp_path / "query.jpg"
    _photograph(next((tmp_path / "photos").glob("*-chelsea.jpg"))).save(query, quality=90)
    with browser() as chromium:
        for width, height in _SIZES.items():
            for scheme in ("light", "dark"):
                options = {
                    "viewport": {"width": width, "height": height},
                    "color_scheme": scheme,
                    "device_scale_factor": 2 if width < 500 else 1,
                    "has_touch": width < 500,
                    "is_mobile": width < 500,
                }
                with opened(chromium, address, **options) as page:
                    shoot = partial(_shoot, page, f"{width}-{scheme}")
                    page.locator(".tile.loaded").first.wait_for()
                    if width > 400:
                        shoot("photos")
                    page.set_input_files("#file", query)
                    page.locator(".results .tile.loaded").first.wait_for()
                    page.locator(".results .open").first.focus()
                    if width != 820:
                        shoot("search")
                    if (width, scheme) == (820, "light"):
                        page.goto(f"{address}?view=duplicates")
                        page.locator(".group:not(.skeleton)").first.wait_for()
                        shoot("duplicates")


def _photograph(path: Path) -> Image.Image:
    """A picture in a white frame, which hangs askew on a wall of bricks."""
    with Image.open(Path(str(importlib.resources.files("skimage"))) / "data" / "brick.png") as bricks:
        wall = ImageOps.colorize(bricks.convert("L").resize((900, 900)).rotate(90), "#3b221a", "#d9a78c")
    with Image.open(path) as picture:
        picture.thumbnail((420, 420))
        framed = (
            ImageOps.expand(picture, 16, "white").convert("RGBA").rotate(-7, Image.Resampling.BICUBIC, True)
        )
    wall.paste(framed, (110, 40), framed)
    return wall.crop((0, 0, 720, 480))


def _shoot(page: Page, kind: str, name: str) -> None:
    page.wait_for_function(_ALL_LOADED)
    page.wait_for_timeout(300)  # what fades in
    with Image.open(io.BytesIO(page.screenshot())) as image:
        image.save(Path(str(_FOLDER)) / f"page-{name}-{kind}.webp", quality=78, method=6)
