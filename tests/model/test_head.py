from __future__ import annotations

import pytest
import torch
from helpers_codes import KINDS, random_codes

from vitdsi.config import ModelConfig
from vitdsi.model.head import DigitHead, TrieHead
from vitdsi.trie import Trie


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def head(trie: Trie, prototypes: int) -> TrieHead:
    torch.manual_seed(0)
    config = ModelConfig(embed_dim=16, head_dim=8, head_scale=3.0, prototypes=prototypes)
    made = TrieHead(config, trie.vocabulary.outputs, trie).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0, 0.4)
    return made


def test_digits_are_scored_alike_in_every_node() -> None:
    made = DigitHead(ModelConfig(embed_dim=16), 5)
    hidden, summary = torch.randn(2, 4, 16), torch.randn(2, 8)
    zeros = torch.zeros(2, 4, dtype=torch.long)
    assert torch.equal(made(hidden, summary, zeros), made(hidden, summary, zeros + 3))


@pytest.mark.parametrize("prototypes", [0, 2])
def test_a_digit_means_something_else_in_each_node(prototypes: int) -> None:
    trie = Trie(random_codes("fixed"), 3)
    made = head(trie, prototypes)
    hidden, summary = torch.randn(1, 1, 16).double(), torch.randn(1, 8).double()
    scores = torch.cat([made(hidden, summary, torch.tensor([[node]]))[0] for node in range(trie.num_nodes)])
    assert scores.shape == (trie.num_nodes, trie.vocabulary.outputs)
    assert torch.pdist(scores).min() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prototypes", [0, 2])
def test_all_digits_at_once_equal_one_by_one(kind: str, prototypes: int) -> None:
    """Whatever shortcut is taken at the root, or for nodes with branches, it must not show."""
    trie = Trie(random_codes(kind), 3)
    made = head(trie, prototypes)
    count, length = trie.nodes.shape
    hidden, summary = torch.randn(count, length, 16).double(), torch.randn(count, 8).double()
    together = made(hidden, summary, trie.nodes)
    assert together.shape == (count, length, trie.vocabulary.outputs)
    for i in range(count):
        for t in range(length):
            if trie.nodes[i, t] >= 0:
                alone = made(
                    hidden[i : i + 1, t : t + 1], summary[i : i + 1], trie.nodes[i : i + 1, t : t + 1]
                )
                torch.testing.assert_close(alone[0, 0], together[i, t])


def test_without_steering_the_image_alone_decides() -> None:
    trie = Trie(random_codes("mixed"), 3)
    torch.manual_seed(0)
    made = TrieHead(ModelConfig(embed_dim=16, head_dim=8), trie.vocabulary.outputs, trie)
    nodes = trie.nodes[:4]
    summary = torch.randn(4, 8)
    first, second = (made(torch.randn(4, nodes.shape[1], 16), summary, nodes) for _ in range(2))
    assert torch.equal(first, second)  # as it is made, the decoder's hidden state does not steer yet
    assert not torch.allclose(first, made(torch.zeros(4, nodes.shape[1], 16), summary.flip(0), nodes))


def test_gradients_are_finite_and_reach_only_the_nodes_on_the_path() -> None:
    trie = Trie(random_codes("mixed"), 3)
    torch.manual_seed(0)
    made = TrieHead(ModelConfig(embed_dim=16, head_dim=8), trie.vocabulary.outputs, trie)
    nodes = trie.nodes[:3]
    scores = made(torch.randn(3, nodes.shape[1], 16), torch.randn(3, 8), nodes)
    scores[nodes >= 0].square().sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name
    assert made.bias.grad is not None
    touched = made.bias.grad.abs().sum(1) > 0
    assert touched.nonzero().flatten().tolist() == sorted({n for n in nodes.flatten().tolist() if n >= 0})
