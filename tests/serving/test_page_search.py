"""Searching on the page in Chromium: each way to give a photo, parts of it, what a result matched, more like this."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from helpers_page import opened, tiny_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page, Request, Route

pytestmark = pytest.mark.slow

_PHOTO = "round/03.png"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with tiny_server(folder) as started:
        yield started


@pytest.fixture
def page(chromium: Browser, address: str) -> Iterator[Page]:
    with opened(chromium, address) as page:
        yield page


@pytest.fixture
def query(folder: Path, address: str) -> Path:
    return folder / "photos" / _PHOTO


def results(page: Page) -> Locator:
    """The results, once a search is done."""
    page.locator(".results .tile.loaded").first.wait_for()
    return page.locator(".results .tile")


def search(page: Page, query: Path) -> Locator:
    page.set_input_files("#file", query)
    return results(page)


def give(page: Page, query: Path, event: str) -> None:
    """Drop or paste a file, as the browser would."""
    page.evaluate(
        """([event, bytes]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "photo.png", { type: "image/png" }));
            const options = { bubbles: true, cancelable: true };
            if (event === "paste") {
                dispatchEvent(new ClipboardEvent("paste", { ...options, clipboardData: transfer }));
            } else {
                for (const name of ["dragenter", "dragover", "drop"]) {
                    document.body.dispatchEvent(new DragEvent(name, { ...options, dataTransfer: transfer }));
                }
            }
        }""",
        [event, list(query.read_bytes())],
    )


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_a_photo_is_searched_when_it_is_dropped_or_pasted(page: Page, query: Path, event: str) -> None:
    give(page, query, event)
    assert results(page).count() == 12
    assert page.locator("#drop").is_hidden()
    assert page.locator("#query img").evaluate("(image) => image.naturalWidth") == 48


def test_something_dropped_that_is_no_photo_is_refused_by_name(page: Page) -> None:
    page.evaluate(
        """() => {
            const transfer = new DataTransfer();
            transfer.items.add(new File(["text"], "notes.txt", { type: "text/plain" }));
            dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: transfer }));
        }"""
    )
    assert page.locator(".notice").inner_text() == "notes.txt is not a photo."
    assert page.locator("#query").is_hidden()


def test_the_button_opens_a_file_chooser(page: Page, query: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a photo").click()
    chooser.value.set_files(query)
    assert results(page).count() == 12


def test_the_camera_shows_a_preview_and_its_photo_is_searched(page: Page) -> None:
    page.get_by_role("button", name="Use the camera").click()
    shutter = page.get_by_role("button", name="Take the photo")
    page.locator(".shutter:enabled").wait_for()
    assert page.locator("#camera video").evaluate("(video) => video.videoWidth") > 0
    stream = page.locator("#camera video").evaluate_handle("(video) => video.srcObject")
    with page.expect_request(lambda asked: asked.method == "POST") as sent:
        shutter.click()
    assert sent.value.headers["content-type"] == "image/jpeg"
    results(page)
    assert page.locator("#camera").is_hidden()
    assert stream.evaluate("(stream) => stream.getTracks().every((track) => track.readyState === 'ended')")


def test_without_permission_the_camera_of_the_system_is_asked(page: Page) -> None:
    page.evaluate("() => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new Error('no')); }")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Use the camera").click()
    assert chooser.value.element.get_attribute("capture") == "environment"


def test_a_region_drawn_with_the_pointer_is_searched(page: Page, query: Path) -> None:
    search(page, query)
    box = page.locator("#query .frame").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.1 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.6 * box["height"], steps=4)
    with page.expect_request(lambda asked: asked.method == "POST") as sent:
        page.mouse.up()
    region = [float(part) for part in _parameter(sent.value, "region").split(",")]
    assert region == pytest.approx([0.2, 0.1, 0.5, 0.5], abs=0.02)
    assert "region=" in page.url
    page.get_by_role("button", name="Search with all of it").click()
    page.wait_for_url(lambda url: "region" not in url)
    assert page.locator(".region").is_hidden()


def test_a_region_is_moved_resized_and_removed_by_keyboard(page: Page, query: Path) -> None:
    search(page, query)
    page.get_by_role("button", name="Search with a part").press("Enter")
    region = page.get_by_role("application")
    assert region.evaluate("(box) => box === document.activeElement")
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "Shift+ArrowLeft"):
        page.keyboard.press(key)
    with page.expect_request(lambda asked: asked.method == "POST" and "region=0.29" in asked.url) as sent:
        page.keyboard.press("Enter")
    region_sent = [float(part) for part in _parameter(sent.value, "region").split(",")]
    assert region_sent == pytest.approx([0.29, 0.23, 0.48, 0.5])
    assert "from 29 % left and 23 % top, 48 % wide" in (region.get_attribute("aria-label") or "")
    page.keyboard.press("Delete")
    page.wait_for_url(lambda url: "region" not in url)


def _parameter(request: Request, name: str) -> str:
    from urllib.parse import parse_qs, urlsplit

    return parse_qs(urlsplit(request.url).query)[name][0]


def _prove(route: Route) -> None:
    """Let one result be proven, one match a part of the query, and one the whole."""
    response = route.fetch()
    answer: dict[str, Any] = response.json()
    first, second, third = answer["results"][:3]
    first |= {"certain": True, "inliers": 57, "outline": [[0.1, 0.2], [0.8, 0.1], [0.9, 0.8], [0.2, 0.9]]}
    second |= {"region": [0.5, 0.5, 0.25, 0.25]}
    third |= {"region": [0.1, 0.0, 0.8, 1.0]}  # its largest square
    route.fulfill(response=response, json=answer)


def test_what_a_result_matched_is_drawn_while_it_is_looked_at(page: Page, query: Path) -> None:
    page.route("**/v1/search*", _prove)
    found = search(page, query)
    assert found.nth(0).locator(".badge").inner_text() == "Certain"
    assert "certain: 57 points agree" in (found.nth(0).locator(".open").get_attribute("aria-label") or "")
    found.nth(0).locator(".open").focus()
    assert page.locator("#query .proof").get_attribute("points") == "0.1,0.2 0.8,0.1 0.9,0.8 0.2,0.9"
    assert "57 points agree" in page.locator("#query .why").inner_text()
    found.nth(1).hover()
    rect = page.locator("#query rect.match")
    assert [rect.get_attribute(name) for name in ("x", "width")] == ["0.5", "0.25"]
    assert found.nth(2).locator(".map").count() == 0
    found.nth(0).locator(".open").click()
    card = page.locator("#detail .proof-card")
    card.wait_for()
    assert "57 points of the two photos agree" in card.inner_text()
    assert card.locator("polygon.proof").count() == 1


def test_more_like_this_has_an_address_that_can_be_linked(page: Page, address: str) -> None:
    tile = page.locator(".tile").nth(3)
    tile.hover()
    tile.locator(".like").click()
    assert results(page).count() == 11
    assert page.url == f"{address}?like=round%2F07.png"
    assert page.locator("#query-title").inner_text() == "07.png"
    page.goto("about:blank")
    page.goto(f"{address}?like=round%2F07.png")
    assert results(page).count() == 11
    names = page.locator(".tile .open").evaluate_all("(links) => links.map((link) => link.title)")
    assert "round/07.png" not in names


def test_a_part_of_a_photo_of_the_collection_can_be_searched(page: Page, address: str) -> None:
    page.goto(f"{address}?like={_PHOTO}&region=0.1,0.1,0.6,0.6")
    assert results(page).count() == 12
    assert page.locator(".region").is_visible()


def test_options_are_sent_and_kept_in_the_address(page: Page, query: Path) -> None:
    search(page, query)
    with page.expect_request(lambda asked: "min_score=0.5" in asked.url):
        page.get_by_label("Only likely ones").check()
    with page.expect_request(lambda asked: "collapse=true" in asked.url):
        page.get_by_label("Without copies").check()
    with page.expect_request(lambda asked: "any_rotation=true" in asked.url):
        page.get_by_label("Turned ones as well").check()
    for option in ("likely", "distinct", "turned"):
        assert option in page.url


def test_a_photo_of_the_collection_is_not_searched_with_turned(page: Page, address: str) -> None:
    page.goto(f"{address}?like={_PHOTO}&turned")
    assert results(page).count() == 11
    assert page.get_by_label("Turned ones as well").is_hidden()


def test_a_busy_server_is_asked_again_after_the_time_it_names(
    chromium: Browser, address: str, query: Path
) -> None:
    answers: list[int] = []

    def refuse_once(route: Route) -> None:
        answers.append(1)
        if len(answers) == 1:
            route.fulfill(status=429, headers={"Retry-After": "1"}, json={"error": "busy"})
        else:
            route.continue_()

    with opened(chromium, address, may_fail=True) as page:
        page.route("**/v1/search*", refuse_once)
        assert search(page, query).count() == 12
    assert len(answers) == 2


def test_an_error_is_one_sentence_and_can_be_tried_again(
    chromium: Browser, address: str, query: Path
) -> None:
    with opened(chromium, address, may_fail=True) as page:
        page.route(
            "**/v1/search*", lambda route: route.fulfill(status=504, json={"error": "it took too long"})
        )
        page.set_input_files("#file", query)
        page.get_by_text("It took too long.").wait_for()
        page.unroute("**/v1/search*")
        page.get_by_role("button", name="Try again").click()
        assert results(page).count() == 12


def test_a_file_that_the_server_cannot_read_is_explained(
    chromium: Browser, address: str, tmp_path: Path
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    with opened(chromium, address, may_fail=True) as page:
        page.set_input_files("#file", tmp_path / "broken.jpg")
        page.locator(".message").get_by_text("cannot be read").wait_for()
        assert page.get_by_text("This browser cannot show this kind of file").is_visible()


def test_a_photo_is_added_to_the_collection(page: Page, tmp_path: Path, query: Path) -> None:
    from PIL import Image

    Image.new("RGB", (40, 30), (200, 30, 90)).save(tmp_path / "new.png")
    search(page, tmp_path / "new.png")
    page.get_by_role("button", name="Add to collection").click()
    page.get_by_text("new.png was added.").wait_for()
    page.keyboard.press("Escape")
    page.get_by_text("13 photos").wait_for()


def test_the_token_is_asked_for_and_opens_the_collection(
    chromium: Browser, folder: Path, address: str
) -> None:
    from helpers_page import server

    token = "a-token-of-the-test"
    with (
        server(folder / "tiny.dsi", token=token) as private,
        opened(chromium, private, may_fail=True) as page,
    ):
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Open").click()
        page.get_by_text("That is not the token.").wait_for()
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Open").click()
        page.locator(".tile.loaded").first.wait_for()
        assert token not in json.dumps(page.evaluate("[{ ...localStorage }, document.cookie, location.href]"))
