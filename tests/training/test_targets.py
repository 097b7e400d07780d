from __future__ import annotations

import pytest
import torch
from helpers_codes import KINDS, log_prob, path, random_codes, small_model

from vitdsi.ids import IdContext, scheme_named
from vitdsi.ids.trie import NONE, Trie
from vitdsi.training.targets import (
    GroupRelevance,
    OwnId,
    WeightedRelevance,
    next_token_loss,
    one_hot_targets,
)


def brute_force(codes, weights: dict[int, float], drawn: int, base: int, length: int) -> torch.Tensor:
    """The definition: next tokens of all relevant ids that share the drawn id's prefix, by weight."""
    paths = {j: path(codes[j], base) for j in weights}
    chosen = path(codes[drawn], base)
    target = torch.zeros(length, base + 2)
    for t in range(len(chosen)):
        for j, weight in weights.items():
            if len(paths[j]) > t and paths[j][:t] == chosen[:t]:
                target[t, paths[j][t]] += weight
        target[t] /= target[t].sum()
    return target


@pytest.mark.parametrize("kind", KINDS)
def test_weighted_marginals_against_brute_force(kind: str) -> None:
    codes = random_codes(kind)
    trie = Trie(codes, 3)
    generator = torch.Generator().manual_seed(1)
    ids = torch.stack([torch.randperm(len(codes), generator=generator)[:6] for _ in range(10)])
    weights = torch.rand(10, 6, generator=generator)
    ids[:, 5], weights[:, 5] = NONE, 0.0
    weights /= weights.sum(1, keepdim=True)
    relevance = WeightedRelevance(ids, weights)
    rows = torch.arange(10)
    drawn = relevance.sample(rows, generator)
    target = relevance.marginals(trie, rows, drawn)
    for row in range(10):
        listed = {int(i): float(w) for i, w in zip(ids[row], weights[row], strict=True) if i != NONE}
        assert int(drawn[row]) in listed
        expected = brute_force(codes, listed, int(drawn[row]), 3, trie.max_length)
        torch.testing.assert_close(target[row], expected)


