from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from helpers_codes import KINDS, log_prob, path, random_codes, small_model
from hypothesis import given, settings
from hypothesis import strategies as st

from vitdsi.ids.trie import NONE, Trie
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.search.best_first import Found, best_first_search
from vitdsi.search.options import BEAM_SIZE

_TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}
_checked = settings(max_examples=60, deadline=None, derandomize=True)


@dataclass
class Case:
    """A random model and queries, its trie with removed ids, restricted by a filter, and a number of results."""

    model: Seq2Seq
    inputs: torch.Tensor
    everything: Trie
    trie: Trie
    k: int

    def search(self, trie: Trie | None = None, **options: int) -> Found:
        memory, embedding = self.model.encode(self.inputs)
        return best_first_search(self.model, memory, embedding, trie or self.trie, self.k, **options)

    def exact(self) -> torch.Tensor:
        """The log-probabilities (B, N) of all ids, by teacher forcing."""
        return log_prob(self.model, self.everything, self.inputs)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    base, seed = draw(st.integers(2, 4)), draw(st.integers(0, 10_000))
    count = draw(st.integers(2, min(40, base**4)))
    everything = Trie(random_codes(draw(st.sampled_from(KINDS)), count, base, seed), base)
    model = small_model(
        everything,
        draw(st.sampled_from(("trie", "digits"))),
        draw(st.sampled_from((0, 2))),
        seed,
        spread=draw(st.sampled_from((0.05, 0.4, 1.0))),
        architecture=draw(st.sampled_from(("encoder_decoder", "single_stack"))),
    )
    inputs = torch.randn(draw(st.integers(1, 4)), 12, dtype=torch.float64)
    some = st.sets(st.integers(0, count - 1))
    trie = everything.without(draw(some))
    if draw(st.booleans()):
        trie = trie.restrict(draw(some))
    return Case(model, inputs, everything, trie, draw(st.integers(1, count + 3)))


def assert_exact(found: Found, exact: torch.Tensor, trie: Trie, k: int) -> None:
    """The ids are the k most probable live ones, with their exact log-probabilities."""
    live = trie.live_ids()
    best = exact[:, live].sort(descending=True).values[:, :k]
    assert found.ids.shape == best.shape == found.log_probs.shape
    assert all(len(set(row)) == len(row) for row in found.ids.tolist())
    assert torch.isin(found.ids, live).all()
    torch.testing.assert_close(exact.gather(1, found.ids), best, **_TOLERANCE)
    torch.testing.assert_close(found.log_probs.double(), best, **_TOLERANCE)


@_checked
@given(cases())
def test_answer_equals_exhaustive_scoring_and_is_proven(case: Case) -> None:
    exact = case.exact()
    torch.testing.assert_close(exact.exp().sum(1), torch.ones(len(exact), dtype=torch.float64))
    found = case.search()
    assert_exact(found, exact, case.trie, case.k)
    assert found.proven.all()
    assert (found.expansions >= 1).all() and (found.expansions <= case.trie.num_nodes).all()


@_checked
@given(cases(), st.integers(1, 5))
def test_answer_does_not_depend_on_the_beam_before_nor_on_the_batch(case: Case, beam_size: int) -> None:
    found, exact = case.search(beam_size=beam_size), case.exact()
    assert_exact(found, exact, case.trie, case.k)
    assert found.proven.all()
    for row, query in enumerate(case.inputs):
        alone = Case(case.model, query[None], case.everything, case.trie, case.k).search(beam_size=beam_size)
        torch.testing.assert_close(alone.log_probs[0], found.log_probs[row], **_TOLERANCE)


@_checked
@given(cases())
def test_removals_and_filters_leave_probabilities_and_their_order_as_they_are(case: Case) -> None:
    whole = Case(
        case.model, case.inputs, case.everything, case.everything, len(case.everything.codes)
    ).search()
    for trie in (case.trie, case.everything.restrict(case.trie.live_ids())):
        found = case.search(trie)
        for row in range(len(case.inputs)):
            allowed = trie.live[whole.ids[row]]
            expected = whole.log_probs[row][allowed][: case.k]
            torch.testing.assert_close(found.log_probs[row], expected, **_TOLERANCE)
            same = whole.log_probs[row][places(whole.ids[row], found.ids[row])]
            torch.testing.assert_close(same, expected, **_TOLERANCE)


