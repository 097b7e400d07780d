from __future__ import annotations

import numpy as np
import pytest
from helpers_codes import KINDS, random_codes
from helpers_exported import exported_trie

from vitdsi.ids.trie import NONE, Trie


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_same_tree_as_the_trie_of_the_index(kind: str) -> None:
    trie = Trie(random_codes(kind), 3)
    made = exported_trie(trie)
    for ours, theirs in zip((made.parent, made.token, made.depth), trie.parents, strict=True):
        assert ours.tolist() == theirs.tolist()
    assert made.inner.tolist() == (trie.child >= 0).any(1).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_the_allowed_branches_are_those_of_a_restricted_trie(kind: str) -> None:
    trie = Trie(random_codes(kind), 3)
    for ids in ([2, 3, 11], range(23), []):
        live = np.isin(np.arange(23), list(ids))
        expected = trie.restrict(np.flatnonzero(live)).allowed
        assert exported_trie(trie).allowed(live).tolist() == expected.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_paths_have_the_nodes_and_tokens_of_the_codes(kind: str) -> None:
    trie = Trie(random_codes(kind), 3)
    ids = np.array([7, 0, 22])
    for path, nodes, codes in zip(
        exported_trie(trie).paths(ids), trie.nodes[ids].tolist(), trie.codes[ids].tolist(), strict=True
    ):
        expected = [(node, token) for node, token in zip(nodes, codes, strict=True) if node != NONE]
        assert path == expected
