"""Initialising a model from features, so that it finds the images of its collection before the first training step.

An untrained model then ranks nearly as a nearest-neighbour search over the features does, and training starts there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vitdsi.config import ModelConfig
from vitdsi.ids.trie import Trie
from vitdsi.model.categories import Categories, categories_from_neighbours
from vitdsi.model.seq2seq import Seq2Seq


def make_model(
    config: ModelConfig, trie: Trie, features: Tensor, seed: int, categories: Categories | None = None
) -> Seq2Seq:
    """Make a model for stored features (N, *shape) of ids 0 .. N - 1, with seeded weights, and initialise it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Seq2Seq(config, trie, tuple(features.shape[1:]))
    initialise(model, trie, features, seed, categories)
    return model


@torch.no_grad()
def initialise(
    model: Seq2Seq, trie: Trie, features: Tensor, seed: int, categories: Categories | None = None
) -> None:
    """Fit the stem to the features (N, *input_shape) of ids 0 .. N - 1, and imprint the head with their vectors.

    `categories` is what was learned about the categories of the images. None learns it from the features alone, if the
    stem embeds categories.

    Does nothing if the stem makes no embeddings: those of untrained layers carry no information.
    """
    if not model.stem.embeds:
        return
    features = features.float()
    if categories is None and model.stem.categories:
        categories = categories_from_neighbours(features, model.stem.categories)
    vectors = model.stem.fit(features, categories)
    model.head.imprint(trie, torch.arange(len(features)), vectors, seed)