def places(ids: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Where each of the wanted ids stands among others."""
    return (ids[None] == wanted[:, None]).long().argmax(1)


def beam(exact: torch.Tensor, trie: Trie, size: int, k: int) -> list[float]:
    """Log-probabilities of the results of a beam search, given those of all ids (N,)."""
    base = trie.vocabulary.base
    codes = [path(code, base) for code in trie.codes.numpy()]
    live = trie.live_ids().tolist()

    def worth(prefix: tuple[int, ...]) -> float:
        below = [i for i, code in enumerate(codes) if code[: len(prefix)] == prefix and code]
        return float(exact[below].logsumexp(0))

    beams: list[tuple[int, ...]] = [()]
    for length in range(1, trie.max_length + 1):
        following = {codes[i][:length] for i in live if codes[i][: length - 1] in beams}
        following |= {codes[i] for i in live if codes[i] in beams}
        beams = sorted(following, key=worth, reverse=True)[:size]
    return [float(exact[codes.index(code)]) for code in beams if code in codes][:k]


@_checked
@given(cases(), st.integers(1, 4), st.sampled_from((0, 1, 3, 8)))
def test_bounded_search_is_never_worse_than_a_beam_and_tells_what_it_proved(
    case: Case, beam_size: int, bound: int
) -> None:
    exact = case.exact()
    found = case.search(beam_size=beam_size, max_expansions=bound)
    alone = case.search(beam_size=beam_size, max_expansions=0)
    assert (found.expansions <= alone.expansions.clamp(min=bound)).all()
    best = exact[:, case.trie.live_ids()].sort(descending=True).values[:, : case.k]
    for row in range(len(case.inputs)):
        ids, log_probs = found.ids[row].tolist(), found.log_probs[row].tolist()
        assert all((i == NONE) == (value == -np.inf) for i, value in zip(ids, log_probs, strict=True))
        got = [value for value in log_probs if value > -np.inf]
        assert got == sorted(got, reverse=True)
        expected = [float(exact[row, i]) for i in ids if i != NONE]
        np.testing.assert_allclose(got, expected, atol=1e-4, rtol=1e-4)
        reference = beam(exact[row], case.trie, beam_size, case.k)
        assert len(got) >= len(reference)
        assert all(mine >= theirs - 1e-4 * (1 - theirs) for mine, theirs in zip(got, reference, strict=False))
        if found.proven[row]:
            torch.testing.assert_close(found.log_probs[row].double(), best[row], **_TOLERANCE)


def test_what_a_beam_misses_is_found_and_a_bound_of_zero_is_the_beam() -> None:
    """The best branch leads to an id that is removed, and to others that are less probable than one elsewhere."""
    trie = Trie(np.array([[0, 0], [0, 1], [0, 2], [0, 3], [1, 0], [2, 4]]), 5)
    model = small_model(trie, "digits", spread=1e-6)
    with torch.no_grad():
        model.head.out.bias.copy_(torch.tensor([0.6, 0.3, 0.1, 0.1, 0.1, 1, 1]).log())
    case = Case(model, torch.zeros(1, 12, dtype=torch.float64), trie, trie, 1)
    found = case.search(beam_size=1, max_expansions=0)
    assert found.proven.tolist() == [True] and found.ids.tolist() == [[0]]
    assert found.log_probs.exp().tolist() == [[pytest.approx(0.6 * 0.6 / 1.1, rel=1e-4)]]
    assert found.expansions.tolist() == [2]
    missed = case.search(trie.without([0]), beam_size=1, max_expansions=0)
    assert missed.proven.tolist() == [False] and missed.ids.tolist() == [[1]]
    assert missed.log_probs.exp().tolist() == [[pytest.approx(0.6 * 0.3 / 1.1, rel=1e-4)]]
    found = case.search(trie.without([0]), beam_size=1)
    assert found.proven.tolist() == [True] and found.ids.tolist() == [[4]]
    assert found.log_probs.exp().tolist() == [[pytest.approx(0.3, rel=1e-4)]]


def test_trie_without_live_ids_gives_nothing_and_that_is_proven() -> None:
    trie = Trie(random_codes("mixed"), 3)
    case = Case(small_model(trie), torch.randn(3, 12, dtype=torch.float64), trie, trie.restrict([]), 5)
    found = case.search()
    assert found.ids.shape == found.log_probs.shape == (3, 0)
    assert found.proven.all()


def test_search_with_the_peaked_answer_in_its_beam_expands_nothing_more() -> None:
    trie = Trie(random_codes("fixed", 64, 4), 4)
    case = Case(small_model(trie, spread=3.0), torch.randn(4, 12, dtype=torch.float64), trie, trie, 1)
    found, alone = case.search(), case.search(max_expansions=0)
    assert found.proven.all() and alone.proven.any()
    already = alone.proven
    assert torch.equal(found.expansions[already], alone.expansions[already])
    assert (alone.expansions <= 1 + BEAM_SIZE * (trie.max_length - 1)).all()
