"""Files whose names nobody would choose, through index, list, search, remove and a server."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from helpers_cli import COUNT, index, paint, run

from vitdsi.index import ImageIndex

NAMES = (
    "a\nb\r\t.png",
    'it\'s "quoted" `so`.png',
    "--force.png",
    "bytes-\udcff\udc80.png",
    "<img src=x onerror=alert(1)>.png",
    "%00%2e%2e%2f $(reboot) ;&|.png",
    "\u202egnp.exe.png",
    "e\u0301-é-🙂.png",
    "x" * 251 + ".png",
)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An index of files with odd names, and their folder."""
    folder = tmp_path_factory.mktemp("odd")
    photos = paint(folder / "photos")
    painted = sorted(photos.rglob("*.png"))
    for source, name in zip(painted, NAMES, strict=False):
        source.rename(photos / name)
    deep = photos
    while len(os.fspath(deep.relative_to(photos))) < 3700:
        deep /= "d" * 200
        deep.mkdir()
    painted[len(NAMES)].rename(deep / "last.png")
    (photos / "circle").symlink_to(photos)
    (deep / "circle").symlink_to(deep.parent)
    (photos / "empty.png").write_bytes(b"")
    out = folder / "odd.dsi"
    result = index(photos, out, "--epochs", 2)
    assert result.exit_code == 0, result.output
    return out, photos


def test_each_file_is_indexed_once_under_its_name(odd: tuple[Path, Path]) -> None:
    dsi, photos = odd
    names = list(ImageIndex.load(dsi).image_ids_)
    assert len(names) == len(set(names)) == COUNT and set(NAMES) <= set(names)
    assert max(map(len, names)) > 3700 and all((photos / name).is_file() for name in names)


def test_listed_names_are_one_line_each_and_can_be_read_back(odd: tuple[Path, Path]) -> None:
    dsi, _ = odd
    result = run("list", dsi, "--json")
    listed = [json.loads(line)["image_id"] for line in result.stdout.splitlines()]
    assert listed == list(ImageIndex.load(dsi).image_ids_)
    for name in NAMES:
        plain = run("search", dsi, odd[1] / name, "--plain", "-k", 3)
        assert plain.exit_code == 0, plain.output
        assert len(plain.stdout.splitlines()) == 4  # the name of the query, and three results


def test_images_with_odd_names_are_served_and_removed(odd: tuple[Path, Path]) -> None:
    from helpers_serving import client

    dsi, photos = odd
    with client(dsi, images=photos, writable=True) as server:
        listed = server.get("/v1/images?limit=100").json()["images"]
        assert len(listed) == COUNT
        for image in listed:
            assert server.get(f"/v1/images/{image['id']}").json()["image_id"] == image["image_id"]
    names = [name for name in NAMES if not name.startswith("--")]
    assert run("remove", dsi, *names).exit_code == 0
    assert not set(names) & {
        ImageIndex.load(dsi).image_ids_[i] for i in ImageIndex.load(dsi).trie_.live_ids()
    }
