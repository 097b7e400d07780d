"""Each variation of the paper's section 3.2.1 is a valid setting and gives a model that can be trained."""

from __future__ import annotations

from operator import attrgetter

import pytest
import torch

from vitdsi.ids import IdContext, scheme_named
from vitdsi.ids.trie import Trie
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.paper.ablation import vary_options
from vitdsi.paper.recipes import paper_recipe
from vitdsi.paper.runner import Options
from vitdsi.paper.variations import ABLATIONS
from vitdsi.training.targets import next_token_loss, one_hot_targets


def loss(overrides: list[str], image_size: int) -> torch.Tensor:
    """The loss of the paper's model with these settings on a batch of noise."""
    config = paper_recipe("random", 0, image_size, overrides)
    variable = config.ids.paper.variable_length
    trie = Trie(
        scheme_named("random").assign(IdContext(128, config.ids.base or 10, variable_length=variable)), 10
    )
    torch.manual_seed(0)
    model = Seq2Seq(config.model, trie, (3, image_size, image_size))
    ids = torch.arange(2)
    scores = model(torch.rand(2, 3, image_size, image_size), trie.codes[ids], trie.nodes[ids])
    return next_token_loss(scores, one_hot_targets(trie, ids), None).mean()


@pytest.mark.parametrize(
    ("override", "image_size"),
    [
        ("model.paper.patch_size=8", 64),
        ("model.paper.patch_size=16", 64),
        ("model.paper.patch_size=32", 64),
        ("model.paper.patch_size=16", 160),
        ("model.paper.patch_size=32", 256),
        ("model.paper.positions=learned", 64),
        ("model.paper.positions=sincos1d", 64),
        ("model.paper.positions=sincos2d", 64),
        ("model.paper.dropout=0", 64),
        ("model.paper.dropout=0.2", 64),
        ("model.embed_dim=64", 64),
        ("model.mlp_dim=512", 64),
        ("model.depth=2", 64),
        ("model.num_heads=8", 64),
        ("model.paper.architecture=single_stack", 64),
        ("model.paper.architecture=encoder_decoder", 64),
        ("ids.paper.variable_length=false", 64),
        ("ids.paper.variable_length=true", 64),
    ],
)
def test_each_variation_gives_a_model_with_a_finite_loss(override: str, image_size: int) -> None:
    value = loss([override], image_size)
    value.backward()  # type: ignore[no-untyped-call]
    assert 1.0 < float(value.detach()) < 50.0


@pytest.mark.parametrize("name", ABLATIONS)
def test_each_value_of_an_ablation_is_a_valid_setting(name: str) -> None:
    variation = ABLATIONS[name]
    for value in variation.values:
        options = vary_options(Options(), variation, value)
        if variation.setting in ("image_size", "indexing_share"):
            assert float(getattr(options, variation.setting)) == float(value)
            continue
        config = paper_recipe("random", 0, options.image_size, options.overrides)
        found = attrgetter(variation.setting)(config)
        assert str(found) == value or float(found) == float(value)
        assert options.early_stopping == variation.early_stopping
