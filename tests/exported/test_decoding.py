from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers_codes import KINDS, log_prob, random_codes
from helpers_exported import decoding, exported_trie, random_model

from vitdsi.ids.trie import Trie


@pytest.mark.parametrize("head", ["trie", "digits"])
@pytest.mark.parametrize("kind", KINDS)
def test_log_probabilities_of_ids_are_those_of_teacher_forcing(kind: str, head: str) -> None:
    trie = Trie(random_codes(kind), 3)
    model = random_model(trie, head)
    features = torch.randn(12, generator=torch.Generator().manual_seed(3))
    ids = np.array([4, 22, 0, 4])
    found = decoding(model, exported_trie(trie), features).log_probs_of(ids)
    expected = log_prob(model, trie, features[None])[0, ids].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_branches_of_a_node_are_computed_once() -> None:
    trie = Trie(random_codes("fixed"), 3)
    made = decoding(random_model(trie), exported_trie(trie), torch.zeros(12))
    first = made.branches(np.array([0]))
    made._step = None  # type: ignore[assignment]  # a second step would raise TypeError
    np.testing.assert_array_equal(made.branches(np.array([0, 0])), first.repeat(2, 0))
    np.testing.assert_allclose(np.exp(first).sum(1), 1, rtol=1e-5)
