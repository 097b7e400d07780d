from __future__ import annotations

import pytest
import torch
from helpers_codes import model_config, random_codes
from torch import Tensor

from vitdsi.ids.trie import NONE, Trie
from vitdsi.model.heads import Head


class Fixed(Head):
    """Keeps a given vector for each id."""

    compares = True
    kept = torch.tensor([[3.0, 0.0], [0.0, 0.5], [0.0, 0.0]])

    def vectors(self, trie: Trie, ids: Tensor) -> Tensor:
        return self.kept[ids]


@pytest.fixture
def trie() -> Trie:
    return Trie(random_codes("fixed"), 3)


def test_cosines_are_those_of_embeddings_with_the_vectors_of_ids(trie: Trie) -> None:
    embeddings = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    found = Fixed(model_config(), trie).cosines(trie, torch.tensor([[0, 1], [1, 0]]), embeddings)
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.0], [0.8, 0.6]]))


def test_cosine_with_a_zero_vector_is_zero_and_missing_ids_are_ignored(trie: Trie) -> None:
    found = Fixed(model_config(), trie).cosines(
        trie, torch.tensor([[2, NONE, 0]]), torch.tensor([[0.6, 0.8]])
    )
    assert found[0, 0] == 0
    assert found[0, 2] == pytest.approx(0.6)
    assert bool(found.isfinite().all())


def test_head_without_vectors_of_ids_raises(trie: Trie) -> None:
    head = Head(model_config(), trie)
    assert not head.compares
    for call in (
        lambda: head.vectors(trie, torch.tensor([0])),
        lambda: head.cosines(trie, torch.tensor([[0]]), torch.zeros(1, 2)),
        lambda: head.learning_only(trie, torch.tensor([0])),
    ):
        with pytest.raises(NotImplementedError, match="Head keeps no"):
            call()


def test_head_without_forward_cannot_be_called(trie: Trie) -> None:
    with pytest.raises(NotImplementedError):
        Head(model_config(), trie)(torch.zeros(1, 1, 128), None, torch.zeros(1, 1, dtype=torch.long))
