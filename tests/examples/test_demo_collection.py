from __future__ import annotations

import hashlib
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from demo_collection import ALTERED, PICTURES, CollectionPaths, build_collection, choose_boxes, overlap
from PIL import Image

from vitdsi.errors import UsageError

pytest.importorskip("skimage", reason="the photos are inside scikit-image")


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> CollectionPaths:
    return build_collection(tmp_path_factory.mktemp("demo") / "photos")


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_hundreds_of_distinct_crops_in_a_folder_for_each_picture(collection: CollectionPaths) -> None:
    digests = _digests(collection.images)
    assert 300 <= len(digests) <= 500
    assert len(set(digests.values())) == len(digests)
    assert {Path(name).parent.name for name in digests} == {Path(name).stem for name in PICTURES}
    for name in digests:
        with Image.open(collection.images / name) as image:
            assert (image.format, image.mode) == ("JPEG", "RGB") and min(image.size) >= 96


def test_every_altered_copy_is_named_after_its_source_and_differs_from_it(
    collection: CollectionPaths,
) -> None:
    altered, images = _digests(collection.altered), _digests(collection.images)
    assert len(altered) == ALTERED
    assert set(altered) < set(images)
    for name in altered:
        with Image.open(collection.altered / name) as copy, Image.open(collection.images / name) as source:
            kept = copy.width * copy.height / (source.width * source.height)
        assert 0.67 < kept < 0.97  # 0.70 to 0.95, less the rounding of sides


def test_the_seed_decides_everything(collection: CollectionPaths, tmp_path: Path) -> None:
    again = build_collection(tmp_path / "again")
    other = build_collection(tmp_path / "other", seed=1)
    assert _digests(again.images) == _digests(collection.images)
    assert _digests(again.altered) == _digests(collection.altered)
    assert set(_digests(other.images).values()).isdisjoint(_digests(collection.images).values())


def test_boxes_overlap_little_lie_inside_and_show_something() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (400, 500), dtype=np.uint8)
    pixels[:, :250] = 127
    picture = Image.fromarray(pixels)
    boxes = choose_boxes(picture, rng)
    assert len(boxes) >= 5
    assert all(overlap(a, b) <= 0.35 for a, b in combinations(boxes, 2))
    assert all(min(left, top) >= 0 and right <= 500 and bottom <= 400 for left, top, right, bottom in boxes)
    assert all(right > 250 for _, _, right, _ in boxes)  # none in the empty half alone


def test_overlap_of_two_boxes() -> None:
    assert overlap((0, 0, 10, 10), (0, 0, 10, 10)) == 1.0
    assert overlap((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 10, 10), (10, 0, 20, 10)) == 0.0
    assert overlap((0, 0, 10, 10), (20, 20, 30, 30)) == 0.0


def test_a_collection_is_replaced_and_anything_else_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "photos"
    stale = build_collection(out).images / "stale.jpg"
    stale.write_bytes(b"")
    build_collection(out)
    assert not stale.exists()

    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "holiday.jpg").write_bytes(b"mine")
    with pytest.raises(UsageError, match="no demo collection"):
        build_collection(mine)
    assert (mine / "holiday.jpg").read_bytes() == b"mine"
