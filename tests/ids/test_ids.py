from __future__ import annotations

import numpy as np
import pytest
from helpers_growth import GrowingCollection

from vitdsi.errors import ConfigError
from vitdsi.ids import SCHEMES, IdContext, scheme_named
from vitdsi.ids.codes import decode_numbers
from vitdsi.ids.free_numbers import FreeNumbers
from vitdsi.ids.number_scheme import Numbers, NumberScheme
from vitdsi.ids.scheme import Growth
from vitdsi.ids.trie import Trie


class DescendingIds(NumberScheme):
    """A scheme as CONTRIBUTING describes it: the last image has number 0, new images get the largest free numbers."""

    name = "descending"

    def numbers(self, context: IdContext) -> Numbers:
        return np.arange(context.count)[::-1]

    def new_numbers(self, growth: Growth, free: FreeNumbers) -> Numbers:
        ranges = [np.arange(low, high) for low, high in zip(free.low, free.high, strict=True)]
        return np.concatenate(ranges)[: -growth.count - 1 : -1]


@pytest.fixture
def descending(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(SCHEMES, DescendingIds.name, DescendingIds())
    return DescendingIds.name


@pytest.mark.parametrize("count", [1, 2, 300])
def test_a_new_scheme_needs_one_class_and_one_registry_line(descending: str, count: int) -> None:
    scheme = scheme_named(descending)
    assert not scheme.follows_features and scheme.default_base(count) in (16, 32)
    collection = GrowingCollection(scheme.assign(IdContext(count, 10)), 10, seed=0)
    assert decode_numbers(collection.codes, 10).tolist() == list(range(count))[::-1]
    assert Trie(collection.codes, 10).live_ids().tolist() == list(range(count))
    for more in (1, 30, 200):
        collection.live[0] = False
        collection.add(descending, more)
    assert collection.live.sum() == count - 1 + 231


def test_an_unknown_scheme_raises_and_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"^ids.scheme is 'lexical'; choose clustered, random or semantic$"):
        scheme_named("lexical")


def test_every_scheme_is_registered_under_its_name() -> None:
    assert sorted(SCHEMES) == ["clustered", "random", "semantic"]
    for name, scheme in SCHEMES.items():
        assert scheme_named(name) is scheme and scheme.name == name


def test_only_semantic_ids_follow_the_features() -> None:
    assert [name for name, scheme in SCHEMES.items() if scheme.follows_features] == ["semantic"]
