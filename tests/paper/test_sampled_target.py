from __future__ import annotations

import torch
from helpers_codes import random_codes

from vitdsi.ids.trie import NONE, Trie
from vitdsi.paper.sampled_target import sampled_target
from vitdsi.training.targets import WeightedRelevance, marginal_target, retrieval_target


def test_sampled_target_has_all_mass_on_the_digits_of_the_sampled_id() -> None:
    trie = Trie(random_codes("mixed"), 3)
    relevance = WeightedRelevance(torch.tensor([[0, 1, 2]]), torch.ones(1, 3))
    rows, ids = torch.tensor([0, 0]), torch.tensor([1, 2])
    target = sampled_target(relevance, trie, rows, ids)
    used = trie.nodes[ids] != NONE
    assert torch.equal(target.sum(-1), used.float())
    assert torch.equal(target.argmax(-1)[used], trie.codes[ids][used])
    assert not torch.equal(target, marginal_target(relevance, trie, rows, ids))


def test_retrieval_target_is_chosen_by_name() -> None:
    assert retrieval_target("sampled") is sampled_target
    assert retrieval_target("marginal") is marginal_target
