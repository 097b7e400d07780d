from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers_growth import GrowingCollection

from vitdsi.errors import UsageError
from vitdsi.ids import IdContext
from vitdsi.ids.capacity import capacity_left
from vitdsi.ids.semantic import SemanticIds
from vitdsi.ids.trie import Trie


def assign(features: np.ndarray, base: int, seed: int = 0) -> np.ndarray:
    return SemanticIds().assign(IdContext(len(features), base, seed, features=features))


def test_similar_images_share_their_first_digit() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 8)) * 10
    features = (np.repeat(centres, 20, axis=0) + rng.normal(size=(60, 8)) * 0.01).astype(np.float32)
    first = assign(features, 40)[:, 0].reshape(3, 20)
    assert (first == first[:, :1]).all()
    assert len(set(first[:, 0])) == 3


def test_identical_features_get_different_codes() -> None:
    codes = assign(np.ones((50, 3), dtype=np.float32), 4)
    assert len(Trie(codes, 4).live_ids()) == 50


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("groups", [3, 5])
def test_copies_of_one_image_share_their_first_digit(groups: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    features = np.repeat(rng.normal(size=(groups, 64)).astype(np.float32), 20, axis=0)
    codes = assign(features, 2 * groups + 1, seed)
    first = codes[:, 0].reshape(groups, 20)
    assert (first == first[:, :1]).all()
    assert Trie(codes, 2 * groups + 1).live_ids().tolist() == list(range(20 * groups))


@pytest.mark.parametrize(("count", "width"), [(50, 3), (203, 1280)])
def test_many_identical_images_of_any_width_get_different_codes(count: int, width: int) -> None:
    features = np.repeat(np.random.default_rng(1).normal(size=(1, width)).astype(np.float32), count, axis=0)
    assert len(Trie(assign(features, 8), 8).live_ids()) == count


def test_assign_without_features_raises() -> None:
    with pytest.raises(UsageError, match="features"):
        SemanticIds().assign(IdContext(3, 10))


@pytest.mark.parametrize("base", [2, 3, 16])
def test_collection_as_large_as_the_base_leaves_room_for_more(base: int) -> None:
    features = np.random.default_rng(0).normal(size=(base, 4)).astype(np.float32)
    codes = assign(features, base)
    assert capacity_left(codes, np.ones(base, dtype=bool), base) > 0
    collection = GrowingCollection(codes, base, seed=0, width=4)
    for count in (1, 30):
        collection.add("semantic", count)


def test_clusters_of_a_sample_still_give_every_image_a_code_near_its_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vitdsi.kmeans._SAMPLED_PER_CLUSTER", 8)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 8)) * 10
    features = (np.repeat(centres, 60, axis=0) + rng.normal(size=(180, 8)) * 0.01).astype(np.float32)
    codes = assign(features, 120)
    assert len(Trie(codes, 120).live_ids()) == 180
    first = codes[:, 0].reshape(3, 60)
    assert (first == first[:, :1]).all()
    np.testing.assert_array_equal(codes, assign(features, 120))


def test_large_collections_are_read_in_blocks_from_a_mapped_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("vitdsi.ids.semantic._REDUCED_FROM", 100)
    monkeypatch.setattr("vitdsi.ids.semantic._AXES", 3)
    monkeypatch.setattr("vitdsi.ids.semantic.BLOCK", 32)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 8)) * 10
    features = (np.repeat(centres, 50, axis=0) + rng.normal(size=(150, 8)) * 0.01).astype(np.float16)
    np.save(tmp_path / "features.npy", features)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    codes = assign(mapped, 100)
    assert np.array_equal(codes, assign(features.astype(np.float32), 100))
    first = codes[:, 0].reshape(3, 50)
    assert (first == first[:, :1]).all()
    assert len(set(first[:, 0])) == 3