def test_removed_ids_are_relevant_to_nothing() -> None:
    codes, removed = random_codes("mixed"), [0, 5, 8, 13]
    trie = Trie(codes, 3).without(removed)
    groups = torch.arange(len(codes)) % 4
    rows = trie.live_ids()
    relevance = GroupRelevance(trie, groups, groups)
    for seed in range(20):
        drawn = relevance.sample(rows, torch.Generator().manual_seed(seed))
        assert trie.live[drawn].all() and (groups[drawn] == groups[rows]).all()
    target = relevance.marginals(trie, rows, drawn)
    for place, row in enumerate(rows.tolist()):
        same = [i for i in rows.tolist() if groups[i] == groups[row]]
        expected = brute_force(codes, dict.fromkeys(same, 1.0), int(drawn[place]), 3, trie.max_length)
        torch.testing.assert_close(target[place], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_group_marginals_against_brute_force(kind: str) -> None:
    codes = random_codes(kind)
    trie = Trie(codes, 3)
    groups = torch.arange(len(codes)) % 4
    relevance = GroupRelevance(trie, groups, groups)
    rows = torch.arange(len(codes))
    drawn = relevance.sample(rows, torch.Generator().manual_seed(0))
    assert (groups[drawn] == groups).all()
    target = relevance.marginals(trie, rows, drawn)
    for row in rows.tolist():
        members = {i: 1.0 for i in range(len(codes)) if i % 4 == row % 4}
        expected = brute_force(codes, members, int(drawn[row]), 3, trie.max_length)
        torch.testing.assert_close(target[row], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_marginals_of_several_classes_against_brute_force(kind: str) -> None:
    """With removed ids, queries that name a class nobody has, and rows of different lengths."""
    codes = random_codes(kind)
    trie = Trie(codes, 3).without([5, 11])
    generator = torch.Generator().manual_seed(4)
    groups = torch.stack([torch.randperm(5, generator=generator)[:3] for _ in codes])
    groups[::3, 1:], groups[::4, 2] = NONE, NONE
    queries = torch.cat([groups[:10], torch.full((10, 1), 7)], dim=1)
    relevance = GroupRelevance(trie, groups, queries)
    rows = torch.arange(10).repeat(20)
    drawn = relevance.sample(rows, generator)
    target = relevance.marginals(trie, rows, drawn)
    for row, i, found in zip(rows.tolist(), drawn.tolist(), target, strict=True):
        wanted = set(queries[row].tolist()) - {NONE}
        weights = {j: float(len(wanted & set(groups[j].tolist()))) for j in trie.live_ids().tolist()}
        expected = brute_force(codes, {j: w for j, w in weights.items() if w}, i, 3, trie.max_length)
        torch.testing.assert_close(found, expected)


def test_ids_are_drawn_by_the_number_of_classes_they_share() -> None:
    groups = torch.tensor([[0, 1], [1, NONE], [2, NONE], [1, 2]])
    trie = Trie(random_codes("mixed", count=4), 3)
    relevance = GroupRelevance(trie, groups, torch.tensor([[NONE, 1, 2], [NONE, NONE, 0]]))
    rows = torch.zeros(20_000, dtype=torch.long)
    drawn = relevance.sample(rows, torch.Generator().manual_seed(0))
    share = torch.bincount(drawn, minlength=4) / 20_000
    torch.testing.assert_close(share, torch.tensor([0.2, 0.2, 0.2, 0.4]), atol=0.02, rtol=0)
    assert relevance.sample(rows + 1, torch.Generator()).unique().tolist() == [0]


def test_memory_of_class_relevance_is_bounded_by_the_codes() -> None:
    held = []
    for base, classes in ((16, 4), (256, 4), (256, 200)):
        codes = scheme_named("random").assign(IdContext(200, base))
        relevance = GroupRelevance(Trie(codes, base), torch.arange(200) % classes, torch.arange(classes))
        held.append(len(relevance.branches))
    assert max(held) <= 2 * 200


@pytest.mark.parametrize("kind", KINDS)
def test_expected_loss_is_the_cross_entropy_over_ids(kind: str) -> None:
    codes = random_codes(kind)
    trie = Trie(codes, 3)
    model = small_model(trie)
    inputs = torch.randn(1, 12, dtype=torch.float64)
    relevant = torch.tensor([[0, 4, 7, 9, 15]])
    weights = torch.tensor([[0.4, 0.1, 0.2, 0.2, 0.1]])
    relevance = WeightedRelevance(relevant, weights)
    expected = -(weights[0].double() * log_prob(model, trie, inputs)[0, relevant[0]]).sum()
    total = torch.zeros((), dtype=torch.float64)
    for i, weight in zip(relevant[0], weights[0], strict=True):
        drawn = i[None]
        nodes = trie.nodes[drawn]
        with torch.no_grad():
            scores = model(inputs, trie.codes[drawn], nodes)
        target = relevance.marginals(trie, torch.tensor([0]), drawn).double()
        total += weight.double() * next_token_loss(scores, target, trie.child[nodes.clamp(min=0)] != NONE)[0]
    torch.testing.assert_close(total, expected, atol=1e-6, rtol=1e-6)


def test_ids_are_drawn_by_weight() -> None:
    relevance = WeightedRelevance(torch.tensor([[5, 6, 7]]), torch.tensor([[0.7, 0.3, 0.0]]))
    drawn = relevance.sample(torch.zeros(20_000, dtype=torch.long), torch.Generator().manual_seed(0))
    share = torch.bincount(drawn, minlength=8) / 20_000
    torch.testing.assert_close(share[5:], torch.tensor([0.7, 0.3, 0.0]), atol=0.02, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_own_id_is_one_hot_up_to_the_end_of_the_code(kind: str) -> None:
    codes = random_codes(kind)
    trie = Trie(codes, 3)
    rows = torch.arange(len(codes))
    target = OwnId().marginals(trie, rows, OwnId().sample(rows, torch.Generator()))
    torch.testing.assert_close(target, one_hot_targets(trie, rows))
    for row, code in enumerate(codes):
        written = path(code, 3)
        assert target[row].sum(1).tolist() == [1.0] * len(written) + [0.0] * (trie.max_length - len(written))
        assert target[row].argmax(1).tolist()[: len(written)] == list(written)


def test_the_loss_ignores_padding_and_forbidden_tokens() -> None:
    target = torch.tensor([[[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]])
    scores = torch.tensor([[[1.0, 1.0, 50.0], [9.0, -9.0, 3.0]]], requires_grad=True)
    allowed = torch.tensor([[[True, True, False], [False, False, False]]])
    loss = next_token_loss(scores, target, allowed)
    torch.testing.assert_close(loss, torch.tensor([2.0]).log())
    loss.sum().backward()
    assert scores.grad is not None and bool(scores.grad.isfinite().all())
    assert (scores.grad[0, 1] == 0).all()
    assert next_token_loss(scores, target, None)[0] > 40


@pytest.mark.parametrize("kind", KINDS)
def test_target_of_each_digit_sums_to_one_up_to_the_end_of_the_code(kind: str) -> None:
    codes = random_codes(kind)
    trie = Trie(codes, 3)
    groups = torch.arange(len(codes)) % 4
    ids = torch.stack([torch.arange(len(codes)).roll(-shift) for shift in range(5)], dim=1)
    weights = torch.rand(ids.shape, generator=torch.Generator().manual_seed(2))
    rows = torch.arange(len(codes))
    for relevance in (WeightedRelevance(ids, weights), GroupRelevance(trie, groups, groups), OwnId()):
        drawn = relevance.sample(rows, torch.Generator().manual_seed(3))
        sums = relevance.marginals(trie, rows, drawn).sum(-1)
        torch.testing.assert_close(sums, (trie.nodes[drawn] != NONE).float())


@pytest.mark.parametrize("head", ["trie", "digits"])
@pytest.mark.parametrize("kind", KINDS)
def test_expected_loss_over_a_class_is_the_cross_entropy_over_its_ids(kind: str, head: str) -> None:
    codes = random_codes(kind)
    trie = Trie(codes, 3)
    model = small_model(trie, head)
    inputs = torch.randn(1, 12, dtype=torch.float64)
    groups = torch.arange(len(codes)) % 4
    relevance = GroupRelevance(trie, groups, torch.tensor([2]))
    members = torch.nonzero(groups == 2).squeeze(1)
    expected = -log_prob(model, trie, inputs)[0, members].mean()
    nodes = trie.nodes[members]
    with torch.no_grad():
        scores = model(inputs.expand(len(members), -1), trie.codes[members], nodes)
    target = relevance.marginals(trie, torch.zeros_like(members), members).double()
    losses = next_token_loss(scores, target, trie.child[nodes.clamp(min=0)] != NONE)
    torch.testing.assert_close(losses.mean(), expected, atol=1e-6, rtol=1e-6)


def test_ids_of_a_class_are_drawn_with_equal_probability() -> None:
    codes = random_codes("mixed")
    groups = torch.tensor([0, 1, 1, 2] * 6)[: len(codes)]
    relevance = GroupRelevance(Trie(codes, 3), groups, torch.tensor([1, 0]))
    rows = torch.zeros(20_000, dtype=torch.long)
    share = (
        torch.bincount(relevance.sample(rows, torch.Generator().manual_seed(0)), minlength=len(codes))
        / 20_000
    )
    torch.testing.assert_close(share, (groups == 1) / (groups == 1).sum(), atol=0.01, rtol=0)


def test_padding_of_a_short_list_is_never_drawn() -> None:
    relevance = WeightedRelevance(torch.tensor([[5, NONE]]), torch.tensor([[0.1, 0.9]]))
    drawn = relevance.sample(torch.zeros(200, dtype=torch.long), torch.Generator().manual_seed(0))
    assert drawn.unique().tolist() == [5]


@pytest.mark.parametrize("kind", ["variable", "mixed"])
def test_forbidden_tokens_and_padding_leave_gradients_finite(kind: str) -> None:
    trie = Trie(random_codes(kind), 3)
    ids = torch.arange(len(trie.codes))
    scores = torch.randn(*trie.codes.shape, trie.child.shape[1]).mul(30).requires_grad_()
    allowed = trie.child[trie.nodes.clamp(min=0)] != NONE
    next_token_loss(scores, one_hot_targets(trie, ids), allowed).sum().backward()
    assert scores.grad is not None and bool(scores.grad.isfinite().all())
    ended = trie.nodes == NONE
    assert bool(ended.any()) and (scores.grad[ended] == 0).all()
    assert (scores.grad[~allowed] == 0).all()


@pytest.mark.parametrize("rubbish", [-torch.inf, torch.inf, torch.nan])
@pytest.mark.parametrize("constrained", [False, True])
def test_scores_after_the_end_of_a_code_do_not_change_the_loss(rubbish: float, constrained: bool) -> None:
    target = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
    scores = torch.tensor([[[1.0, 2.0, 3.0], [rubbish] * 3]], requires_grad=True)
    loss = next_token_loss(scores, target, torch.ones(1, 2, 3, dtype=torch.bool) if constrained else None)
    torch.testing.assert_close(loss, -scores[:, 0].log_softmax(-1)[:, 0])
    (gradient,) = torch.autograd.grad(loss.sum(), scores)
    assert bool(gradient.isfinite().all()) and (gradient[0, 1] == 0).all()
