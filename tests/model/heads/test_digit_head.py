from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers_codes import model_config, random_codes

from vitdsi.ids.trie import Trie
from vitdsi.model.heads import DigitHead


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def head() -> DigitHead:
    return DigitHead(model_config(embed_dim=16), Trie(random_codes("fixed"), 3))


def test_scores_do_not_depend_on_the_node() -> None:
    made = head()
    hidden, nodes = torch.randn(2, 4, 16), torch.zeros(2, 4, dtype=torch.long)
    scores = made(hidden, torch.randn(2, 8), nodes)
    assert scores.shape == (2, 4, 5)  # three digits, EOS and PAD
    assert torch.equal(scores, made(hidden, None, nodes + 3))


def test_graft_takes_over_all_weights_whatever_the_trie() -> None:
    old, config = head(), model_config(embed_dim=16)
    new = DigitHead(config, Trie(np.array([[0], [2]]), 3))
    assert not torch.equal(new.out.weight, old.out.weight)
    new.graft(old, torch.tensor([0]), torch.tensor([0]))
    assert torch.equal(new.out.weight, old.out.weight) and torch.equal(new.out.bias, old.out.bias)


def test_imprint_changes_nothing() -> None:
    made = head()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    trie = Trie(random_codes("fixed"), 3)
    made.imprint(trie, torch.arange(23), torch.randn(23, 8), seed=0)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    assert made.parameters_from_features() == []
