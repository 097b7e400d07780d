from __future__ import annotations

import pytest
import torch
from helpers_codes import KINDS, log_prob, random_codes, small_model

from vitdsi.ids.trie import Trie
from vitdsi.model.stems.pooled_stem import NUM_TOKENS
from vitdsi.search.beam import beam_search


@pytest.fixture(params=[(kind, head) for kind in KINDS for head in ("trie", "digits")], ids="-".join)
def case(request: pytest.FixtureRequest):
    kind, head = request.param
    trie = Trie(random_codes(kind), 3)
    return small_model(trie, head), trie, torch.randn(5, 12, dtype=torch.float64)


def test_beam_as_wide_as_the_index_equals_exhaustive_scoring(case) -> None:
    model, trie, inputs = case
    exact = log_prob(model, trie, inputs)
    with torch.no_grad():
        ids, found = beam_search(model, inputs, trie, len(trie.codes) + 7)
    assert ids.shape == (5, len(trie.codes))
    torch.testing.assert_close(found.double(), exact.sort(descending=True).values, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(exact.gather(1, ids), exact.sort(descending=True).values, atol=1e-4, rtol=1e-4)


def test_restricted_or_removed_ids_keep_the_probabilities_of_the_others(case) -> None:
    model, trie, inputs = case
    exact = log_prob(model, trie, inputs)
    torch.testing.assert_close(exact.exp().sum(1), torch.ones(5, dtype=torch.float64))
    for some in (trie.restrict([1, 2, 3, 11, 20]), trie.without(range(3, 15))):
        with torch.no_grad():
            ids, found = beam_search(model, inputs, some, 100)
        assert all(sorted(row) == some.live_ids().tolist() for row in ids.tolist())
        torch.testing.assert_close(found.double(), exact.gather(1, ids), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("beam", [1, 4, 10])
def test_narrow_beam_returns_as_many_distinct_ids_as_it_is_wide(case, beam: int) -> None:
    model, trie, inputs = case
    exact = log_prob(model, trie, inputs)
    with torch.no_grad():
        ids, found = beam_search(model, inputs, trie, beam)
        alone = [beam_search(model, one[None], trie, beam)[0][0].tolist() for one in inputs]
    assert all(len(set(row)) == beam and min(row) >= 0 for row in ids.tolist())
    assert ids.tolist() == alone
    assert (found.diff(dim=1) <= 0).all()
    torch.testing.assert_close(found.double(), exact.gather(1, ids), atol=1e-4, rtol=1e-4)


def test_memory_is_projected_once_per_image(case, monkeypatch: pytest.MonkeyPatch) -> None:
    model, trie, inputs = case
    calls = []
    for block in model.decoder.blocks:
        original = block.cross_attention.keys_values
        monkeypatch.setattr(
            block.cross_attention, "keys_values", lambda x, f=original: calls.append(x.shape) or f(x)
        )
    with torch.no_grad():
        beam_search(model, inputs, trie, 8)
    assert calls == [(5, NUM_TOKENS, 16)] * len(model.decoder.blocks)


def test_steps_with_cached_past_equal_teacher_forcing(case) -> None:
    model, trie, inputs = case
    codes, nodes = trie.codes[:5], trie.nodes[:5]
    with torch.no_grad():
        forced = model(inputs, codes, nodes)
        memory, summary = model.encode(inputs)
        state = model.start(memory)
        tokens = torch.full((5, 1), model.vocabulary.bos)
        for t in range(trie.max_length):
            scores = model.step(tokens, nodes[:, t : t + 1], t, summary, state)
            used = nodes[:, t] >= 0
            torch.testing.assert_close(scores[used, 0], forced[used, t])
            tokens = codes[:, t : t + 1]


def test_empty_trie_gives_no_results(case) -> None:
    model, trie, inputs = case
    with torch.no_grad():
        ids, found = beam_search(model, inputs, trie.restrict([]), 5)
    assert ids.shape == found.shape == (5, 0)


def test_only_allowed_id_keeps_its_probability(case) -> None:
    model, trie, inputs = case
    with torch.no_grad():
        ids, found = beam_search(model, inputs, trie.restrict([11]), 5)
    assert ids.tolist() == [[11]] * 5
    torch.testing.assert_close(found.double(), log_prob(model, trie, inputs)[:, 11:12], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("beam", [2, 3, 9])
def test_restricted_beam_returns_no_more_ids_than_are_allowed(case, beam: int) -> None:
    model, trie, inputs = case
    live = trie.restrict([1, 2, 3, 11, 20])
    with torch.no_grad():
        ids, _ = beam_search(model, inputs, live, beam)
    assert ids.shape == (5, min(beam, 5))
    assert all(len(set(row)) == len(row) and set(row) <= {1, 2, 3, 11, 20} for row in ids.tolist())
