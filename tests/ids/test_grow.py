from __future__ import annotations

import itertools

import numpy as np
import pytest
from helpers_codes import KINDS, path, random_codes

from vitdsi.errors import UsageError
from vitdsi.ids import IdContext, assign, capacity_left, grow
from vitdsi.tokens import encode_numbers
from vitdsi.trie import Trie

TREES = ("semantic", "residual")
SCHEMES = ("random", "clustered", *TREES)
CLASSES = ("cat", "dog", "eel", "fox")


class Collection:
    """Codes with made-up features and classes, which images join and leave."""

    def __init__(self, codes: np.ndarray, base: int, seed: int, width: int = 6) -> None:
        self.base, self.width, self.rng = base, width, np.random.default_rng(seed)
        self.codes, self.live = codes, np.ones(len(codes), dtype=bool)
        self.features = self.some_features(len(codes))
        self.labels = self.rng.choice(CLASSES, len(codes)).tolist()

    def some_features(self, count: int) -> np.ndarray:
        return self.rng.normal(size=(count, self.width)).astype(np.float32)

    def grown(self, scheme: str, features: np.ndarray, labels: list[str], seed: int = 0) -> np.ndarray:
        return grow(
            scheme, self.codes, self.live, len(features), self.base, seed=seed,
            features=self.features, new_features=features, labels=self.labels, new_labels=labels,
        )  # fmt: skip

    def add(self, scheme: str, count: int) -> np.ndarray:
        """Add images, and check what must hold whatever they are."""
        features, labels = self.some_features(count), self.rng.choice(CLASSES, count).tolist()
        before = self.codes.copy()
        new = self.grown(scheme, features, labels)
        np.testing.assert_array_equal(self.codes, before)
        np.testing.assert_array_equal(self.grown(scheme, features, labels), new)
        assert new.shape[0] == count and new.shape[1] >= before.shape[1]
        wider = ((0, 0), (0, new.shape[1] - before.shape[1]))
        self.codes = np.concatenate([np.pad(before, wider, constant_values=self.base + 1), new])
        self.live = np.r_[self.live, np.ones(count, dtype=bool)]
        self.features = np.concatenate([self.features, features])
        self.labels += labels
        trie = Trie(self.codes[self.live], self.base)  # refuses codes that are not prefix-free
        assert len(trie.live_ids()) == self.live.sum()
        return new


def free_strings(codes: np.ndarray, base: int, length: int) -> int:
    """Digit strings of a length that neither begin with a code nor are the beginning of one, counted one by one."""
    used = [path(code, base) for code in codes]
    strings = itertools.product(range(base), repeat=length)
    return sum(not any(s[: len(u)] == u for u in used) for s in strings)


