from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vitdsi.errors import UsageError
from vitdsi.paper.split import Split, filter_by_aspect, read_manifest, split_per_class, write_manifest
from vitdsi.photos.find import ImageRecord, scan_folder


def records(**counts: int) -> list[ImageRecord]:
    return [
        ImageRecord(f"{label}/{i:03}.jpg", Path(f"{label}/{i:03}.jpg"), label)
        for label, count in counts.items()
        for i in range(count)
    ]


def parts(split: Split) -> list[list[ImageRecord]]:
    return [split.indexing, split.train, split.validation, split.test]


def per_class(split: Split) -> list[dict[str | None, int]]:
    return [dict(Counter(record.label for record in part)) for part in parts(split)]


def collection(root: Path) -> list[ImageRecord]:
    for label in "ab":
        (root / label).mkdir(parents=True)
        for i in range(8):
            Image.new("RGB", (4, 4), (i, ord(label), 0)).save(root / label / f"{i}.png")
    return scan_folder(root, "folder")


def test_split_covers_every_image_once_with_the_given_shares() -> None:
    everything = records(a=40, b=80)
    split = split_per_class(everything, seed=0)
    assert per_class(split) == [{"a": 10, "b": 20}, {"a": 24, "b": 48}, {"a": 3, "b": 6}, {"a": 3, "b": 6}]
    ids = [record.image_id for part in parts(split) for record in part]
    assert sorted(ids) == sorted(record.image_id for record in everything)
    assert len(set(ids)) == len(ids)
    assert all(part == sorted(part, key=lambda r: r.image_id) for part in parts(split))


def test_split_depends_on_the_seed_but_not_on_order_or_other_classes() -> None:
    split = split_per_class(records(a=40, b=80), seed=0)
    assert split == split_per_class(records(b=80, a=40)[::-1], seed=0)
    assert split != split_per_class(records(a=40, b=80), seed=1)
    alone = split_per_class(records(a=40), seed=0)
    assert alone.indexing == [record for record in split.indexing if record.label == "a"]
    # Classes of equal size must not be shuffled by the same permutation.
    same = split_per_class(records(a=40, b=40), seed=0)
    assert {r.image_id[1:] for r in same.indexing if r.label == "a"} != {
        r.image_id[1:] for r in same.indexing if r.label == "b"
    }


def test_class_of_one_image_is_indexed() -> None:
    split = split_per_class(records(a=1, b=2), seed=0)
    assert per_class(split)[0] == {"a": 1, "b": 1}
    assert len(split.train) == 1
    assert split_per_class(records(a=5), indexing_share=1, seed=0).train == []


def test_limits_spread_images_over_the_classes() -> None:
    everything = records(a=30, b=4, c=30, d=2)
    split = split_per_class(everything, seed=0, max_images=24, num_classes=3, min_per_class=3)
    total: Counter[str | None] = Counter()
    for counts in per_class(split):
        total.update(counts)
    assert total == {"a": 10, "b": 4, "c": 10}
    assert sum(map(len, parts(split_per_class(everything, seed=0, max_images=1)))) == 1
    assert sum(map(len, parts(split_per_class(everything, seed=0, max_images=999)))) == 66


@pytest.mark.parametrize(
    "options",
    [
        {"indexing_share": 0},
        {"indexing_share": 1.2},
        {"retrieval": (0.8, 0.1, 0.2)},
        {"retrieval": (1.2, -0.1, -0.1)},
        {"max_images": 0},
        {"num_classes": 3},
        {"min_per_class": 41},
    ],
)
def test_value_out_of_range_raises(options: dict[str, Any]) -> None:
    with pytest.raises(
        UsageError, match=str(next(iter(options.values()))).replace("(", r"\(").replace(")", r"\)")
    ):
        split_per_class(records(a=40, b=40), seed=0, **options)


def test_unlabelled_repeated_or_missing_records_raise() -> None:
    with pytest.raises(UsageError, match=r"x\.jpg: has no class"):
        split_per_class([ImageRecord("x.jpg", Path("x.jpg"))], seed=0)
    with pytest.raises(UsageError, match="two records"):
        split_per_class(records(a=1) * 2, seed=0)
    with pytest.raises(UsageError, match="there are 0"):
        split_per_class([], seed=0)


