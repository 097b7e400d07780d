from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers_stored import add, collection, own_first, stored

from vitdsi.collection.add import new_images
from vitdsi.collection.compact import compact
from vitdsi.collection.remove import remove
from vitdsi.errors import UsageError
from vitdsi.ids.trie import NONE
from vitdsi.model.graft import graft
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rankings

SCHEMES = ["semantic", "random", "clustered"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_added_images_are_found_and_existing_ids_stay(scheme: str) -> None:
    index = stored(scheme=scheme, labels=scheme == "clustered")
    weights = {name: value.clone() for name, value in index.model.state_dict().items()}
    grown = add(index, 12)
    assert grown.image_ids[:60] == index.image_ids
    assert grown.image_ids[60:] == [f"new/{i:03}.jpg" for i in range(12)]
    length = index.trie.max_length
    assert torch.equal(grown.trie.codes[:60, :length], index.trie.codes)
    assert (grown.trie.codes[:60, length:] == grown.trie.vocabulary.pad).all()
    assert own_first(index, range(60)) == 1.0
    assert own_first(grown, range(60, 72)) >= 0.9
    assert own_first(grown, range(60)) >= 0.9
    # the index that was given is as it was
    assert len(index.image_ids) == len(index.trie.codes) == 60
    assert all(torch.equal(weights[name], value) for name, value in index.model.state_dict().items())


def test_many_small_additions_keep_old_and_new_images_findable() -> None:
    grown = stored()
    for step in range(5):
        grown = add(grown, 4, seed=10 + step, name=f"step{step}")
    assert own_first(grown, range(60)) >= 0.95
    assert own_first(grown, range(60, 80)) >= 0.95
    assert [change.images for change in grown.changes] == [4] * 5


@pytest.mark.parametrize("scheme", ["semantic", "random"])
def test_ids_get_longer_only_when_they_are_full(scheme: str) -> None:
    index = stored(14, scheme, 4)  # 16 ids of two digits in base 4
    before = index.trie.max_length
    grown = add(index, 30)
    assert grown.trie.max_length > before
    assert torch.equal(grown.trie.codes[:14, :before], index.trie.codes)
    assert len(grown.trie.live_ids()) == 44
    assert own_first(grown, range(44)) >= 0.95


def test_only_the_new_digits_are_learned_while_there_is_room() -> None:
    index = stored()
    grown = add(index, 3)
    assert grown.trie.max_length == index.trie.max_length
    _, known = graft(index.model, index.trie.nodes, grown.trie, 0)
    assert known.all()  # no new nodes, so they have the same numbers
    new = torch.zeros(index.trie.child.shape, dtype=torch.bool)
    last = (grown.trie.nodes[60:] != NONE).sum(1, keepdim=True) - 1
    new[grown.trie.nodes[60:].gather(1, last), grown.trie.codes[60:].gather(1, last)] = True
    assert int(new.sum()) == 3
    after = grown.model.state_dict()
    for name, value in index.model.state_dict().items():
        if name in ("head.rows", "head.bias"):
            assert torch.equal(value[~new], after[name][~new])
            assert not torch.equal(value[new], after[name][new])
        elif name != "head.inner_range":
            assert torch.equal(value, after[name]), name


def test_new_images_are_those_with_another_name_or_content() -> None:
    index = stored()
    given = collection(3)  # the same content
    fresh, replaced = new_images(index, given)
    assert fresh.image_ids == [] and replaced == []
    changed = replace(given, hashes=[given.hashes[0], "other", given.hashes[2]])
    fresh, replaced = new_images(index, changed)
    assert (fresh.image_ids, replaced) == (["old/001.jpg"], [1])
    assert fresh.facts == {0: given.facts[1]}
    removed = remove(index, [2])
    fresh, replaced = new_images(removed, given)
    assert (fresh.image_ids, replaced) == (["old/002.jpg"], [])


def test_where_features_were_dropped_additions_are_found_and_old_images_stay() -> None:
    index = compact(stored(), retrain=False, keep_features=False)
    assert index.features is None and index.thumbnails is None
    grown = add(index, 10)
    assert grown.features is None
    new = collection(10, 1).features
    assert (rankings(grown, new, SearchOptions(k=1))[:, 0] == np.arange(60, 70)).mean() >= 0.8
    assert stored().features is not None
    assert (rankings(grown, stored().features, SearchOptions(k=1))[:, 0] == np.arange(60)).mean() >= 0.9
    with pytest.raises(UsageError, match="features were dropped"):
        compact(grown, retrain=True)
