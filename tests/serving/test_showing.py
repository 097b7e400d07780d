"""Pictures by HTTP."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from helpers_serving import client, refusal

from vitdsi.collection.storage import read_index, write_index
from vitdsi.columns.names import Names


def test_a_thumbnail_and_a_photo_are_shown(reading: TestClient, photos: Path) -> None:
    thumb, photo = reading.get("/thumb/0?size=64"), reading.get("/photo/0")
    assert thumb.headers["content-type"] == "image/jpeg"
    assert photo.headers["content-type"] == "image/png"
    name = reading.get("/v1/images/0").json()["image_id"]
    assert photo.content == (photos / name).read_bytes()


@pytest.mark.parametrize("kind", ["thumb", "photo"])
@pytest.mark.parametrize(
    "path",
    [
        "99",
        "-1",
        "x",
        "0.0",
        "999999999999999999999",
        "..%2f..%2fetc%2fpasswd",
        "../../../etc/passwd",
        "%2e%2e/0",
        "0%00",
    ],
)
def test_only_the_ids_of_live_images_have_pictures(reading: TestClient, kind: str, path: str) -> None:
    refusal(reading.get(f"/{kind}/{path}"), 404)


@pytest.mark.parametrize(
    "path", ["../settings.py", "%2e%2e/settings.py", "..%2fsettings.py", "/etc/passwd", "..%5capp.py"]
)
def test_the_files_of_the_page_end_at_their_folder(reading: TestClient, path: str) -> None:
    refusal(reading.get(f"/static/{path}"), 404)


@pytest.mark.parametrize("path", ["/thumb/0", "/photo/0"])
def test_pictures_are_private_and_run_nothing(reading: TestClient, path: str) -> None:
    headers = reading.get(path).headers
    assert headers["cache-control"].startswith("private, ")
    assert headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/thumb/0", "/photo/0"])
def test_a_picture_that_the_browser_has_is_not_sent_again(reading: TestClient, path: str) -> None:
    first = reading.get(path)
    assert first.headers["cache-control"] == "private, no-cache"
    again = reading.get(path, headers={"if-none-match": f'"another", W/{first.headers["etag"]}'})
    assert again.status_code == 304 and not again.content
    assert again.headers["etag"] == first.headers["etag"]
    assert again.headers["cache-control"] == first.headers["cache-control"]
    assert reading.get(path, headers={"if-none-match": '"another"'}).content == first.content


def test_a_thumbnail_is_kept_if_its_address_names_the_content(reading: TestClient, dsi: Path) -> None:
    address = reading.get("/v1/images/0").json()["thumb"]
    assert reading.get(address).headers["cache-control"] == "private, max-age=3600"
    # Not if the content is another one, or if the file may still come.
    assert reading.get("/thumb/0?v=0123456789ab").headers["cache-control"] == "private, no-cache"
    with client(dsi) as without_photos:
        assert without_photos.get(address).headers["cache-control"] == "private, no-cache"


def test_sizes_are_bounded(reading: TestClient) -> None:
    for size in ("0", "5000", "x"):
        refusal(reading.get(f"/thumb/0?size={size}"), 422)


def test_without_a_folder_there_are_no_photos(dsi: Path) -> None:
    with client(dsi) as opened:
        assert opened.get("/thumb/0").status_code == 200
        assert "--images" in refusal(opened.get("/photo/0"), 404)


def test_the_name_of_a_file_can_neither_add_headers_nor_html(
    copied: Path, photos: Path, tmp_path: Path
) -> None:
    evil = 'x\r\nSet-Cookie: a=b\r\n"<script>alert(1)</script>'.replace("/", "")
    folder = tmp_path / "evil"
    folder.mkdir()
    shutil.copy(photos / "round" / "01.png", folder / evil)
    state = read_index(copied)
    write_index(copied, replace(state, image_ids=Names.of([evil, *state.image_ids[1:]])))
    with client(copied, images=folder) as opened:
        photo = opened.get("/photo/0")
        assert photo.status_code == 200
        assert "set-cookie" not in photo.headers
        assert "\n" not in photo.headers["content-disposition"]
        listed = opened.get("/v1/images?limit=1")
        assert listed.headers["content-type"] == "application/json"
        assert listed.json()["images"][0]["image_id"] == evil