@pytest.mark.parametrize(
    ("scheme", "kind"),
    [
        (s, k) for s in SCHEMES for k in KINDS if s not in TREES or k != "variable"
    ],  # codes of trees have no EOS
)
@pytest.mark.parametrize("base", [2, 3, 10])
def test_images_come_and_go(scheme: str, kind: str, base: int) -> None:
    for seed in range(4):
        collection = Collection(random_codes(kind, 15, base, seed), base, seed)
        for count in (1, 2, 7, 1, 40, 1):
            here = np.flatnonzero(collection.live)
            collection.live[collection.rng.permutation(here)[: len(here) // 3]] = False
            collection.add(scheme, count)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("base", [2, 10, 64])
@pytest.mark.parametrize("count", [1, 2, 90])
def test_adding_to_what_the_scheme_made(scheme: str, base: int, count: int) -> None:
    for variable in (False, True):
        collection = Collection(np.empty((count, 1), dtype=np.int64), base, 5)
        context = IdContext(count, base, 0, variable, collection.labels, collection.features)
        collection.codes = assign(scheme, context)
        if not capacity_left(collection.codes, collection.live, base):
            collection.live[0] = False
        for more in (1, 30, 200):
            collection.add(scheme, more)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", ["fixed", "mixed"])
def test_ids_become_longer_only_for_the_last_slot(scheme: str, kind: str) -> None:
    for seed in range(5):
        for short in (1, 0):
            collection = Collection(random_codes(kind, 12, 3, seed), 3, seed)
            collection.live[::3] = False
            left = capacity_left(collection.codes, collection.live, 3)
            width = collection.codes.shape[1]
            assert (collection.add(scheme, left - short).shape[1] == width) == bool(short)
            assert capacity_left(collection.codes, collection.live, 3) > 0


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("base", [2, 10])
def test_one_free_slot_never_fills(scheme: str, base: int) -> None:
    collection = Collection(encode_numbers(np.arange(base**2), base, length=2), base, 0)
    collection.live[base] = False
    for count in (1, 1, 1, 30, 1, 2):
        collection.add(scheme, count)
        assert capacity_left(collection.codes, collection.live, base) > 0
    assert collection.codes.shape[1] <= 14


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_full_collection_says_what_to_do(scheme: str) -> None:
    collection = Collection(encode_numbers(np.arange(100), 10, length=2), 10, 0)
    assert capacity_left(collection.codes, collection.live, 10) == 0
    with pytest.raises(
        UsageError, match=r"^0 slots .* 100 images .* 2 digits in base 10; .*compact.* larger ids.base"
    ):
        collection.add(scheme, 1)
    assert collection.grown(scheme, collection.features[:0], []).shape == (0, 2)


@pytest.mark.parametrize("scheme", ["random", "clustered"])
def test_numbers_with_an_end_are_never_full(scheme: str) -> None:
    collection = Collection(encode_numbers(np.arange(10), 10, length=1, variable=True), 10, 0)
    assert capacity_left(collection.codes, collection.live, 10) == 0
    new = collection.add(scheme, 90)
    assert new.shape[1] == 3 and capacity_left(collection.codes, collection.live, 10) == 0
    assert (new[:, 2] == 10).all()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("never", [True, False])
def test_nothing_lives(scheme: str, never: bool) -> None:
    codes = np.full((4, 3), 11) if never else encode_numbers(np.arange(4), 10, length=3)
    collection = Collection(codes, 10, 0)
    collection.live[:] = never  # a row of PAD has no code, whatever `live` says
    assert capacity_left(codes, collection.live, 10) == 1000
    new = grow(
        scheme, codes, collection.live, 25, 10, features=collection.features, labels=collection.labels,
        new_features=collection.some_features(25), new_labels=["cat"] * 25,
    )  # fmt: skip
    assert new.shape == (25, 3)
    assert len(Trie(new, 10).live_ids()) == 25


@pytest.mark.parametrize("kind", ["fixed", "mixed"])
@pytest.mark.parametrize("base", [2, 3])
def test_capacity_is_what_one_counts(kind: str, base: int) -> None:
    for seed in range(5):
        codes = random_codes(kind, 9, base, seed)
        live = np.random.default_rng(seed).random(9) < 0.6
        expected = free_strings(codes[live], base, codes.shape[1])
        assert capacity_left(codes, live, base) == expected
    variable = encode_numbers(np.arange(6), base, length=5, variable=True)
    assert capacity_left(variable, np.ones(6, dtype=bool), base) == base**5 - 6


def test_random_ids_follow_the_seed() -> None:
    collection = Collection(encode_numbers(np.arange(500), 10, length=4), 10, 0)
    features = collection.some_features(50)
    first, again, other = (collection.grown("random", features, [], seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert len(np.unique(first[:, 0])) > 3  # drawn from everywhere


def test_dead_codes_are_given_again() -> None:
    collection = Collection(encode_numbers(np.arange(100), 10, length=2), 10, 0)
    collection.live[[3, 30, 77]] = False
    for scheme in SCHEMES:
        new = collection.grown(scheme, collection.some_features(2), ["cat", "dog"])
        assert {tuple(code) for code in new} < {(0, 3), (3, 0), (7, 7)}


def test_clustered_ids_are_next_to_their_class() -> None:
    numbers = np.r_[np.arange(20, 40), np.arange(60, 80)]
    codes = encode_numbers(numbers, 10, length=2)
    labels, live = ["cat"] * 20 + ["dog"] * 20, np.ones(40, dtype=bool)
    new = grow("clustered", codes, live, 4, 10, labels=labels, new_labels=["dog", "cat", "dog", "cat"])
    assert set((new[[1, 3]] @ [10, 1]).tolist()) <= {18, 19, 40, 41}
    assert set((new[[0, 2]] @ [10, 1]).tolist()) <= {58, 59, 80, 81}
    live[5] = False
    new = grow("clustered", codes, live, 1, 10, labels=labels, new_labels=["cat"])
    assert (new[0] @ [10, 1]) in (19, 25, 40)


@pytest.mark.parametrize("scheme", ["lexical", "bm25"])
def test_unknown_schemes_are_refused(scheme: str) -> None:
    with pytest.raises(UsageError, match="one of random, clustered, semantic, residual"):
        grow(scheme, np.zeros((1, 2), dtype=np.int64), np.ones(1, dtype=bool), 1, 10)


def test_what_a_scheme_needs_is_asked_for() -> None:
    codes, live = encode_numbers(np.arange(5), 10, length=2), np.ones(5, dtype=bool)
    with pytest.raises(UsageError, match="'clustered' needs classes of all 5 images and of the 2 new ones"):
        grow("clustered", codes, live, 2, 10, labels=["cat"] * 5, new_labels=["cat"])
    with pytest.raises(UsageError, match="'semantic' needs features"):
        grow("semantic", codes, live, 2, 10)
    with pytest.raises(UsageError, match="4 rows for 5 codes"):
        capacity_left(codes, live[:4], 10)
    with pytest.raises(UsageError, match="too many"):
        full = np.c_[np.zeros((63, 63), dtype=np.int64), np.zeros(63, dtype=np.int64)]
        full[np.arange(63), np.arange(63)] = 1
        grow("random", full, np.ones(63, dtype=bool), 1, 2)
