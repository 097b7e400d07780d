from __future__ import annotations

import numpy as np
import pytest
import torch

from vitdsi.config import IndexConfig, load_config
from vitdsi.errors import UsageError
from vitdsi.ids import IdContext, scheme_named
from vitdsi.ids.assign import assign_ids

FEATURES = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)).half()


def config(*overrides: str) -> IndexConfig:
    return load_config(overrides=["ids.base=8", *overrides])


def test_trie_has_the_codes_that_the_scheme_assigns() -> None:
    trie = assign_ids(config("seed=3"), FEATURES, None)
    expected = scheme_named("semantic").assign(IdContext(40, 8, seed=3, features=FEATURES.float().numpy()))
    np.testing.assert_array_equal(trie.codes.numpy(), expected)
    assert trie.vocabulary.base == 8
    assert trie.live_ids().tolist() == list(range(40))


def test_labels_and_variable_length_reach_the_scheme() -> None:
    labels = [f"class {i % 4}" for i in range(40)]
    trie = assign_ids(config("ids.scheme=clustered", "ids.paper.variable_length=true"), FEATURES, labels)
    expected = scheme_named("clustered").assign(IdContext(40, 8, variable_length=True, labels=labels))
    np.testing.assert_array_equal(trie.codes.numpy(), expected)


def test_pixels_are_no_features_for_a_scheme() -> None:
    pixels = torch.zeros(40, 3, 4, 4, dtype=torch.uint8)
    with pytest.raises(UsageError, match="features"):
        assign_ids(config(), pixels, None)
    assert len(assign_ids(config("ids.scheme=random"), pixels, None).live_ids()) == 40
