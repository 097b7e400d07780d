from __future__ import annotations

import numpy as np
import pytest

from vitdsi.errors import UsageError
from vitdsi.ids import SCHEMES, IdContext, assign
from vitdsi.trie import Trie


def context(count: int, base: int, seed: int = 0, variable: bool = False) -> IdContext:
    features = np.random.default_rng(7).normal(size=(count, 5)).astype(np.float32)
    labels = [f"class {i % 3}" for i in range(count)]
    return IdContext(count, base, seed, variable, labels, features)


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
@pytest.mark.parametrize("count", [1, 2, 10, 137])
@pytest.mark.parametrize("base", [2, 10, 64])
def test_every_image_gets_its_own_code(scheme: str, count: int, base: int) -> None:
    for variable in (False, True):
        codes = assign(scheme, context(count, base, variable=variable))
        trie = Trie(codes, base)  # refuses codes that are not prefix-free
        assert trie.live_ids().tolist() == list(range(count))


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_one_seed_one_result(scheme: str) -> None:
    first, again, other = (assign(scheme, context(50, 10, seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or (first != other).any()


def test_clustered_ids_of_a_class_are_consecutive() -> None:
    given = context(90, 10)
    codes = assign("clustered", given)
    order = np.lexsort(codes.T[::-1])
    labels = [given.labels[i] for i in order]
    assert labels == sorted(labels)


def test_semantic_ids_put_like_images_below_one_digit() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 8)) * 10
    features = (np.repeat(centres, 20, axis=0) + rng.normal(size=(60, 8)) * 0.01).astype(np.float32)
    codes = assign("semantic", IdContext(60, 40, features=features))
    first = codes[:, 0].reshape(3, 20)
    assert (first == first[:, :1]).all()
    assert len(set(first[:, 0])) == 3


def test_identical_features_still_get_different_ids() -> None:
    codes = assign("semantic", IdContext(50, 4, features=np.ones((50, 3), dtype=np.float32)))
    assert len(Trie(codes, 4).live_ids()) == 50


def test_what_a_scheme_needs_is_asked_for() -> None:
    with pytest.raises(UsageError, match="labels=folder"):
        assign("clustered", IdContext(3, 10))
    with pytest.raises(UsageError, match="features"):
        assign("semantic", IdContext(3, 10))
    with pytest.raises(UsageError, match="choose one of clustered, random, residual, semantic"):
        assign("lexical", IdContext(3, 10))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("groups", [3, 5])
def test_copies_of_one_image_share_their_first_digit(groups: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    features = np.repeat(rng.normal(size=(groups, 64)).astype(np.float32), 20, axis=0)
    codes = assign("semantic", IdContext(20 * groups, 2 * groups + 1, seed=seed, features=features))
    first = codes[:, 0].reshape(groups, 20)
    assert (first == first[:, :1]).all()
    assert Trie(codes, 2 * groups + 1).live_ids().tolist() == list(range(20 * groups))


@pytest.mark.parametrize(("count", "width"), [(50, 3), (203, 1280)])
def test_many_identical_images_of_any_width(count: int, width: int) -> None:
    features = np.repeat(np.random.default_rng(1).normal(size=(1, width)).astype(np.float32), count, axis=0)
    assert len(Trie(assign("semantic", IdContext(count, 8, features=features)), 8).live_ids()) == count


@pytest.mark.parametrize("scheme", ["random", "clustered"])
def test_a_base_below_two_is_refused(scheme: str) -> None:
    with pytest.raises(UsageError, match="base is 1"):
        assign(scheme, IdContext(5, 1, labels=["a"] * 5))
