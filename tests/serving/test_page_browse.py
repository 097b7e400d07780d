"""Browsing on the page in Chromium: filters, addresses, the keyboard, one photo, copies, and large collections."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from helpers_page import opened, tiny_server, violations

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

pytestmark = pytest.mark.slow

_MANY = 20_000
_TRACED = ["devtools.timeline", "disabled-by-default-devtools.timeline"]
_COPIES = ["round/01.png", "round/03.png", "square/00.png"]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with tiny_server(tmp_path_factory.mktemp("page")) as started:
        yield started


@pytest.fixture
def page(chromium: Browser, address: str) -> Iterator[Page]:
    with opened(chromium, address) as page:
        yield page


def shows(page: Page, status: str) -> None:
    page.locator("#status").get_by_text(status, exact=True).wait_for()


def focused(page: Page) -> str | None:
    name: str | None = page.evaluate("document.activeElement.title || document.activeElement.ariaLabel")
    return name


class TestFilters:
    def test_chips_have_counts_under_the_other_filters(self, page: Page) -> None:
        page.get_by_role("button", name="Album").click()
        album = page.get_by_role("group", name="Album")
        assert album.locator(".chip").all_text_contents() == ["hills4", "sea4", "town4"]
        album.get_by_text("sea").click()
        shows(page, "4 photos of 12")
        # Those of the field itself do not change, those of other fields do.
        assert album.locator(".chip").all_text_contents() == ["hills4", "sea4", "town4"]
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Year").click()
        year = page.get_by_role("group", name="Year")
        year.locator("small").get_by_text("1", exact=True).first.wait_for()
        assert year.locator(".chip").count() == 4
        year.get_by_text("2018").click()
        shows(page, "1 photo of 12")
        assert "f.album=sea" in page.url and "f.year=2018" in page.url

    def test_several_values_of_a_field_are_alternatives(self, page: Page, address: str) -> None:
        page.goto(f"{address}?f.album=sea&f.album=town")
        shows(page, "8 photos of 12")
        page.get_by_role("button", name="Album: sea, town").wait_for()
        page.get_by_role("button", name="Clear filters").click()
        shows(page, "12 photos")

    def test_a_condition_filters_photos_and_results(self, page: Page) -> None:
        page.keyboard.press("/")
        page.keyboard.type("year >= 2020")
        page.keyboard.press("Enter")
        shows(page, "6 photos of 12")
        tile = page.locator(".tile").first
        tile.hover()
        tile.locator(".like").click()
        page.locator(".results .tile").first.wait_for()
        assert page.locator(".tile").count() == 5

    def test_a_wrong_condition_is_explained_and_the_photos_stay(
        self, chromium: Browser, address: str
    ) -> None:
        with opened(chromium, address, may_fail=True) as page:
            page.locator("#where").fill("yaer = 2019")
            page.keyboard.press("Enter")
            page.locator("#where-error").get_by_text("did you mean year?").wait_for()
            assert page.locator(".tile").count() == 12

    def test_no_photo_under_a_filter_offers_to_clear_it(self, page: Page, address: str) -> None:
        page.goto(f"{address}?where=year+%3D+1900")
        page.locator(".message").get_by_role("button", name="Clear filters").click()
        shows(page, "12 photos")


class TestAddress:
    def test_going_back_undoes_each_step(self, page: Page, address: str) -> None:
        page.locator(".tile .like").nth(2).dispatch_event("click")
        page.locator(".results .tile").first.wait_for()
        page.locator(".open").first.click()
        page.locator("#detail .facts").wait_for()
        page.go_back()
        page.locator("#detail").wait_for(state="hidden")
        assert page.locator(".results .tile").count() == 11
        page.go_back()
        shows(page, "12 photos")
        assert page.url == address

    def test_a_search_with_a_photo_of_another_tab_says_so(self, page: Page, address: str) -> None:
        page.goto(f"{address}?upload=gone")
        page.get_by_text("That photo is no longer in this tab").wait_for()

    def test_names_with_markup_are_shown_as_text(self, page: Page, address: str) -> None:
        name = '<img src=x onerror="document.title=1">.png'

        def rename(route: Route) -> None:
            response = route.fetch()
            answer: dict[str, Any] = response.json()
            for item in answer["images"]:
                item["image_id"] = name
                item["metadata"] = {"album": name}
            route.fulfill(response=response, json=answer)

        page.route("**/v1/images?*", rename)
        page.goto(address)
        page.locator(".open").first.click()
        page.locator("#detail-title").get_by_text(name).wait_for()
        assert page.title() == "Photos · vitdsi"
        assert page.locator("img[src=x]").count() == 0


class TestKeyboard:
    def test_arrows_move_enter_opens_and_escape_closes(self, page: Page) -> None:
        page.keyboard.press("ArrowDown")
        assert focused(page) == "round/01.png"
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        assert focused(page) == "round/05.png"
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("End")
        assert focused(page) == "square/10.png"
        page.keyboard.press("Home")
        page.keyboard.press("Enter")
        page.locator("#detail-title").get_by_text("01.png").wait_for()
        page.keyboard.press("ArrowRight")
        page.locator("#detail-title").get_by_text("03.png").wait_for()
        page.keyboard.press("Escape")
        page.locator("#detail").wait_for(state="hidden")
        assert focused(page) == "round/03.png"

    def test_tab_reaches_one_tile_and_its_button(self, page: Page) -> None:
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Tab")
        assert focused(page) == "More like round/01.png"
        page.keyboard.press("Tab")
        assert page.evaluate("!document.activeElement.closest('.tile')")

    def test_slash_goes_to_the_filter_and_escape_back_to_the_photos(self, page: Page) -> None:
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.id") == "where"
        page.keyboard.type("abc")
        page.keyboard.press("Escape")
        assert focused(page) == "round/01.png"
        assert page.locator("#where").input_value() == ""


class TestOnePhoto:
    def test_a_linked_photo_is_shown_with_its_metadata(self, page: Page, address: str) -> None:
        page.goto(f"{address}?photo=square%2F04.png")
        page.locator("#detail-title").get_by_text("04.png").wait_for()
        facts = page.locator("#detail .facts").inner_text()
        assert "48 \u00d7 40 · PNG" in facts and "square/04.png" in facts and "2018" in facts
        page.keyboard.press("Escape")
        page.locator("#detail").wait_for(state="hidden")
        assert page.url == address

    def test_removing_asks_first(self, chromium: Browser, tmp_path: Path) -> None:
        with tiny_server(tmp_path) as own, opened(chromium, own, "?photo=square%2F04.png") as page:
            page.get_by_role("button", name="Remove…").click()
            page.get_by_role("button", name="Keep it").click()
            page.get_by_role("button", name="Remove…").click()
            page.get_by_role("button", name="Remove", exact=True).click()
            shows(page, "11 photos")
            assert (tmp_path / "photos" / "square" / "04.png").exists()


class TestCopies:
    @pytest.fixture
    def copies(self, page: Page, address: str) -> Page:
        """A page with two groups: three copies and two."""

        def group(route: Route) -> None:
            def copy(number: int, name: str) -> dict[str, Any]:
                size = {"width": 480, "height": 400 - number, "bytes": 90_000, "time": "2019-05-04T10:00:00"}
                return {"image_id": name, "id": number, "thumb": f"/thumb/{number}", **size}

            three = [copy(number, name) for number, name in enumerate(_COPIES)]
            reason = "it has the most pixels"
            groups = [
                {"images": images, "keep": _COPIES[1], "reason": reason} for images in (three, three[:2])
            ]
            route.fulfill(json={"groups": groups, "generation": 1})

        page.route("**/v1/duplicates", group)
        page.goto(f"{address}?view=duplicates")
        page.locator(".group:not(.skeleton)").first.wait_for()
        return page

    def test_the_copy_to_keep_comes_first_with_its_reason(self, copies: Page) -> None:
        copies.get_by_text("2 groups, 3 copies to spare").wait_for()
        card = copies.locator(".group").first
        assert card.locator(".name").all_inner_texts() == ["03.png", "01.png", "00.png"]
        assert "Keep 03.png: it has the most pixels" in card.inner_text()
        assert "480 \u00d7 399 · 90 kB" in card.inner_text()
        assert card.get_by_label("Keep round/03.png").is_checked()
        assert violations(copies) == []

    def test_keeping_all_of_them_is_decided_once(self, copies: Page) -> None:
        with copies.expect_request("**/v1/duplicates/keep") as sent:
            copies.get_by_role("button", name="Keep both").click()
        assert sent.value.post_data_json == {"images": _COPIES[:2]}
        copies.get_by_text("1 group, 2 copies to spare").wait_for()

    def test_the_copies_that_are_not_chosen_are_removed_after_a_question(self, copies: Page) -> None:
        removed: list[str] = []

        def remove(route: Route) -> None:
            removed.append(f"{route.request.method} {urlsplit(route.request.url).path}")
            route.fulfill(json={})

        copies.route("**/v1/images/**", remove)
        card = copies.locator(".group").first
        card.get_by_label("Keep square/00.png").check()
        card.get_by_role("button", name="Remove 1 copy").click()
        card.get_by_role("button", name="Cancel").click()
        assert removed == []
        card.get_by_role("button", name="Remove 1 copy").click()
        with copies.expect_request("**/v1/duplicates/keep"):
            card.get_by_role("button", name="Remove 1 copy").click()
        copies.get_by_text("1 group, 1 copy to spare").wait_for()
        assert removed == ["DELETE /v1/images/round/01.png"]


def _many(route: Route) -> None:
    """A page of 20,000 images, which have the thumbnails of the twelve."""
    asked = {name: values[0] for name, values in parse_qs(urlsplit(route.request.url).query).items()}
    offset, limit = int(asked.get("offset", 0)), int(asked.get("limit", 100))
    numbers = range(offset, min(_MANY, offset + limit))
    images = [
        {"image_id": f"{i:05}.jpg", "id": i % 12, "thumb": f"/thumb/{i % 12}", "metadata": {}}
        for i in numbers
    ]
    facets: dict[str, list[Any]] = {name: [] for name in asked.get("facets", "").split(",") if name}
    route.fulfill(json={"total": _MANY, "offset": offset, "limit": limit, "images": images, "facets": facets})


def _main_thread(trace: bytes) -> dict[str, float]:
    """The CPU time, in milliseconds, of the longest task of the page, and of its frames at the 95th percentile."""
    events = json.loads(trace)["traceEvents"]
    main = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    times: dict[str, list[float]] = {"RunTask": [], "FireAnimationFrame": []}
    for event in events:
        if event["name"] in times and (event["pid"], event["tid"]) in main and "tdur" in event:
            times[event["name"]].append(event["tdur"] / 1000)
    frames = sorted(times["FireAnimationFrame"])
    return {"longest_task": max(times["RunTask"]), "frame_p95": frames[int(0.95 * len(frames))]}


def _scroll_to(page: Page, part: float) -> None:
    """Scroll to a part of the collection, and wait until its photos are shown."""
    page.evaluate("(part) => scrollTo(0, part * document.documentElement.scrollHeight)", part)
    for _ in range(200):
        page.locator(".tile.loaded").first.wait_for()
        shown = page.locator(".tile.loaded .open").first.get_attribute("title") or "0.jpg"
        if abs(int(shown.removesuffix(".jpg")) / _MANY - part) < 0.02:
            return
        page.wait_for_timeout(50)  # the page needs a moment after it was scrolled
    raise AssertionError(f"scrolled to {part}, the page shows {shown}")


def test_twenty_thousand_photos_scroll_with_a_constant_number_of_elements(
    chromium: Browser, address: str
) -> None:
    with opened(chromium, address) as page:
        page.route("**/v1/images?*", _many)
        page.goto(address)
        shows(page, "20,000 photos")
        heights = page.evaluate("[document.documentElement.scrollHeight, innerHeight]")
        assert heights[0] > 100 * heights[1]  # the scrollbar is that of the whole collection
        counts = []
        for part in (0.1, 0.5, 0.9):
            _scroll_to(page, part)
            counts.append(page.evaluate("document.querySelectorAll('*').length"))
        assert max(counts) < 1500 and max(counts) - min(counts) < 200
        # Times are reported (pytest -s) and not asserted.
        page.evaluate("scrollTo(0, 0)")
        page.mouse.move(600, 500)
        chromium.start_tracing(page=page, categories=_TRACED)
        for _ in range(60):
            page.mouse.wheel(0, 300)
            page.wait_for_timeout(16)
        print("milliseconds of CPU time:", _main_thread(chromium.stop_tracing()), "elements:", max(counts))
        page.keyboard.press("ArrowDown")
        page.keyboard.press("End")
        page.locator(".open[title='19999.jpg']").wait_for()
        assert focused(page) == "19999.jpg"


def test_the_focus_is_not_lost_when_its_tile_scrolls_away(chromium: Browser, address: str) -> None:
    with opened(chromium, address) as page:
        page.route("**/v1/images?*", _many)
        page.goto(address)
        shows(page, "20,000 photos")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowRight")
        page.evaluate("scrollTo(0, 50000)")
        page.locator(".open[title='00001.jpg']").wait_for(state="detached")
        assert page.evaluate("document.activeElement.className") == "tiles"
        page.keyboard.press("ArrowRight")
        assert focused(page) == "00002.jpg"


@pytest.mark.parametrize("width", [360, 390, 820, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_is_accessible_and_fits_the_width(
    chromium: Browser, address: str, width: int, scheme: str
) -> None:
    options = {
        "viewport": {"width": width, "height": 800},
        "color_scheme": scheme,
        "reduced_motion": "reduce",
    }
    with opened(chromium, address, **options) as page:
        for view in (
            "",
            "?like=round%2F03.png",
            "?photo=round%2F03.png",
            "?view=duplicates",
            "?where=year+%3D+1",
        ):
            page.goto(address + view)
            page.locator(".tile.loaded, .message, .group:not(.skeleton)").first.wait_for()
            if "photo" in view:
                page.locator("#detail .facts").wait_for()
            assert violations(page) == [], view
            assert page.evaluate("document.documentElement.scrollWidth") <= width, view


def test_the_colours_follow_the_system_until_they_are_chosen(chromium: Browser, address: str) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    with opened(chromium, address, color_scheme="dark") as page:
        assert page.evaluate(colour) == "rgb(19, 20, 21)"
        page.get_by_role("button", name="Colours").click()
        assert page.evaluate(colour) == "rgb(252, 252, 251)"
        page.reload()
        page.locator(".tile").first.wait_for()
        assert page.evaluate(colour) == "rgb(252, 252, 251)"


def test_nothing_moves_where_less_motion_is_wanted(chromium: Browser, address: str) -> None:
    with opened(chromium, address, reduced_motion="reduce") as page:
        assert (
            page.locator(".open img").first.evaluate("(image) => getComputedStyle(image).transitionDuration")
            == "0s"
        )
