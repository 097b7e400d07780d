from __future__ import annotations

import pytest
import torch
from helpers_stored import stored

from vitdsi.ids.trie import NONE
from vitdsi.search.best_first import best_first_search
from vitdsi.search.log_probs import log_probs_of


@pytest.mark.parametrize(("scheme", "base"), [("semantic", 8), ("random", 4)])
def test_given_ids_have_the_log_probabilities_that_a_search_gives_them(scheme: str, base: int) -> None:
    state = stored(scheme=scheme, base=base)
    assert state.features is not None
    memory, embedding = state.model.encode(state.features[:5].float())
    found = best_first_search(state.model, memory, embedding, state.trie, 60)
    computed = log_probs_of(state.model, memory, embedding, state.trie, found.ids)
    torch.testing.assert_close(computed, found.log_probs, atol=1e-4, rtol=1e-4)


def test_removed_ids_keep_their_log_probability_and_empty_places_have_none() -> None:
    state = stored()
    assert state.features is not None
    memory, embedding = state.model.encode(state.features[:1].float())
    ids = torch.tensor([[7, NONE, 3]])
    before = log_probs_of(state.model, memory, embedding, state.trie, ids)
    after = log_probs_of(state.model, memory, embedding, state.trie.without([7]), ids)
    torch.testing.assert_close(after, before)
    assert before[0, 1] == -torch.inf
