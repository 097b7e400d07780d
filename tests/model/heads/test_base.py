from __future__ import annotations

import pytest
import torch
from helpers_codes import model_config, random_codes

from vitdsi.ids.trie import Trie
from vitdsi.model.heads import Head


@pytest.fixture
def trie() -> Trie:
    return Trie(random_codes("fixed"), 3)


def test_head_without_vectors_of_ids_raises(trie: Trie) -> None:
    head = Head(model_config(), trie)
    assert not head.compares
    for call in (
        lambda: head.vectors(torch.tensor([0])),
        lambda: head.cosines(torch.zeros(1, 2), torch.tensor([0])),
    ):
        with pytest.raises(NotImplementedError, match="Head keeps no"):
            call()


def test_head_without_forward_cannot_be_called(trie: Trie) -> None:
    with pytest.raises(NotImplementedError):
        Head(model_config(), trie)(torch.zeros(1, 1, 128), None, torch.zeros(1, 1, dtype=torch.long))
