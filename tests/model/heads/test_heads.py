"""The registry of heads, and the recipe in CONTRIBUTING for a new one, followed by a toy head."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers_codes import changed, log_prob, model_config, random_codes
from helpers_stored import add, stored
from torch import Tensor, nn

from vitdsi.config import ModelConfig
from vitdsi.errors import UsageError
from vitdsi.ids.trie import NONE, Trie
from vitdsi.model.graft import graft
from vitdsi.model.heads import HEADS, Head
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.search.beam import beam_search
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rank
from vitdsi.training.data import TrainingData
from vitdsi.training.loop import train
from vitdsi.training.targets import OwnId
from vitdsi.training.views import FeatureViews


class NodeHead(Head):
    """A toy: each node of the trie shifts the hidden state before all nodes share one linear layer."""

    def __init__(self, config: ModelConfig, trie: Trie) -> None:
        super().__init__(config, trie)
        self.shift = nn.Parameter(torch.zeros(trie.num_nodes, config.embed_dim))
        self.out = nn.Linear(config.embed_dim, trie.vocabulary.outputs)

    def forward(self, hidden: Tensor, embedding: Tensor | None, nodes: Tensor) -> Tensor:
        scores: Tensor = self.out(torch.tanh(hidden + self.shift[nodes.clamp(min=0)]))
        return scores

    @torch.no_grad()
    def graft(self, old: Head, origin: Tensor, ids: Tensor) -> None:
        assert isinstance(old, NodeHead)
        known = origin != NONE
        self.shift[known] = old.shift[origin[known]]
        self.out.load_state_dict(old.out.state_dict())


@pytest.fixture
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HEADS, "node", NodeHead)


def trained(count: int = 12) -> tuple[Seq2Seq, Trie, Tensor]:
    """A tiny model with the toy head that has learned the ids of `count` random features."""
    trie = Trie(random_codes("mixed", count), 3)
    torch.manual_seed(0)
    config = model_config(head="node", embed_dim=16, mlp_dim=24, num_heads=2, embedding_dim=8)
    model = Seq2Seq(config, trie, (10,))
    features, ids = torch.rand(count, 10), torch.arange(count)
    views = FeatureViews(features.half(), torch.empty(0))
    data = TrainingData(trie, ids, views, OwnId(), ids, features[:0], ids[:0])
    training = stored().resolved.training
    paper = replace(training.paper, target_accuracy=1.0)
    training = replace(training, max_epochs=100, batch_size=count, evaluate_every=1000, paper=paper)
    train(model, data, training, seed=0)
    return model, trie, features.half()


@pytest.mark.usefixtures("_registered")
def test_registered_toy_head_is_trained_and_searched() -> None:
    model, trie, features = trained()
    assert isinstance(model.head, NodeHead) and bool((model.head.shift != 0).any())
    with torch.inference_mode():
        ids, found = beam_search(model, features, trie, 12)
    assert ids[:, 0].tolist() == list(range(12))
    torch.testing.assert_close(found, log_prob(model, trie, features).gather(1, ids))


@pytest.mark.usefixtures("_registered")
def test_registered_toy_head_is_saved_and_grafted() -> None:
    model, trie, features = trained()
    again = Seq2Seq(model.config, trie, (10,)).eval()
    again.load_state_dict(model.state_dict())
    smaller = Trie(trie.codes[3:].numpy(), 3)
    grafted, _ = graft(model, trie, smaller, seed=0)
    with torch.inference_mode():
        expected = model(features, trie.codes, trie.nodes)
        assert torch.equal(again(features, trie.codes, trie.nodes), expected)
        scores = grafted(features[3:], smaller.codes, smaller.nodes)
    alive = smaller.nodes != NONE
    torch.testing.assert_close(scores[alive], expected[3:][alive])


@pytest.mark.usefixtures("_registered")
def test_registered_toy_head_serves_an_index_that_grows() -> None:
    """Results cannot be reranked by similarity, as the toy keeps no vectors; everything else works."""
    index = stored()
    torch.manual_seed(0)
    config = replace(index.resolved, model=changed(index.resolved.model, head="node"))
    model = Seq2Seq(config.model, index.trie, index.model.input_shape).eval()
    grown = add(replace(index, resolved=config, model=model), 5)
    assert isinstance(grown.model.head, NodeHead) and grown.features is not None
    found = rank(grown, grown.features[60:], SearchOptions(k=65))
    assert [sorted(row) for row in found.ids.tolist()] == [list(range(65))] * 5
    np.testing.assert_allclose(np.exp(found.log_probs).sum(1), 1, atol=1e-4)
    with pytest.raises(UsageError, match="rerank"):
        rank(grown, grown.features[60:], SearchOptions(k=5, rerank=True))


@pytest.mark.parametrize("name", sorted(HEADS))
def test_every_head_scores_all_tokens(name: str) -> None:
    trie = Trie(random_codes("mixed"), 3)
    head = HEADS[name](model_config(head=name, embed_dim=16, embedding_dim=8), trie)
    scores = head(torch.randn(4, trie.max_length, 16), torch.randn(4, 8), trie.nodes[:4])
    assert scores.shape == (4, trie.max_length, trie.vocabulary.outputs)
    assert all(
        any(value is known for known in head.parameters()) for value in head.parameters_from_features()
    )
