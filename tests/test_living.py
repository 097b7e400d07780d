from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers_stored import collection, stored

from vitdsi import living
from vitdsi.errors import UsageError
from vitdsi.filters import find
from vitdsi.model.graft import graft
from vitdsi.ranking import rankings, search_inputs
from vitdsi.storage import Stored
from vitdsi.trie import NONE

SCHEMES = ["semantic", "residual", "random", "clustered"]


def add(index: Stored, count: int, seed: int = 1, name: str = "new") -> Stored:
    fresh = collection(count, seed, name=name, labels=index.labels is not None)
    return living.add(index, fresh, loader=None)  # type: ignore[arg-type]  # differences are known


def own_first(index: Stored, ids: range) -> float:
    assert index.inputs is not None
    return float((rankings(index, index.inputs[list(ids)], 1)[:, 0] == np.array(ids)).mean())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_added_images_are_found_and_nobody_is_renumbered(scheme: str) -> None:
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


def test_adding_in_small_steps() -> None:
    grown = stored()
    for step in range(5):
        grown = add(grown, 4, seed=10 + step, name=f"step{step}")
    assert own_first(grown, range(60)) >= 0.95
    assert own_first(grown, range(60, 80)) >= 0.95
    assert [change["images"] for change in grown.changes] == [4] * 5


@pytest.mark.parametrize("scheme", ["semantic", "random"])
def test_ids_get_longer_only_where_they_are_full(scheme: str) -> None:
    index = stored(14, scheme, 4)  # 16 ids of two digits in base 4
    before = index.trie.max_length
    grown = add(index, 30)
    assert grown.trie.max_length > before
    assert torch.equal(grown.trie.codes[:14, :before], index.trie.codes)
    assert len(grown.trie.live_ids()) == 44
    assert own_first(grown, range(44)) >= 0.95


def test_what_is_learned_while_there_is_room_is_the_new_digits_alone() -> None:
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


def test_a_removed_image_never_comes_back() -> None:
    index = stored()
    gone = [3, 17, 41]
    smaller = living.remove(index, gone)
    assert index.inputs is not None
    ids, scores = search_inputs(smaller, index.inputs.float(), 57)
    assert ids.shape == (60, 57)
    assert not np.isin(ids, gone).any()
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-4)
    assert smaller.metadata.ids_where("width > 0").tolist() == sorted(set(range(60)) - set(gone))
    # the code is free, and who gets it is found under its own id
    grown = add(smaller, 3)
    again, _ = search_inputs(grown, index.inputs[gone].float(), 60)
    assert not np.isin(again, gone).any()
    assert own_first(grown, range(60, 63)) == 1.0


def test_all_images_can_be_removed_and_new_ones_added() -> None:
    empty = living.remove(stored(), range(60))
    assert stored().inputs is not None
    ids, _ = search_inputs(empty, stored().inputs[:3].float(), 5)
    assert ids.shape == (3, 0)
    grown = add(empty, 2)
    assert sorted(rankings(grown, collection(2, 1).inputs, 2)[0].tolist()) == [60, 61]


def test_what_is_new() -> None:
    index = stored()
    given = collection(3)  # the same content
    fresh, replaced = living.what_is_new(index, given)
    assert fresh.image_ids == [] and replaced == []
    changed = replace(given, hashes=[given.hashes[0], "other", given.hashes[2]])
    fresh, replaced = living.what_is_new(index, changed)
    assert (fresh.image_ids, replaced) == (["old/001.jpg"], [1])
    assert fresh.facts == {0: given.facts[1]}
    removed = living.remove(index, [2])
    fresh, replaced = living.what_is_new(removed, given)
    assert (fresh.image_ids, replaced) == (["old/002.jpg"], [])


def test_find() -> None:
    index = living.remove(stored(), [5])
    assert find(index, ["old/003.jpg", 7, "8", 7]) == [3, 7, 8]
    for wrong in ("nobody.jpg", 60, -1, 5, "old/005.jpg"):
        with pytest.raises(UsageError, match="is not in the index, which holds 59 images"):
            find(index, [1, wrong])


def test_compact_drops_dead_ids_and_keeps_results() -> None:
    index = living.remove(stored(), range(0, 60, 4))
    small = living.compact(index, retrain=False)
    kept = [i for i in range(60) if i % 4]
    assert small.image_ids == [index.image_ids[i] for i in kept]
    assert small.hashes == [index.hashes[i] for i in kept]
    assert len(small.trie.codes) == 45
    assert index.inputs is not None and small.inputs is not None
    assert torch.equal(small.inputs, index.inputs[kept])
    before, scores = search_inputs(index, index.inputs.float(), 45)
    after, same = search_inputs(small, index.inputs.float(), 45)
    assert np.array_equal(before, np.array(kept)[after])
    np.testing.assert_allclose(scores, same, atol=1e-5)
    assert small.metadata.ids_where("width = 101").tolist() == [0]


def test_compact_learns_again_where_much_changed() -> None:
    index = living.remove(stored(), range(40))
    small = living.compact(index)
    assert [change["verb"] for change in small.changes] == ["build"]
    assert own_first(small, range(20)) >= 0.95
    assert small.report["images"] == 20 and 0 < small.report["min_score"] <= 1
    little = living.compact(living.remove(stored(), [1]))
    assert [change["verb"] for change in little.changes] == ["remove", "compact"]


def test_without_tokens() -> None:
    index = living.compact(stored(), retrain=False, keep_tokens=False)
    assert index.inputs is None and index.thumbnails is None
    grown = add(index, 10)
    assert grown.inputs is None
    new = collection(10, 1).inputs
    assert (rankings(grown, new, 1)[:, 0] == np.arange(60, 70)).mean() >= 0.8
    assert stored().inputs is not None
    assert (rankings(grown, stored().inputs, 1)[:, 0] == np.arange(60)).mean() >= 0.9
    with pytest.raises(UsageError, match="tokens were dropped"):
        living.compact(grown, retrain=True)


def test_compact_of_nothing() -> None:
    with pytest.raises(UsageError, match="every image was removed"):
        living.compact(living.remove(stored(), range(60)))
