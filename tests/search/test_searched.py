from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from helpers_stored import stored

from vitdsi.ids.trie import NONE
from vitdsi.search import searched as searched_module
from vitdsi.search.searched import WholeIndex
from vitdsi.state import IndexState


@pytest.fixture(scope="module")
def state() -> IndexState:
    return stored()


@torch.inference_mode()
def test_found_ids_are_described_by_the_log_probabilities_that_they_were_found_with(
    state: IndexState,
) -> None:
    assert state.features is not None
    searched = WholeIndex(state, state.features[:3], None, 1)
    found = searched.find(5, 10, 1000)
    given, computed = (searched.describe(found.ids, log_probs)[0] for log_probs in (found.log_probs, None))
    torch.testing.assert_close(given, computed, atol=1e-4, rtol=1e-4)
    assert torch.equal(given[..., 0], found.log_probs)


@torch.inference_mode()
def test_probability_of_several_parts_is_their_mean(state: IndexState) -> None:
    assert state.features is not None
    ids = torch.tensor([[0, 3, 5]])
    whole, part = (
        WholeIndex(state, state.features[i : i + 1], None, 1).describe(ids, None)[0][..., 0] for i in (0, 1)
    )
    both = WholeIndex(state, state.features[:2], None, 2).describe(ids, None)[0][..., 0]
    torch.testing.assert_close(both.exp(), (whole.exp() + part.exp()) / 2)


@torch.inference_mode()
def test_only_ids_within_a_restriction_are_found(state: IndexState) -> None:
    assert state.features is not None
    searched = WholeIndex(state, state.features[:2], state.trie.restrict([2, 4]), 1)
    assert searched.find(5, 10, 1000).ids.sort().values.tolist() == [[2, 4], [2, 4]]


@torch.inference_mode()
def test_images_that_look_most_like_each_part_are_found_whatever_their_probability(
    state: IndexState, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert state.features is not None
    features = (state.features[:4].float() + state.features[4:8].float()) / 2
    _, embedding = state.model.encode(features)
    split = embedding.shape[1] - state.model.stem.categories
    vectors = state.model.head.vectors(torch.arange(len(state.image_ids)))
    cosines = F.normalize(embedding[:, :split], dim=1) @ F.normalize(vectors[:, :split], dim=1).T
    best, ids = cosines.topk(3)
    searched = WholeIndex(state, features, None, 2)
    for at_once in (2, 8192):
        monkeypatch.setattr(searched_module, "_AT_ONCE", at_once)
        found = searched.alike(3)
        assert torch.equal(found.ids, ids.view(2, 2, 3))
        torch.testing.assert_close(found.cosines, best.view(2, 2, 3))


@torch.inference_mode()
def test_images_that_look_alike_are_within_a_restriction(state: IndexState) -> None:
    assert state.features is not None
    found = WholeIndex(state, state.features[:1], state.trie.restrict([2, 4]), 1).alike(3)
    assert sorted(found.ids[0, 0].tolist()) == [NONE, 2, 4]
    assert found.ids[0, 0, 2] == NONE
    assert found.cosines[0, 0, 2] == -torch.inf


@torch.inference_mode()
def test_in_a_large_index_only_the_most_probable_images_are_compared(
    state: IndexState, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert state.features is not None
    monkeypatch.setattr(searched_module, "MOST_COMPARED", 3)
    monkeypatch.setattr(searched_module, "MOST_PROBABLE", 4)
    searched = WholeIndex(state, state.features[:2], None, 1)
    probable = searched.find(4, 10, 1000).ids
    assert torch.equal(searched.alike(4).ids[:, 0].sort().values, probable.sort().values)
