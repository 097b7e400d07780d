"""The screenshots of docs/guide/page.md, taken where the variable VITDSI_SCREENSHOTS names a folder for them."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from helpers_cli import run
from helpers_page import browser, opened, sample_photos, server
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.slow

_FOLDER = os.environ.get("VITDSI_SCREENSHOTS")
_SIZES = {390: 844, 820: 1100, 1440: 900}
# Whitening, and with it the default threshold, needs more photos than these (docs/guide/duplicates.md).
_THRESHOLD = 0.98


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
    with Image.open(next((tmp_path / "photos").glob("*-chelsea.jpg"))) as whole:
        whole.crop((50, 10, 420, 290)).save(query, quality=85)
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


def _shoot(page: Page, kind: str, name: str) -> None:
    page.wait_for_timeout(800)  # the pictures that are in view fade in
    with Image.open(io.BytesIO(page.screenshot())) as image:
        image.save(Path(str(_FOLDER)) / f"page-{name}-{kind}.webp", quality=78, method=6)
