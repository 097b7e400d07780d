from __future__ import annotations

import numpy as np
import pytest
from helpers_codes import KINDS, random_codes
from helpers_growth import GrowingCollection

from vitdsi.errors import UsageError
from vitdsi.ids import SCHEMES, Growth, IdContext, scheme_named
from vitdsi.ids.capacity import capacity_left
from vitdsi.ids.codes import encode_numbers
from vitdsi.ids.trie import Trie


def context(count: int, base: int, seed: int = 0, variable: bool = False) -> IdContext:
    features = np.random.default_rng(7).normal(size=(count, 5)).astype(np.float32)
    labels = [f"class {i % 3}" for i in range(count)]
    return IdContext(count, base, seed, variable, labels, features)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("count", [1, 2, 10, 137])
@pytest.mark.parametrize("base", [2, 10, 64])
def test_assign_gives_prefix_free_codes_to_all_images(scheme: str, count: int, base: int) -> None:
    for variable in (False, True):
        codes = scheme_named(scheme).assign(context(count, base, variable=variable))
        trie = Trie(codes, base)  # refuses codes that are not prefix-free
        assert trie.live_ids().tolist() == list(range(count))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_assign_depends_on_the_seed_alone(scheme: str) -> None:
    first, again, other = (scheme_named(scheme).assign(context(50, 10, seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or (first != other).any()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_assign_with_a_base_below_two_raises(scheme: str) -> None:
    with pytest.raises(UsageError, match="base is 1"):
        scheme_named(scheme).assign(context(5, 1))


@pytest.mark.parametrize("count", [1, 2, 255, 257, 4096, 4097, 60_000])
def test_default_base_is_the_smallest_that_writes_all_numbers_in_two_digits(count: int) -> None:
    base = scheme_named("random").default_base(count)
    assert base**2 >= count and 16 <= base <= 256
    assert base == 16 or (base // 2) ** 2 < count
    assert scheme_named("clustered").default_base(count) == base
    assert scheme_named("semantic").default_base(count) >= base


@pytest.mark.parametrize(("count", "base"), [(85, 16), (86, 32), (21_845, 256), (10**7, 256)])
def test_default_base_of_clusters_has_three_slots_per_image(count: int, base: int) -> None:
    assert scheme_named("semantic").default_base(count) == base


@pytest.mark.parametrize(
    ("scheme", "kind"),
    [(s, k) for s in SCHEMES for k in KINDS if s != "semantic" or k != "variable"],  # trees have no EOS
)
@pytest.mark.parametrize("base", [2, 3, 10])
def test_codes_stay_prefix_free_while_images_come_and_go(scheme: str, kind: str, base: int) -> None:
    for seed in range(4):
        collection = GrowingCollection(random_codes(kind, 15, base, seed), base, seed)
        for count in (1, 2, 7, 1, 40, 1):
            here = np.flatnonzero(collection.live)
            collection.live[collection.rng.permutation(here)[: len(here) // 3]] = False
            collection.add(scheme, count)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("base", [2, 10, 64])
@pytest.mark.parametrize("count", [1, 2, 90])
def test_grow_continues_the_codes_that_assign_gave(scheme: str, base: int, count: int) -> None:
    for variable in (False, True):
        collection = GrowingCollection(np.empty((count, 1), dtype=np.int64), base, 5)
        given = IdContext(count, base, 0, variable, collection.labels, collection.features)
        collection.codes = scheme_named(scheme).assign(given)
        if not capacity_left(collection.codes, collection.live, base):
            collection.live[0] = False
        for more in (1, 30, 200):
            collection.add(scheme, more)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", ["fixed", "mixed"])
def test_codes_become_longer_only_for_the_last_slot(scheme: str, kind: str) -> None:
    for seed in range(5):
        for short in (1, 0):
            collection = GrowingCollection(random_codes(kind, 12, 3, seed), 3, seed)
            collection.live[::3] = False
            left = capacity_left(collection.codes, collection.live, 3)
            width = collection.codes.shape[1]
            assert (collection.add(scheme, left - short).shape[1] == width) == bool(short)
            assert capacity_left(collection.codes, collection.live, 3) > 0


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("base", [2, 10])
def test_one_free_slot_leaves_room_for_any_number_of_images(scheme: str, base: int) -> None:
    collection = GrowingCollection(encode_numbers(np.arange(base**2), base, length=2), base, 0)
    collection.live[base] = False
    for count in (1, 1, 1, 30, 1, 2):
        collection.add(scheme, count)
        assert capacity_left(collection.codes, collection.live, base) > 0
    assert collection.codes.shape[1] <= 14


@pytest.mark.parametrize("scheme", SCHEMES)
def test_growing_a_full_collection_raises_and_names_the_remedies(scheme: str) -> None:
    collection = GrowingCollection(encode_numbers(np.arange(100), 10, length=2), 10, 0)
    assert capacity_left(collection.codes, collection.live, 10) == 0
    with pytest.raises(
        UsageError, match=r"^0 slots .* 100 images .* 2 digits in base 10; .*compact.* larger ids.base"
    ):
        collection.add(scheme, 1)
    assert collection.grow(scheme, collection.features[:0], []).shape == (0, 2)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("never", [True, False])
def test_growing_a_collection_without_live_images_uses_its_width(scheme: str, never: bool) -> None:
    codes = np.full((4, 3), 11) if never else encode_numbers(np.arange(4), 10, length=3)
    collection = GrowingCollection(codes, 10, 0)
    collection.live[:] = never  # a row of PAD has no code, whatever `live` says
    assert capacity_left(codes, collection.live, 10) == 1000
    new = collection.grow(scheme, collection.random_features(25), ["cat"] * 25)
    assert new.shape == (25, 3)
    assert len(Trie(new, 10).live_ids()) == 25


@pytest.mark.parametrize("scheme", SCHEMES)
def test_codes_of_removed_images_are_given_again(scheme: str) -> None:
    collection = GrowingCollection(encode_numbers(np.arange(100), 10, length=2), 10, 0)
    collection.live[[3, 30, 77]] = False
    new = collection.grow(scheme, collection.random_features(2), ["cat", "dog"])
    assert {tuple(code) for code in new} < {(0, 3), (3, 0), (7, 7)}


def test_growth_without_one_row_of_live_per_code_raises() -> None:
    growth = Growth(encode_numbers(np.arange(5), 10, length=2), np.ones(4, dtype=bool), 1, 10)
    with pytest.raises(UsageError, match="4 rows for 5 codes"):
        scheme_named("random").grow(growth)


@pytest.mark.parametrize("old", [None, ["cat"] * 4, ["cat"] * 5])
@pytest.mark.parametrize("new", [None, ["cat"]])
def test_growth_with_missing_labels_raises(old: list[str] | None, new: list[str] | None) -> None:
    growth = Growth(
        encode_numbers(np.arange(5), 10, length=2), np.ones(5, dtype=bool), 2, 10, labels=old, new_labels=new
    )
    with pytest.raises(UsageError, match="'clustered' needs classes of all 5 images and of the 2 new ones"):
        scheme_named("clustered").grow(growth)


@pytest.mark.parametrize(("old", "new"), [(None, None), (5, None), (None, 2), (4, 2), (5, 3)])
def test_growth_with_missing_features_raises(old: int | None, new: int | None) -> None:
    growth = Growth(
        encode_numbers(np.arange(5), 10, length=2), np.ones(5, dtype=bool), 2, 10,
        features=None if old is None else np.ones((old, 3), dtype=np.float32),
        new_features=None if new is None else np.ones((new, 3), dtype=np.float32),
    )  # fmt: skip
    with pytest.raises(UsageError, match="'semantic' needs features of all 5 images and of the 2 new ones"):
        scheme_named("semantic").grow(growth)
