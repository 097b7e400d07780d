from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers_codes import KINDS, random_codes

from vitdsi.ids.codes import Vocabulary
from vitdsi.ids.tree import NONE, PrefixTree


def tree(kind: str) -> PrefixTree:
    return PrefixTree(torch.from_numpy(random_codes(kind)), Vocabulary(3))


@pytest.mark.parametrize("kind", KINDS)
def test_paths_of_some_ids_are_those_of_the_whole(kind: str) -> None:
    whole, ids = tree(kind), torch.tensor([[3, 0, 22], [7, 7, 1]])
    nodes, codes = whole.paths_of(ids)
    assert torch.equal(nodes, whole.nodes[ids]) and torch.equal(codes, whole.codes[ids])
    assert nodes.dtype == codes.dtype == torch.int64
    assert torch.equal(whole.children_of(nodes.clamp(min=0)), whole.child[nodes.clamp(min=0)])


@pytest.mark.parametrize("kind", KINDS)
def test_nodes_are_numbered_level_by_level_in_the_order_of_their_prefixes(kind: str) -> None:
    made = tree(kind)
    prefixes = {}
    for code, nodes in zip(made.codes.tolist(), made.nodes.tolist(), strict=True):
        for depth, node in enumerate(nodes):
            if node != NONE:
                prefixes[node] = (depth, code[:depth])
    assert sorted(prefixes) == list(range(len(made.small_child)))
    assert [prefixes[node] for node in sorted(prefixes)] == sorted(prefixes.values())


@pytest.mark.parametrize(("base", "dtype"), [(256, torch.int16), (40_000, torch.int32)])
def test_codes_are_kept_in_few_bytes(base: int, dtype: torch.dtype) -> None:
    made = PrefixTree(torch.tensor([[0, base - 1], [1, base + 1], [base - 1, 2]]), Vocabulary(base))
    assert made.small_codes.dtype == dtype and made.small_child.dtype == torch.int32
    assert made.codes.tolist() == [[0, base - 1], [1, base + 1], [base - 1, 2]]
    assert made.nodes.tolist() == [[0, 1], [0, NONE], [0, 2]]


def test_tree_without_codes_has_a_root() -> None:
    made = PrefixTree(torch.from_numpy(np.empty((0, 3), dtype=np.int64)), Vocabulary(4))
    assert made.small_child.tolist() == [[NONE] * 6] and made.codes.shape == (0, 1)
    assert [part.tolist() for part in made.parents] == [[NONE], [0], [0]]
