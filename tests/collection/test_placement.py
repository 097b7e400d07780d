from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers_stored import collection, features, stored

from vitdsi.collection import placement
from vitdsi.collection.placement import codes_for, place
from vitdsi.collection.remove import remove
from vitdsi.errors import UsageError
from vitdsi.ids.trie import NONE, Trie
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rankings
from vitdsi.state import IndexState


def placed(index: IndexState, inputs: torch.Tensor, length: int) -> np.ndarray:
    return place(index.model, index.trie, inputs, index.model.embeddings(inputs), length)


def node_of(trie: Trie, code: np.ndarray) -> int:
    """The node in which a code would write its last digit."""
    node = 0
    for digit in code[code != trie.vocabulary.pad][:-1]:
        node = int(trie.child[node, digit])
    return node


def test_copy_gets_a_code_in_the_node_of_its_original() -> None:
    index = stored()
    assert index.features is not None
    base, trie = index.trie.vocabulary.base, index.trie
    room = (trie.child[:, :base] == NONE).sum(1)
    last = (trie.nodes != NONE).sum(1, keepdim=True) - 1
    nodes = trie.nodes.gather(1, last).squeeze(1)
    beside = 0
    for i in range(60):
        (code,) = placed(index, index.features[i : i + 1].float(), trie.max_length)
        node = int(nodes[i])
        if room[node]:
            beside += node_of(trie, code) == node
        else:
            assert node_of(trie, code) != node
    assert beside >= 0.9 * int((room[nodes] > 0).sum())


@pytest.mark.parametrize("longer", [0, 1])
def test_placed_codes_are_prefix_free_with_existing_ones(longer: int) -> None:
    index = stored(14, base=4)
    assert index.trie.max_length == 2
    new = placed(index, features(20, 1).float(), 2 + longer)
    there = new[new[:, 0] != index.trie.vocabulary.pad]
    free = 16 - 14
    assert len(there) == min(20, free * 4**longer)
    codes = np.pad(index.trie.codes.numpy(), ((0, 0), (0, longer)), constant_values=index.trie.vocabulary.pad)
    assert len(Trie(np.concatenate([codes, there]), 4).live_ids()) == 14 + len(there)  # prefix-free


def test_single_image_gets_a_free_digit_and_opens_no_branch() -> None:
    index = stored(14, base=4)
    (code,) = placed(index, features(1, 1).float(), 3)
    assert code[2] == index.trie.vocabulary.pad


def test_untrained_model_finds_the_siblings_of_a_placed_image() -> None:
    """Without any training, the images beside a new one are among its first results."""
    index = stored()
    new = features(10, 1)
    codes = placed(index, new.float(), index.trie.max_length)
    first = rankings(index, new, SearchOptions(k=1))[:, 0]
    same = codes[:, 0] == index.trie.codes[first, 0].numpy()
    assert same.mean() >= 0.7


def test_images_take_the_places_of_those_that_were_all_removed() -> None:
    index = stored()
    assert index.features is not None
    empty = remove(index, range(60))
    codes = placed(empty, index.features.float(), index.trie.max_length)
    assert len(Trie(codes, index.trie.vocabulary.base).live_ids()) == 60  # prefix-free
    last = (index.trie.nodes != NONE).sum(1, keepdim=True) - 1
    nodes = index.trie.nodes.gather(1, last).squeeze(1).tolist()
    same = [node_of(index.trie, code) == node for code, node in zip(codes, nodes, strict=True)]
    assert np.mean(same) >= 0.9


def test_trie_that_never_had_an_id_places_no_image() -> None:
    index = stored()
    empty = Trie(np.empty((0, 2), dtype=np.int64), index.trie.vocabulary.base)
    inputs = features(3, 1).float()
    codes = place(index.model, empty, inputs, index.model.embeddings(inputs), 3)
    assert (codes == index.trie.vocabulary.pad).all()


@pytest.mark.parametrize("dropped", [False, True])
def test_images_beyond_the_reach_of_the_model_get_codes_from_the_scheme(
    dropped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without stored features, the scheme gets the vectors of the head in their place."""
    index = stored()
    fresh = collection(5, seed=3, name="new")
    nothing = np.full((5, index.trie.max_length), index.trie.vocabulary.pad)
    monkeypatch.setattr(placement, "place", lambda *_: nothing)
    state = replace(index, features=None) if dropped else index
    codes = codes_for(state, fresh, index.model.embeddings(fresh.features))
    np.testing.assert_array_equal(codes[:60, : index.trie.max_length], index.trie.codes.numpy())
    assert Trie(codes, index.trie.vocabulary.base).live_ids().tolist() == list(range(65))


def test_head_without_vectors_has_nothing_to_place_images_by(monkeypatch: pytest.MonkeyPatch) -> None:
    index = stored()
    fresh = collection(5, seed=3, name="new")
    monkeypatch.setattr(index.model.head, "compares", False, raising=False)
    with pytest.raises(UsageError, match="needs features"):
        codes_for(replace(index, features=None), fresh, torch.zeros(5, 1))


def test_places_of_removed_images_are_free_and_those_who_lose_them_have_no_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index = remove(stored(), [3, 17, 41])
    trie, fresh = index.trie, collection(2, seed=3, name="new")
    length, pad = trie.max_length, trie.vocabulary.pad
    same = trie.codes[[3, 17]].numpy()
    monkeypatch.setattr(placement, "place", lambda *_: same)
    codes = codes_for(index, fresh, index.model.embeddings(fresh.features))
    assert (codes[[3, 17]] == pad).all()
    np.testing.assert_array_equal(codes[60:], same)
    kept = [i for i in range(60) if i not in (3, 17)]
    np.testing.assert_array_equal(codes[kept, :length], trie.codes[kept].numpy())
    np.testing.assert_array_equal(trie.codes[3], same[0])  # the trie that was given is as it was


def test_copy_of_a_removed_image_gets_its_code_if_that_has_the_first_free_digit() -> None:
    index = stored()
    assert index.features is not None
    _, digits = index.trie.last_edges(torch.arange(60))
    first = torch.nonzero(digits == 0).flatten().tolist()
    again = 0
    for i in first:
        smaller = remove(index, [i])
        (code,) = placed(smaller, index.features[i : i + 1].float(), index.trie.max_length)
        again += code.tolist() == index.trie.codes[i].tolist()
    assert again >= 0.8 * len(first) > 4
