from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers_codes import changed, model_config

from vitdsi.config import ModelConfig
from vitdsi.ids import IdContext, scheme_named
from vitdsi.ids.trie import Trie
from vitdsi.model.initialise import initialise
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.search.beam import beam_search

CONFIG = model_config(embedding_dim=32, prototypes=4)


def features_of(count: int, width: int) -> torch.Tensor:
    """Like a backbone's: not negative, and some axes far wider than others."""
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, width, generator=generator).relu() * torch.linspace(2, 0.01, width)


def untrained(features: torch.Tensor, config: ModelConfig = CONFIG) -> tuple[Seq2Seq, Trie]:
    torch.manual_seed(0)
    trie = Trie(
        scheme_named("semantic").assign(IdContext(len(features), 16, features=features.flatten(1).numpy())),
        16,
    )
    return Seq2Seq(config, trie, tuple(features.shape[1:])).eval(), trie


@torch.inference_mode()
def test_initialised_model_finds_its_images_before_training() -> None:
    features = features_of(60, 64)
    model, trie = untrained(features)
    initialise(model, trie, features, seed=0)
    ids, _ = beam_search(model, features, trie, 60)
    assert np.mean(ids[:, 0].numpy() == np.arange(60)) > 0.9


def test_half_precision_features_start_the_model_as_their_floats_do() -> None:
    features = features_of(60, 64).half()
    model, trie = untrained(features.float())
    other, _ = untrained(features.float())
    initialise(model, trie, features, seed=0)
    initialise(other, trie, features.float(), seed=0)
    state = other.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_only_parameters_that_start_from_features_are_changed() -> None:
    features = features_of(60, 64)
    model, trie = untrained(features)
    before = {id(value): value.clone() for value in model.parameters()}
    initialise(model, trie, features, seed=0)
    changed = {id(value) for value in model.parameters() if not torch.equal(value, before[id(value)])}
    from_features = {id(value) for value in model.parameters_from_features()}
    names = {name for name, value in model.named_parameters() if id(value) in from_features}
    assert names == {
        "stem.principal.weight",
        "stem.category.weight",
        "head.leaves.weight",
        "head.branches.weight",
    }
    assert from_features < changed
    assert {name for name, value in model.named_parameters() if id(value) in changed - from_features} == {
        "head.branch_bias",
    }


@pytest.mark.parametrize("head", ["trie", "digits"])
def test_model_whose_stem_makes_no_embeddings_stays_as_it_is(head: str) -> None:
    features = features_of(30, 9 * 20).view(30, 9, 20)
    model, trie = untrained(features, changed(CONFIG, stem="map", head=head))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    initialise(model, trie, features, seed=0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
