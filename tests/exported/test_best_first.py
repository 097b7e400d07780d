from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers_codes import KINDS, random_codes
from helpers_exported import decoding, exported_trie, random_model

from vitdsi.exported.best_first import best_first_search
from vitdsi.ids.trie import Trie
from vitdsi.search.best_first import best_first_search as torch_search

_FEATURES = torch.randn(12, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("expansions", [0, 6, 4096])
@pytest.mark.parametrize("head", ["trie", "digits"])
@pytest.mark.parametrize("kind", KINDS)
def test_it_finds_what_the_search_of_the_index_finds(kind: str, head: str, expansions: int) -> None:
    trie = Trie(random_codes(kind, count=60, base=4), 4)
    model, within = random_model(trie, head), trie.restrict(range(0, 60, 2))
    with torch.no_grad():
        memory, embedding = model.encode(_FEATURES[None])
    made = exported_trie(trie)
    for allowed, k in ((trie, 7), (within, 7), (within, 100)):
        options = {"beam_size": 4, "max_expansions": expansions}
        expected = torch_search(model, memory, embedding, allowed, k, **options)
        found = best_first_search(decoding(model, made, _FEATURES), made, allowed.live.numpy(), k, **options)
        known = expected.ids[0] >= 0
        assert found.ids.tolist() == expected.ids[0][known].tolist()
        np.testing.assert_allclose(found.log_probs, expected.log_probs[0][known], rtol=1e-4, atol=1e-4)
        assert found.proven == bool(expected.proven[0])


def test_nothing_is_found_where_nothing_is_allowed() -> None:
    trie = Trie(random_codes("mixed"), 3)
    made = exported_trie(trie)
    found = best_first_search(decoding(random_model(trie), made, _FEATURES), made, np.zeros(23, bool), 5)
    assert found.ids.tolist() == [] and found.proven