def test_manifest_restores_the_split_also_from_a_moved_folder(tmp_path: Path) -> None:
    split = split_per_class(collection(tmp_path / "photos"), seed=0)
    manifest = tmp_path / "new" / "split.json"
    write_manifest(manifest, split)
    assert read_manifest(manifest, tmp_path / "photos") == split
    entry = json.loads(manifest.read_text())["images"][0]
    assert set(entry) == {"file", "hash", "role", "class"}
    (tmp_path / "photos").rename(tmp_path / "moved")
    moved = read_manifest(manifest, tmp_path / "moved")
    assert [r.image_id for r in moved.test] == [r.image_id for r in split.test]
    assert all(r.path.is_file() for part in parts(moved) for r in part)


def test_reading_a_manifest_reports_changed_and_missing_files(tmp_path: Path) -> None:
    write_manifest(tmp_path / "split.json", split_per_class(collection(tmp_path / "photos"), seed=0))
    (tmp_path / "photos" / "a" / "0.png").write_bytes(b"other")
    (tmp_path / "photos" / "b" / "1.png").unlink()
    with pytest.raises(UsageError, match="2 of 16 files") as caught:
        read_manifest(tmp_path / "split.json", tmp_path / "photos")
    assert "a/0.png (changed)" in str(caught.value)
    assert "b/1.png (No such file or directory)" in str(caught.value)


def test_failed_write_leaves_the_old_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = tmp_path / "split.json"
    split = split_per_class(collection(tmp_path / "photos"), seed=0)
    write_manifest(manifest, split)
    before = manifest.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(UsageError, match="No space left"):
        write_manifest(manifest, split_per_class(collection(tmp_path / "others"), seed=1))
    assert manifest.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["others", "photos", "split.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[]", "not a vitdsi-split manifest"),
        ('{"format": "vitdsi-split", "version": 2, "images": []}', "version 2"),
        (
            '{"format": "vitdsi-split", "version": 1, "images": [{"file": "a"}]}',
            "not a list of objects with file",
        ),
        (
            '{"format": "vitdsi-split", "version": 1, "images":'
            ' [{"file": "../a", "hash": "", "role": "test", "class": null}]}',
            "bad entry",
        ),
        (
            '{"format": "vitdsi-split", "version": 1, "images":'
            ' [{"file": "a", "hash": "", "role": "tests", "class": "c"}]}',
            "roles are indexing, train, validation, test",
        ),
    ],
)
def test_broken_manifest_raises(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(UsageError, match=message):
        read_manifest(tmp_path / "m.json", tmp_path)


def test_long_list_of_missing_files_is_shortened(tmp_path: Path) -> None:
    write_manifest(tmp_path / "split.json", split_per_class(collection(tmp_path / "photos"), seed=0))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="16 of 16 files") as caught:
        read_manifest(tmp_path / "split.json", tmp_path / "empty")
    assert str(caught.value).count("No such file") == 3 and ", ...;" in str(caught.value)


def test_missing_manifest_raises(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_manifest(tmp_path / "m.json", tmp_path)


def test_filter_by_aspect_keeps_upright_images_within_the_tolerance(tmp_path: Path) -> None:
    for width, height in ((100, 100), (110, 100), (90, 100), (111, 100), (89, 100)):
        Image.new("RGB", (width, height)).save(tmp_path / f"{width:03}.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (111, 101)).save(tmp_path / "turned.jpg", exif=exif)  # 101 x 111 upright
    (tmp_path / "broken.png").write_bytes(b"x")
    everything = scan_folder(tmp_path)
    kept, others = filter_by_aspect(everything, aspect_tolerance=0.1)
    assert [r.image_id for r in kept] == ["090.png", "100.png", "110.png", "turned.jpg"]
    assert [r.image_id for r, _ in others] == ["089.png", "111.png", "broken.png"]
    assert "1.110" in others[1][1]
    assert "not an image" in others[2][1]
    assert filter_by_aspect(everything) == (everything, [])
    with pytest.raises(UsageError, match="aspect_tolerance=-1"):
        filter_by_aspect(everything, aspect_tolerance=-1)
