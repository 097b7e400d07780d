"""The page of an export in Chromium: what it finds is what Python finds, and nothing is sent anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from helpers_page import violations
from helpers_transformers import COLOURS, KINDS, coloured, write_model
from helpers_web import exported, file_of, found, page_of, static_host
from PIL import Image

from vitdsi import ImageIndex, load_config
from vitdsi.backbones import BACKBONES
from vitdsi.exported.searcher import ExportedIndex

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("web") / "colours.web"


@pytest.fixture(scope="module")
def in_python(folder: Path) -> ExportedIndex:
    photos = folder.parent / "photos"
    for seed in range(4):
        for colour in COLOURS:
            path = photos / colour / f"{seed}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            coloured(colour, 100 + seed).save(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "toy", "helpers_backbones:ToyBackbone")
        index = ImageIndex(load_config(overrides=["model.backbone=toy", "training.max_epochs=4"])).fit(photos)
        return exported(index, folder, images=photos)


@pytest.fixture(scope="module")
def page(chromium: Browser, in_python: ExportedIndex, folder: Path) -> Iterator[Page]:
    with page_of(chromium, folder) as opened:
        yield opened


def _turned(image: Image.Image, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return file_of(image, "JPEG", quality=95, exif=exif)


def _half_transparent(image: Image.Image) -> bytes:
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return file_of(image)


_QUERIES = {
    "small": file_of(coloured("red", 7)),
    "wide": file_of(coloured("blue", 8).resize((90, 45))),
    "large, of an odd height": file_of(coloured("cyan", 9).resize((400, 611))),
    "turned": _turned(coloured("green", 10).resize((60, 40)), 6),
    "transparent": _half_transparent(coloured("purple", 11)),
}


_REFUSED = """() => new Promise((resolve) => {
    addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
    fetch("http://127.0.0.1:9/", { method: "POST", body: "a photo" }).then(resolve, () => {});
})"""


def _assert_same(page: Page, in_python: ExportedIndex, photos: list[bytes]) -> None:
    for photo, results in zip(photos, found(page, photos), strict=True):
        expected = in_python.search(photo, 10, regions=1, verify=False)
        assert [result["image_id"] for result in results][:1] == [expected[0].image_id]
        assert [result["score"] for result in results] == pytest.approx([r.score for r in expected], abs=0.02)


def test_the_results_in_a_browser_are_those_of_python(page: Page, in_python: ExportedIndex) -> None:
    _assert_same(page, in_python, list(_QUERIES.values()))


def test_the_browser_refuses_whatever_would_be_sent_elsewhere(
    chromium: Browser, in_python: ExportedIndex, folder: Path
) -> None:
    with static_host(folder) as address:
        page = chromium.new_page()
        page.goto(address)
        page.locator(".tile").first.wait_for()
        (worker,) = page.workers
        for place in (page, worker):
            assert place.evaluate(_REFUSED) == "connect-src"
        page.close()


def test_a_photo_is_searched_and_shown_without_what_only_a_server_can_do(page: Page) -> None:
    page.set_input_files("#file", {"name": "red.png", "mimeType": "image/png", "buffer": _QUERIES["small"]})
    page.locator(".results .tile.loaded").first.wait_for()
    assert (page.locator(".results .open").first.get_attribute("title") or "").startswith("red/")
    assert page.get_by_text("Duplicates").is_hidden()
    assert page.get_by_text("Without copies").is_hidden()
    assert violations(page) == []


def test_words_of_names_filter_what_is_searched(page: Page) -> None:
    (results,) = found(page, [_QUERIES["small"]], where="GREEN png", k=40)
    assert sorted(result["image_id"] for result in results) == [f"green/{seed}.png" for seed in range(4)]


def test_images_like_one_of_the_collection_are_found_by_its_picture(page: Page) -> None:
    (results,) = found(page, [b""], id="yellow/2.png", k=3)
    assert {result["image_id"] for result in results} == {f"yellow/{seed}.png" for seed in (0, 1, 3)}


def test_a_part_of_a_photo_is_searched(page: Page) -> None:
    both = Image.new("RGB", (64, 32))
    both.paste(coloured("red", 7), (0, 0))
    both.paste(coloured("cyan", 7), (32, 0))
    for region, colour in (("0,0,0.5,1", "red"), ("0.5,0,0.5,1", "cyan")):
        (results,) = found(page, [file_of(both)], region=region)
        assert results[0]["image_id"].startswith(colour)


def test_a_file_that_is_no_photo_is_refused_in_a_sentence(page: Page) -> None:
    with pytest.raises(Exception, match="This browser cannot read this file as a photo"):
        found(page, [b"no photo"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["efficientnet", "pixels", "digits", *KINDS])
def test_each_kind_of_model_finds_in_a_browser_what_it_finds_in_python(
    kind: str, chromium: Browser, tmp_path: Path
) -> None:
    own = {
        "efficientnet": [],
        "pixels": ["model.stem=pixels", "model.paper.image_size=32", "ids.scheme=random"],
        "digits": ["model.paper.head=digits"],
    }
    settings = own[kind] if kind in own else [f"model.backbone={write_model(tmp_path / kind, kind)}"]
    photos = tmp_path / "photos"
    photos.mkdir()
    for seed, colour in enumerate(COLOURS):
        coloured(colour, seed).save(photos / f"{colour}.png")
    index = ImageIndex(load_config(overrides=[*settings, "training.max_epochs=4"])).fit(photos)
    in_python = exported(index, tmp_path / "out.web", precision="float32")
    side = index.reader.image_size
    queries = [file_of(coloured(colour, 7).resize((side, side))) for colour in ("red", "cyan", "white")]
    with page_of(chromium, tmp_path / "out.web") as page:
        for query, results in zip(queries, found(page, queries), strict=True):
            expected = in_python.search(query, 10, regions=1, verify=False)
            assert [result["image_id"] for result in results] == [r.image_id for r in expected]
            assert [result["score"] for result in results] == pytest.approx(
                [r.score for r in expected], abs=1e-3
            )


@pytest.mark.slow
def test_the_first_results_of_200_photos_agree(shared: Path, chromium: Browser, tmp_path: Path) -> None:
    photos = sorted((shared / "data" / "imagenette160" / "val").rglob("*.jpg"))
    (tmp_path / "photos").mkdir()
    for path in photos[::5]:
        (tmp_path / "photos" / path.name).symlink_to(path)
    index = ImageIndex(load_config(overrides=["training.max_epochs=40"])).fit(tmp_path / "photos")
    in_python = exported(index, tmp_path / "out.web")
    queries = [path.read_bytes() for path in photos[2::10][:200]]
    expected = [in_python.search(query, 1, regions=1, verify=False)[0].image_id for query in queries]
    with page_of(chromium, tmp_path / "out.web") as page:
        first = [results[0]["image_id"] for results in found(page, queries)]
    assert len(queries) == 200
    assert sum(one == other for one, other in zip(first, expected, strict=True)) >= 198
