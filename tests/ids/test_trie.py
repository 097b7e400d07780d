from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers_codes import KINDS, path, random_codes

from vitdsi.errors import UsageError
from vitdsi.ids.trie import NONE, Trie, leaf


def reachable(trie: Trie) -> dict[tuple[int, ...], int]:
    """Every code that can be written -> its id, by walking from the root."""
    found = {}
    stack = [(0, ())]
    while stack:
        node, prefix = stack.pop()
        options = [(t, int(c)) for t, c in enumerate(trie.child[node]) if c != NONE]
        assert options or node == 0, "a prefix that leads nowhere"
        for token, child in options:
            if child >= 0:
                stack.append((child, (*prefix, token)))
            else:
                found[(*prefix, token)] = -2 - child
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_trie_contains_exactly_the_given_codes(kind: str) -> None:
    codes = random_codes(kind)
    trie = Trie(codes, 3)
    assert reachable(trie) == {path(code, 3): i for i, code in enumerate(codes)}
    assert trie.live_ids().tolist() == list(range(len(codes)))


@pytest.mark.parametrize("kind", KINDS)
def test_nodes_are_equal_exactly_where_prefixes_are(kind: str) -> None:
    codes = random_codes(kind)
    trie = Trie(codes, 3)
    paths = [path(code, 3) for code in codes]
    for i, a in enumerate(paths):
        for j, b in enumerate(paths):
            for t in range(trie.max_length):
                same = t < len(a) and t < len(b) and a[:t] == b[:t]
                alive = trie.nodes[i, t] != NONE and trie.nodes[j, t] != NONE
                assert (alive and bool(trie.nodes[i, t] == trie.nodes[j, t])) == same


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("allowed", [[], [4], [0, 5, 6, 7, 21], [3, 999, -5]])
def test_restriction_leaves_only_the_allowed_ids(kind: str, allowed: list[int]) -> None:
    codes = random_codes(kind)
    trie = Trie(codes, 3)
    before = trie.child.clone()
    kept = [i for i in allowed if 0 <= i < len(codes)]
    assert reachable(trie.restrict(allowed)) == {path(codes[i], 3): i for i in kept}
    assert (trie.child == before).all(), "the trie itself changed"


def test_leaf_is_its_own_inverse() -> None:
    ids = Trie(random_codes("fixed"), 3).live_ids()
    assert (leaf(leaf(ids)) == ids).all()


@pytest.mark.parametrize("codes", [[[0, 1], [0, 1]], [[0, 4], [0, 1]]])
def test_codes_that_are_not_prefix_free_raise(codes: list[list[int]]) -> None:
    with pytest.raises(UsageError, match="prefix-free"):
        Trie(np.array(codes), 3)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("base", [2, 5])
def test_trie_of_random_codes_equals_nested_dicts(base: int, seed: int) -> None:
    codes = random_codes("mixed", count=40, base=base, seed=seed)
    trie = Trie(codes, base)
    nested: dict = {}
    for i, code in enumerate(codes):
        *inner, last = path(code, base)
        place = nested
        for token in inner:
            place = place.setdefault(token, {})
        place[last] = i

    inner_nodes = 0
    stack: list[tuple[int, dict]] = [(0, nested)]
    while stack:
        node, place = stack.pop()
        inner_nodes += 1
        row = trie.child[node].tolist()
        assert {token for token, child in enumerate(row) if child != NONE} == set(place)
        for token, below in place.items():
            if isinstance(below, dict):
                stack.append((row[token], below))
            else:
                assert row[token] == -2 - below
    assert trie.num_nodes == inner_nodes

    for i, code in enumerate(codes):
        place_of = [0]
        for token in path(code, base)[:-1]:
            place_of.append(int(trie.child[place_of[-1], token]))
        ended = trie.max_length - len(place_of)
        assert trie.nodes[i].tolist() == place_of + [NONE] * ended


@pytest.mark.parametrize("kind", KINDS)
def test_without_frees_codes_and_removes_empty_branches(kind: str) -> None:
    codes = random_codes(kind)
    trie = Trie(codes, 3)
    before = trie.child.clone()
    gone = [0, 4, 9, 10, 11]
    left = trie.without(gone)
    kept = [i for i in range(len(codes)) if i not in gone]
    assert reachable(left) == {path(codes[i], 3): i for i in kept}  # no branch leads nowhere
    assert (left.codes[gone] == 4).all() and (left.nodes[gone] == NONE).all()
    assert torch.equal(left.codes[kept], trie.codes[kept]) and torch.equal(left.nodes[kept], trie.nodes[kept])
    assert torch.equal(trie.child, before), "the trie itself changed"
    assert left.without(kept).live_ids().tolist() == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_restriction_can_be_restricted_again(kind: str) -> None:
    codes = random_codes(kind)
    twice = Trie(codes, 3).restrict([1, 2, 3, 8]).restrict([2, 3, 20])
    assert reachable(twice) == {path(codes[i], 3): i for i in (2, 3)}
    assert twice.live_ids().tolist() == [2, 3]


def test_a_restriction_keeps_the_numbers_of_the_nodes_left() -> None:
    trie = Trie(random_codes("mixed"), 3)
    some = trie.restrict([0, 5, 6])
    assert some.num_nodes == trie.num_nodes
    kept = some.child != NONE
    assert (some.child[kept] == trie.child[kept]).all()


def test_rows_of_padding_are_not_in_the_trie() -> None:
    codes = random_codes("mixed")
    codes[[3, 9]] = 4  # PAD
    trie = Trie(codes, 3)
    assert trie.live_ids().tolist() == [i for i in range(len(codes)) if i not in (3, 9)]
    assert (trie.nodes[[3, 9]] == NONE).all()
    assert trie.restrict([3, 4]).live_ids().tolist() == [4]


def test_empty_trie_has_only_a_root() -> None:
    trie = Trie(np.empty((0, 3), dtype=np.int64), 3)
    assert trie.num_nodes == 1
    assert trie.live_ids().tolist() == []
    assert trie.restrict([0]).live_ids().tolist() == []


def test_from_tensors_restores_the_saved_trie() -> None:
    trie = Trie(random_codes("variable"), 3).restrict([4, 5, 6])
    again = Trie.from_tensors({"codes": trie.codes, "nodes": trie.nodes, "child": trie.child}, 3)
    assert reachable(again) == reachable(trie)
    assert again.vocabulary == trie.vocabulary and again.max_length == trie.max_length


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0]])
def test_code_that_is_a_prefix_of_another_raises_in_any_order(order: list[int]) -> None:
    codes = np.array([[1, 2, 0], [1, 4, 4], [0, 4, 4]])[order]
    with pytest.raises(UsageError, match="prefix-free"):
        Trie(codes, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_last_edges_lead_to_the_leaves(kind: str) -> None:
    trie = Trie(random_codes(kind), 3)
    ids = trie.live_ids()[: 2 * (len(trie.live_ids()) // 2)].view(2, -1)
    nodes, tokens = trie.last_edges(ids)
    assert (leaf(trie.child[nodes, tokens]) == ids).all()
