from __future__ import annotations

import numpy as np
import pytest
from helpers_codes import feature_clusters, random_codes

from vitdsi.ids.capacity import slots_taken
from vitdsi.ids.insertion import codes_below, insert
from vitdsi.ids.trie import Trie


def test_similar_images_go_into_the_node_of_their_group_while_it_has_room() -> None:
    codes = np.array([[c, i] for c in range(4) for i in range(5)])
    features = feature_clusters(4, 5)
    more = feature_clusters(4, 15)[::3]  # the same centres
    new = insert(codes, 10, 2, features, more)
    assert (new[:, 0].reshape(4, 5) == np.arange(4)[:, None]).all()
    assert (np.sort(new[:, 1].reshape(4, 5)) == np.arange(5, 10)).all()


def full_tree() -> tuple[np.ndarray, np.ndarray]:
    """Base 4, three branches: those at 0 and 10 are full, that at 11 has one image, and digit 3 is free."""
    codes = np.array([[0, i] for i in range(4)] + [[1, i] for i in range(4)] + [[2, 0]])
    features = np.repeat([[0.0, 1], [10, 1], [11, 1]], [4, 4, 1], axis=0).astype(np.float32)
    return codes, features


def test_an_image_goes_to_the_second_nearest_branch_when_the_nearest_is_full() -> None:
    codes, features = full_tree()
    new = insert(codes, 4, 2, features, np.array([[10, 1]], dtype=np.float32))
    np.testing.assert_array_equal(new, [[2, 1]])


def test_images_open_a_new_branch_when_both_nearest_branches_are_full() -> None:
    codes, features = full_tree()
    codes = np.concatenate([codes[1:], [[2, i] for i in range(1, 4)]])  # [0, 0] is free now, but far away
    features = np.concatenate([features[1:], np.repeat(features[-1:], 3, axis=0)])
    images = np.repeat([[10.0, 1]], 3, axis=0).astype(np.float32)
    # a single image shares the digit with later ones, too
    np.testing.assert_array_equal(insert(codes, 4, 2, features, images[:1]), [[3, 0]])
    new = insert(codes, 4, 2, features, images)
    np.testing.assert_array_equal(new, [[3, 0], [3, 1], [3, 2]])
    both = np.concatenate([codes, new])
    # later images go to the new branch, too
    more = insert(both, 4, 2, np.concatenate([features, images]), images[:2])
    np.testing.assert_array_equal(more[np.lexsort(more.T[::-1])], [[0, 0], [3, 3]])


def test_the_nearest_image_gets_the_last_slot_of_a_branch() -> None:
    codes, features = full_tree()
    live = np.arange(9) != 4  # one place at 10
    images = np.array([[9.0, 1], [10, 1], [8, 1]], dtype=np.float32)
    new = insert(codes[live], 4, 2, features[live], images)
    assert new[1].tolist() == [1, 0]
    assert (new[[0, 2], 0] != 1).all()


def test_similar_images_share_new_branches() -> None:
    rng = np.random.default_rng(0)
    side = rng.permutation(np.repeat([-1.0, 1.0], 16))
    images = np.stack([side, rng.normal(size=32) * 0.01], axis=1).astype(np.float32)
    codes = np.array([[d, e, f] for d in range(3) for e in range(4) for f in range(4)])
    new = insert(codes, 4, 4, np.full((48, 2), [0, 1], dtype=np.float32), images)
    assert (new[:, 0] == 3).all()
    assert len(Trie(new, 4).live_ids()) == 32
    # a branch may hold the last images of one side and the first of the other
    misplaced = [min((side[new[:, 1] == b] < 0).sum(), (side[new[:, 1] == b] > 0).sum()) for b in range(4)]
    assert sum(misplaced) <= 2


@pytest.mark.parametrize("base", [2, 3, 5])
def test_one_insertion_can_fill_every_slot(base: int) -> None:
    rng = np.random.default_rng(1)
    for seed in range(10):
        codes = random_codes("mixed", 8, base, seed)
        for length in (codes.shape[1], codes.shape[1] + 1):
            left = base**length - int(slots_taken(codes, base, length).sum())
            if left > 3000:
                continue
            vectors = rng.normal(size=(8 + left, 4)).astype(np.float32)
            new = insert(codes, base, length, vectors[:8], vectors[8:])
            wider = np.pad(codes, ((0, 0), (0, length - codes.shape[1])), constant_values=base + 1)
            assert len(Trie(np.concatenate([wider, new]), base).live_ids()) == 8 + left


def test_identical_features_get_different_codes() -> None:
    codes = np.array([[d, e] for d in range(3) for e in range(3)])
    same = np.ones((40, 5), dtype=np.float32)
    new = insert(codes, 4, 4, same[:9], same)
    assert (
        len(Trie(np.concatenate([np.pad(codes, ((0, 0), (0, 2)), constant_values=5), new]), 4).live_ids())
        == 49
    )


@pytest.mark.parametrize(("count", "digits"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 2])])
def test_codes_below_a_node_share_a_digit_only_when_they_must(count: int, digits: list[int]) -> None:
    vectors = np.arange(count, dtype=np.float32)[:, None] * np.ones((1, 2), dtype=np.float32)
    codes = codes_below([3], np.array([1, 2]), vectors, 4, 3)
    assert (codes[:, 0] == 3).all()
    assert sorted(codes[:, 1].tolist()) == digits
    assert len(Trie(codes, 4).live_ids()) == count
    shared = codes_below([3], np.array([1, 2]), vectors, 4, 3, share_digits=True)
    assert (shared[:, :2] == [3, 1]).all()
    assert len(Trie(shared, 4).live_ids()) == count
