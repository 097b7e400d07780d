from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vitdsi.backbones.cache import FeatureCache, default_cache
from vitdsi.errors import UsageError


def rows(names: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Hashes, features (N, 2) and thumbnails (N, 4, 4) that follow from the name of each photo."""
    values = np.array([ord(name) for name in names])
    features = np.stack([values, -values], 1).astype(np.float16)
    return list(names), features, np.broadcast_to(values[:, None, None], (len(names), 4, 4)).astype(np.uint8)


def found(cache: FeatureCache, names: str) -> str:
    """The names that the cache holds, after checking that their rows are right and others are untouched."""
    hashes, features, thumbnails = rows(names)
    read_features, read_thumbnails = np.zeros_like(features), np.zeros_like(thumbnails)
    known = cache.read(hashes, read_features, read_thumbnails)
    assert np.array_equal(read_features[known], features[known])
    assert np.array_equal(read_thumbnails[known], thumbnails[known])
    return "".join(name for name, is_known in zip(names, known, strict=True) if is_known)


def test_rows_are_found_by_hash_in_any_order(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, "key")
    assert found(cache, "abc") == ""
    cache.add(*rows("abc"))
    cache.add(*rows("de"))
    for reader in (cache, FeatureCache(tmp_path, "key")):
        assert found(reader, "dxabba") == "dabba"


def test_keys_do_not_share_rows(tmp_path: Path) -> None:
    FeatureCache(tmp_path, "key").add(*rows("abc"))
    assert found(FeatureCache(tmp_path, "key-2"), "abc") == ""
    assert found(FeatureCache(tmp_path, "ke"), "abc") == ""


def test_photos_without_a_hash_are_never_stored_or_found(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, "key")
    _, features, thumbnails = rows("ab")
    cache.add(["", ""], features, thumbnails)
    assert list(tmp_path.iterdir()) == []
    cache.add(["", "b"], features, thumbnails)
    assert cache.read(["", "b"], features, thumbnails).tolist() == [False, True]


def test_known_photos_are_not_written_again(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, "key")
    cache.add(*rows("aab"))
    before = sorted(tmp_path.rglob("*"))
    cache.add(*rows("ab"))
    assert sorted(tmp_path.rglob("*")) == before
    cache.add(*rows("abc"))
    listings = [json.loads(path.read_text()) for path in tmp_path.rglob("*.json")]
    assert sorted(listings) == [["a", "b"], ["c"]]


def test_shards_of_different_photos_do_not_collide(tmp_path: Path) -> None:
    """Two caches that know nothing of each other write shards that begin with the same photo."""
    one, two = FeatureCache(tmp_path, "key"), FeatureCache(tmp_path, "key")
    one.add(*rows("ab"))
    two.add(*rows("ac"))
    assert len(list(tmp_path.rglob("*.json"))) == 2
    assert found(FeatureCache(tmp_path, "key"), "abc") == "abc"
    assert found(one, "abc") == found(two, "abc") == "abc"


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


@pytest.mark.parametrize("suffix", [".npy", ".thumbnails.npy", ".json"])
@pytest.mark.parametrize(
    "damage",
    [
        _truncate,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\0" * 200),
        lambda path: path.write_bytes(b"\x93NUMPY\x01\x00\x10\x00{'descr: ,,,(((  \n"),
        lambda path: path.write_text('{"a": 1}'),
        lambda path: path.unlink(),
    ],
    ids=["truncated", "empty", "zeros", "header", "json", "missing"],
)
def test_broken_shard_counts_as_absent_and_is_replaced(
    tmp_path: Path, suffix: str, damage: Callable[[Path], None]
) -> None:
    FeatureCache(tmp_path, "key").add(*rows("abc"))
    FeatureCache(tmp_path, "key").add(*rows("xy"))
    listing = next(path for path in tmp_path.rglob("*.json") if "a" in path.read_text())
    damage(listing.with_suffix(suffix))
    cache = FeatureCache(tmp_path, "key")
    assert found(cache, "abcxy") == "xy"
    cache.add(*rows("abc"))
    assert found(cache, "abcxy") == "abcxy"
    assert found(FeatureCache(tmp_path, "key"), "abcxy") == "abcxy"


def test_photos_of_a_broken_shard_are_found_in_others(tmp_path: Path) -> None:
    for names in ("abc", "ad", "be"):
        FeatureCache(tmp_path, "key").add(*rows(names))
    listing = next(path for path in tmp_path.rglob("*.json") if "c" in path.read_text())
    listing.with_suffix(".npy").write_bytes(b"")
    assert found(FeatureCache(tmp_path, "key"), "abcde") == "abde"


def test_rows_of_another_shape_count_as_absent(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, "key")
    hashes, features, thumbnails = rows("abc")
    cache.add(hashes, features[:, :1], thumbnails)
    assert found(FeatureCache(tmp_path, "key"), "abc") == ""


def test_deleted_cache_counts_as_empty(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, "key")
    cache.add(*rows("abc"))
    for path in (tmp_path / "key").iterdir():
        path.unlink()
    (tmp_path / "key").rmdir()
    assert found(cache, "abc") == ""
    cache.add(*rows("abc"))
    assert found(cache, "abc") == "abc"


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file.*: features cannot be cached here \(.+\); .* VITDSI_CACHE"):
        FeatureCache(tmp_path / "file", "key").add(*rows("abc"))


def test_default_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VITDSI_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache() == tmp_path / "own"
    monkeypatch.delenv("VITDSI_CACHE")
    assert default_cache() == tmp_path / "xdg" / "vitdsi"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert default_cache() == tmp_path / ".cache" / "vitdsi"


def test_what_is_listed_is_known_without_reading_it(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, "key")
    cache.add(*rows("abc"))
    assert FeatureCache(tmp_path, "key").has(["c", "x", "", "a"]).tolist() == [True, False, False, True]
