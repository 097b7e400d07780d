from __future__ import annotations

import numpy as np
from helpers_growth import GrowingCollection

from vitdsi.ids.codes import decode_numbers, encode_numbers
from vitdsi.ids.random import RandomIds
from vitdsi.ids.scheme import IdContext


def test_numbers_are_a_permutation_in_no_order() -> None:
    numbers = decode_numbers(RandomIds().assign(IdContext(500, 10)), 10)
    assert sorted(numbers) == list(range(500))
    assert 200 < (np.diff(numbers) > 0).sum() < 300


def test_new_numbers_follow_the_seed() -> None:
    collection = GrowingCollection(encode_numbers(np.arange(500), 10, length=4), 10, 0)
    features = collection.random_features(50)
    first, again, other = (collection.grow("random", features, [], seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert len(np.unique(first[:, 0])) > 3  # drawn from the whole range
