from __future__ import annotations

import numpy as np
import pytest

from vitdsi.errors import UsageError
from vitdsi.ids import IdContext, assign
from vitdsi.trie import Trie


def residual(features: np.ndarray, base: int, seed: int = 0) -> np.ndarray:
    return assign("residual", IdContext(len(features), base, seed, features=features.astype(np.float32)))


@pytest.mark.parametrize(("count", "base", "levels"), [(1, 10, 1), (60, 10, 3), (60, 128, 2), (600, 40, 2)])
def test_levels_make_twice_as_many_cells_as_images(count: int, base: int, levels: int) -> None:
    codes = residual(np.random.default_rng(0).normal(size=(count, 6)), base)
    assert codes.shape == (count, levels + 1)
    assert (codes < base).all()


def test_a_digit_says_the_same_after_every_prefix() -> None:
    """Images are a coarse part plus a fine one of another direction: the second digit is the fine part's."""
    rng = np.random.default_rng(1)
    coarse, fine = np.eye(8)[:4] * 10, np.eye(8)[4:] * 2
    which = np.array([(c, f) for c in range(4) for f in range(4) for _ in range(8)])
    features = coarse[which[:, 0]] + fine[which[:, 1]] + rng.normal(size=(128, 8)) * 1e-3
    codes = residual(features, 4)
    first = {(c, d) for c, d in zip(which[:, 0], codes[:, 0], strict=True)}
    second = {(f, d) for f, d in zip(which[:, 1], codes[:, 1], strict=True)}
    assert len(first) == len(second) == 4


def test_most_images_have_their_cell_alone_or_nearly() -> None:
    codes = residual(np.random.default_rng(2).normal(size=(500, 16)), 40)
    _, sizes = np.unique(codes[:, :-1], axis=0, return_counts=True)
    assert (sizes == 1).sum() > 250
    last = codes[:, -1]
    assert (last == 0).sum() == len(sizes)  # numbered from 0 in every cell
    assert last.max() == sizes.max() - 1


@pytest.mark.parametrize(("count", "base", "last"), [(50, 4, 3), (50, 64, 1), (203, 8, 3)])
@pytest.mark.parametrize("width", [3, 300])
def test_identical_images_differ_in_the_last_digits_only(
    count: int, base: int, last: int, width: int
) -> None:
    features = np.repeat(np.random.default_rng(1).normal(size=(1, width)), count, axis=0)
    codes = residual(features, base)
    assert Trie(codes, base).live_ids().tolist() == list(range(count))
    assert (codes[:, :-last] == codes[0, :-last]).all()
    assert (codes[:, -last:] != codes[0, -last:]).any(1).sum() == count - 1


@pytest.mark.parametrize("width", [12, 400])
def test_copies_share_all_but_the_last_digit(width: int) -> None:
    features = np.repeat(np.random.default_rng(3).normal(size=(50, width)), 4, axis=0)
    codes = residual(features, 64).reshape(50, 4, -1)
    assert (codes[:, :, :-1] == codes[:, :1, :-1]).all()
    assert len(Trie(codes.reshape(200, -1), 64).live_ids()) == 200


def test_it_asks_for_features() -> None:
    with pytest.raises(UsageError, match="features"):
        assign("residual", IdContext(3, 10))
