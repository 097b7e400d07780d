"""Every variation of the paper's section 3.2.1 can be named on the command line and gives a model that trains."""

from __future__ import annotations

from operator import attrgetter

import pytest
import torch

from vitdsi.ids import IdContext, scheme_named
from vitdsi.ids.trie import Trie
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.paper.ablation import _varied
from vitdsi.paper.recipes import our_recipe, paper_recipe
from vitdsi.paper.runner import Options
from vitdsi.paper.variations import ABLATIONS
from vitdsi.training.targets import next_token_loss, one_hot_targets


def loss(overrides: list[str], image_size: int) -> torch.Tensor:
    """Of the paper's model with these settings, on a batch of noise."""
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
def test_a_model_of_each_variation(override: str, image_size: int) -> None:
    value = loss([override], image_size)
    value.backward()  # type: ignore[no-untyped-call]
    assert 1.0 < float(value.detach()) < 50.0


def test_the_papers_sizes_are_the_default() -> None:
    config = paper_recipe("random", 0, 160, [])
    model, training = config.model, config.training
    assert (model.stem, model.embed_dim, model.mlp_dim, model.depth) == ("pixels", 128, 256, 6)
    assert (model.paper.patch_size, model.num_heads, model.paper.dropout, model.paper.head) == (16, 4, 0.1, "digits")
    assert (training.learning_rate, training.batch_size, training.augment_prob) == (5e-4, 32, 0.0)
    paper = training.paper
    assert (paper.schedule, paper.target, paper.retrieval_epochs) == ("sequential", "sampled", 75)
    assert (paper.target_accuracy, paper.constrained, paper.weight_decay) == (0.98, False, 0.0)
    assert (config.ids.base, config.ids.paper.variable_length) == (10, True)
    assert our_recipe("random", 0, 160, []).model == model, "ours trains the same model differently"


def test_training_settings_are_each_recipes_own() -> None:
    given = ["training.learning_rate=0.1", "model.paper.dropout=0.2", "ours.training.learning_rate=0.3"]
    assert paper_recipe("random", 0, 64, given).training.learning_rate == 0.1
    ours = our_recipe("random", 0, 64, given)
    assert (ours.training.learning_rate, ours.model.paper.dropout) == (0.3, 0.2)
    assert our_recipe("random", 0, 64, [*given, "ours.model.paper.dropout=0"]).model.paper.dropout == 0
    assert our_recipe("random", 0, 64, [], minutes=2.0).training.minutes == 2.0


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_value_of_an_ablation_is_a_setting(name: str) -> None:
    """A recipe that holds it, or options of the split and the pixels."""
    variation = ABLATIONS[name]
    for value in variation.values:
        options = _varied(Options(), variation, value)
        if variation.setting in ("image_size", "indexing_share"):
            assert float(getattr(options, variation.setting)) == float(value)
            continue
        config = paper_recipe("random", 0, options.image_size, options.overrides)
        found = attrgetter(variation.setting)(config)
        assert str(found) == value or float(found) == float(value)
        assert options.early_stopping == variation.early_stopping
