from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers_codes import KINDS, path, random_codes

from vitdsi.errors import UsageError
from vitdsi.ids.trie import NONE, Trie, leaf


def reachable(trie: Trie) -> dict[tuple[int, ...], int]:
    """Every code that may be written -> its id, by walking from the root."""
    found = {}
    stack = [(0, ())]
    while stack:
        node, prefix = stack.pop()
        options = [(t, int(c)) for t, c in enumerate(trie.child[node]) if trie.allowed[node, t]]
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
    assert (trie.child == before).all() and trie.live.all(), "the trie itself changed"
    assert trie.restrict(allowed).child is trie.child


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
def test_removed_ids_keep_their_codes_and_cannot_be_reached(kind: str) -> None:
    codes = random_codes(kind)
    trie = Trie(codes, 3)
    gone = [0, 4, 9, 10, 11]
    left = trie.without(gone)
    kept = [i for i in range(len(codes)) if i not in gone]
    assert reachable(left) == {path(codes[i], 3): i for i in kept}  # no branch leads nowhere
    assert left.live_ids().tolist() == kept and trie.live_ids().tolist() == list(range(len(codes)))
    for name in ("codes", "nodes", "child"):
        assert getattr(left, name) is getattr(trie, name)
    assert left.without(kept).live_ids().tolist() == []
    assert not left.without(kept).allowed.any()
    assert reachable(left.with_removed()) == reachable(trie)
    again = Trie(codes, 3, left.live)
    assert reachable(again) == reachable(left) and torch.equal(again.child, trie.child)


@pytest.mark.parametrize(
    "given", [[3, 5, 30], np.array([3, 5, 30]), torch.tensor([3, 5, 30]), iter((3, 5, 30))]
)
def test_ids_are_taken_from_any_iterable_and_unknown_ones_ignored(given: object) -> None:
    trie = Trie(random_codes("mixed"), 3)
    assert trie.restrict(given).live_ids().tolist() == [3, 5]  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(6))
def test_clashing_ids_are_those_whose_codes_are_not_prefix_free_with_others(seed: int) -> None:
    codes = random_codes("mixed", count=30, base=2, seed=seed)
    rng = np.random.default_rng(seed)
    given = rng.permutation(30)
    trie = Trie(codes[given[:20]], 2)
    others = codes[given[20:]].copy()
    for code in others[::2]:  # cut some of them, or put digits where the code ends
        place = int(rng.integers(1, others.shape[1]))
        code[place:] = rng.integers(2) if rng.random() < 0.5 else 3
    paths = [path(code, 2) for code in codes[given[:20]]]
    clash = [
        any(old[: len(new)] == new or new[: len(old)] == old for new in (path(code, 2) for code in others))
        for old in paths
    ]
    assert trie.clashing(others).tolist() == np.flatnonzero(clash).tolist()
    assert any(clash) and not all(clash)


@pytest.mark.parametrize("kind", KINDS)
def test_parents_lead_from_each_node_to_the_root(kind: str) -> None:
    codes = random_codes(kind)
    trie = Trie(codes, 3)
    parent, token, depth = (x.tolist() for x in trie.parents)
    assert parent[0] == NONE and depth[0] == 0
    for i, code in enumerate(codes):
        for t, node in enumerate(trie.nodes[i].tolist()):
            if node > 0:
                assert (parent[node], token[node], depth[node]) == (trie.nodes[i, t - 1], code[t - 1], t)


@pytest.mark.parametrize("kind", KINDS)
def test_a_restriction_can_be_restricted_again(kind: str) -> None:
    codes = random_codes(kind)
    twice = Trie(codes, 3).restrict([1, 2, 3, 8]).restrict([2, 3, 20])
    assert reachable(twice) == {path(codes[i], 3): i for i in (2, 3)}
    assert twice.live_ids().tolist() == [2, 3]


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
    trie = Trie(random_codes("variable"), 3).without([4, 5, 6])
    saved = {"codes": trie.codes, "nodes": trie.nodes, "child": trie.child, "live": trie.live}
    again = Trie.from_tensors(saved, 3)
    assert reachable(again) == reachable(trie)
    assert again.vocabulary == trie.vocabulary and again.max_length == trie.max_length


def test_from_tensors_without_live_ids_takes_all_that_have_a_code() -> None:
    codes = random_codes("mixed")
    codes[[3, 9]] = 4  # PAD
    trie = Trie(codes, 3)
    again = Trie.from_tensors({"codes": trie.codes, "nodes": trie.nodes, "child": trie.child}, 3)
    assert again.live_ids().tolist() == [i for i in range(len(codes)) if i not in (3, 9)]
    assert torch.equal(again.allowed, trie.allowed)


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
