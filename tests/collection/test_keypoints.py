from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers_images import textured

from vitdsi.collection import keypoints
from vitdsi.collection.keypoints import read_keypoints
from vitdsi.photos.keypoints import Keypoints, detect
from vitdsi.progress import Progress


def _equal(first: Keypoints, second: Keypoints) -> bool:
    both = vars(first.since(0)), vars(second.since(0))
    return all(np.array_equal(value, both[1][name]) for name, value in both[0].items())


def test_keypoints_are_those_of_each_photo_in_order() -> None:
    photos = [textured(seed=seed) for seed in range(5)]
    read = read_keypoints(photos, [""] * 5, 50)
    assert _equal(read, Keypoints.of([detect(photo, 50, 400) for photo in photos]))


def test_photo_that_cannot_be_read_has_no_keypoints() -> None:
    read = read_keypoints([textured(), b"broken", textured()], [""] * 3, 50)
    assert np.diff(read.since(0).offsets).tolist() == [50, 0, 50]


def test_photo_that_cannot_be_read_now_is_read_again_later(tmp_path: Path) -> None:
    assert read_keypoints([b"broken"], ["a" * 32], 50, tmp_path).since(0).offsets.tolist() == [0, 0]
    assert read_keypoints([textured()], ["a" * 32], 50, tmp_path).since(0).offsets.tolist() == [0, 50]


def test_keypoints_come_from_the_cache_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos, hashes = [textured(seed=seed) for seed in range(3)], ["a" * 32, "", "c" * 32]
    first = read_keypoints(photos, hashes, 50, tmp_path)
    seen = []

    def counted(source: object, *rest: int) -> object:
        seen.append(source)
        return detect(source, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(keypoints, "detect", counted)
    assert _equal(read_keypoints(photos, hashes, 50, tmp_path), first)
    assert seen == [photos[1]]  # it has no hash
    assert _equal(read_keypoints(photos, hashes, 20, tmp_path), read_keypoints(photos, hashes, 20))


def test_progress_is_reported_to_the_last_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keypoints, "_SHARD", 2)
    reported: list[Progress] = []
    read_keypoints([textured(seed=seed) for seed in range(3)], [""] * 3, 5, None, reported.append)
    assert [(p.phase, p.done, p.total) for p in reported] == [("keypoints", 2, 3), ("keypoints", 3, 3)]
