from __future__ import annotations

import numpy as np
import pytest
from helpers_codes import random_codes

from vitdsi.ids import IdContext, assign, grow
from vitdsi.ids.descend import descend, slots_taken
from vitdsi.trie import Trie

TREES = ("semantic", "residual")


def clusters(groups: int, each: int, width: int = 16, seed: int = 0) -> np.ndarray:
    """Features of groups that lie far from each other, (groups * each, width)."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.normal(size=(groups, width)) * 5, each, axis=0)
    return (centres + rng.normal(size=centres.shape) * 0.1).astype(np.float32)


def shared(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Length (n,) of the prefix that two rows of codes share."""
    return (first == second).cumprod(1).sum(1)


@pytest.mark.parametrize("scheme", TREES)
@pytest.mark.parametrize("base", [16, 64])
def test_a_copy_goes_into_the_node_of_its_original(scheme: str, base: int) -> None:
    features = clusters(10, 6)
    codes = assign(scheme, IdContext(60, base, features=features))
    live = np.ones(60, dtype=bool)
    depth = (codes < base).sum(1)
    for i in range(60):
        new = grow(scheme, codes, live, 1, base, features=features, new_features=features[i : i + 1])
        assert shared(new, codes[i : i + 1])[0] == depth[i] - 1


def test_a_group_stays_together_while_its_node_has_room() -> None:
    codes = np.array([[c, i] for c in range(4) for i in range(5)])
    features = clusters(4, 5)
    more = clusters(4, 15)[::3]  # the same centres
    new = descend(codes, 10, 2, features, more)
    assert (new[:, 0].reshape(4, 5) == np.arange(4)[:, None]).all()
    assert (np.sort(new[:, 1].reshape(4, 5)) == np.arange(5, 10)).all()


def full_tree() -> tuple[np.ndarray, np.ndarray]:
    """Base 4, three branches: those at 0 and 10 are full, that at 11 has one image, and digit 3 is free."""
    codes = np.array([[0, i] for i in range(4)] + [[1, i] for i in range(4)] + [[2, 0]])
    features = np.repeat([[0.0, 1], [10, 1], [11, 1]], [4, 4, 1], axis=0).astype(np.float32)
    return codes, features


def test_where_a_node_is_full_the_second_nearest_is_next() -> None:
    codes, features = full_tree()
    new = descend(codes, 4, 2, features, np.array([[10, 1]], dtype=np.float32))
    np.testing.assert_array_equal(new, [[2, 1]])


def test_then_a_new_branch_of_the_same_node_before_one_further_away() -> None:
    codes, features = full_tree()
    codes = np.concatenate([codes[1:], [[2, i] for i in range(1, 4)]])  # [0, 0] is free now, but far away
    features = np.concatenate([features[1:], np.repeat(features[-1:], 3, axis=0)])
    images = np.repeat([[10.0, 1]], 3, axis=0).astype(np.float32)
    # one image does not use up the digit either
    np.testing.assert_array_equal(descend(codes, 4, 2, features, images[:1]), [[3, 0]])
    new = descend(codes, 4, 2, features, images)
    np.testing.assert_array_equal(new, [[3, 0], [3, 1], [3, 2]])
    both = np.concatenate([codes, new])
    more = descend(both, 4, 2, np.concatenate([features, images]), images[:2])  # the branch is found again
    np.testing.assert_array_equal(more[np.lexsort(more.T[::-1])], [[0, 0], [3, 3]])


def test_the_nearest_images_come_first_where_not_all_have_room() -> None:
    codes, features = full_tree()
    live = np.arange(9) != 4  # one place at 10
    images = np.array([[9.0, 1], [10, 1], [8, 1]], dtype=np.float32)
    new = descend(codes[live], 4, 2, features[live], images)
    assert new[1].tolist() == [1, 0]
    assert (new[[0, 2], 0] != 1).all()


def test_what_is_alike_stays_together_in_new_branches() -> None:
    rng = np.random.default_rng(0)
    side = rng.permutation(np.repeat([-1.0, 1.0], 16))
    images = np.stack([side, rng.normal(size=32) * 0.01], axis=1).astype(np.float32)
    codes = np.array([[d, e, f] for d in range(3) for e in range(4) for f in range(4)])
    new = descend(codes, 4, 4, np.full((48, 2), [0, 1], dtype=np.float32), images)
    assert (new[:, 0] == 3).all()
    assert len(Trie(new, 4).live_ids()) == 32
    # two take a digit alone, so the border between the sides is not that between the branches
    strangers = [min((side[new[:, 1] == b] < 0).sum(), (side[new[:, 1] == b] > 0).sum()) for b in range(4)]
    assert sum(strangers) <= 2


@pytest.mark.parametrize("base", [2, 3, 5])
def test_every_slot_can_be_filled_at_once(base: int) -> None:
    rng = np.random.default_rng(1)
    for seed in range(10):
        codes = random_codes("mixed", 8, base, seed)
        for length in (codes.shape[1], codes.shape[1] + 1):
            left = base**length - int(slots_taken(codes, base, length).sum())
            if left > 3000:
                continue
            vectors = rng.normal(size=(8 + left, 4)).astype(np.float32)
            new = descend(codes, base, length, vectors[:8], vectors[8:])
            wider = np.pad(codes, ((0, 0), (0, length - codes.shape[1])), constant_values=base + 1)
            assert len(Trie(np.concatenate([wider, new]), base).live_ids()) == 8 + left


def test_identical_features() -> None:
    codes = np.array([[d, e] for d in range(3) for e in range(3)])
    same = np.ones((40, 5), dtype=np.float32)
    new = descend(codes, 4, 4, same[:9], same)
    assert (
        len(Trie(np.concatenate([np.pad(codes, ((0, 0), (0, 2)), constant_values=5), new]), 4).live_ids())
        == 49
    )


def test_slots_taken_are_counted_without_bounds() -> None:
    codes = np.array([[1, 2, 5, 6], [1, 1, 1, 1], [3, 6, 6, 6]])  # the first ends with EOS
    assert slots_taken(codes, 5, 4).tolist() == [0, 1, 125]
    assert slots_taken(codes, 5, 100).tolist() == [0, 5**96, 5**99]
