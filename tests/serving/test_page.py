"""The page in Chromium: a quick look. The slow tests of each action are in the other files test_page_*.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers_page import browser, opened, tiny_server, violations

STATIC = Path(__file__).parents[2] / "src" / "vitdsi" / "serving" / "static"


def test_a_photo_is_found_without_errors_or_requests_to_other_hosts(tmp_path: Path) -> None:
    with browser() as chromium, tiny_server(tmp_path) as address, opened(chromium, address) as page:
        page.locator(".tile.loaded").first.wait_for()
        assert page.locator("#status").inner_text() == "12 photos"
        page.set_input_files("#file", tmp_path / "photos" / "round" / "03.png")
        page.locator(".results .tile.loaded").first.wait_for()
        assert page.locator("#status").inner_text().startswith("12 photos")
        assert violations(page) == []


@pytest.mark.parametrize("path", sorted(STATIC.iterdir()), ids=lambda path: path.name)
def test_files_of_the_page_name_no_other_host_and_have_nothing_inline(path: Path) -> None:
    text = path.read_text("utf-8").replace("http://www.w3.org/", "")
    assert re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z]+", text) == []
    if path.suffix == ".html":
        assert re.findall(r"<style|<script(?! src| type=\"module\" src)|\sstyle=|\son\w+=", text) == []
    if path.suffix == ".js":
        assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|\beval\(|document\.write", text) == []


def test_every_module_that_is_imported_exists() -> None:
    imported = {
        name for path in STATIC.glob("*.js") for name in re.findall(r'from "\./([\w.]+)"', path.read_text())
    }
    referred = set(re.findall(r'"static/([\w.]+)"', (STATIC / "index.html").read_text()))
    assert imported | referred | {"index.html"} == {path.name for path in STATIC.iterdir()}
