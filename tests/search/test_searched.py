from __future__ import annotations

import pytest
import torch
from helpers_stored import stored

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
