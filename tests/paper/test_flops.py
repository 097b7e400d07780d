from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vitdsi.ids.assign import assign_ids
from vitdsi.model.initialise import make_model
from vitdsi.paper.flops import flops_per_example
from vitdsi.paper.recipes import paper_recipe


def test_flops_are_those_that_torch_counts() -> None:
    config = paper_recipe("random", 0, 64, ())
    pixels = torch.zeros(130, 3, 64, 64, dtype=torch.uint8)
    trie = assign_ids(config, pixels, ["a"] * 130)
    model = make_model(config.model, trie, pixels, 0)
    with FlopCounterMode(display=False) as counter:
        model(pixels[:2].float(), trie.codes[:2], trie.nodes[:2]).sum().backward()
    tokens, digits = 16 + trie.max_length, trie.max_length
    # Torch does not count its fused attention on a CPU: two products of all pairs of tokens, in three passes.
    attention = 3 * 2 * 2 * tokens * 128 * (5 * tokens + digits)
    assert flops_per_example(config.model, trie) == pytest.approx(
        counter.get_total_flops() / 2 + attention, rel=0.01
    )


def test_flops_of_other_architectures_are_unknown() -> None:
    config = paper_recipe("random", 0, 64, ())
    trie = assign_ids(config, torch.zeros(3, 3, 64, 64, dtype=torch.uint8), ["a"] * 3)
    model = replace(config.model, paper=replace(config.model.paper, architecture="encoder_decoder"))
    assert flops_per_example(model, trie) is None
