"""Initialising a model from features, so that it finds the images of its collection before the first training step.

An untrained model then ranks nearly as a nearest-neighbour search over the features does, and training starts there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vitdsi.config import ModelConfig
from vitdsi.ids.trie import Trie
from vitdsi.model.categories import Categories, categories_from_neighbours
from vitdsi.model.pictures import Pictures, pictures_from_features
from vitdsi.model.seq2seq import Seq2Seq


def make_model(
    config: ModelConfig,
    trie: Trie,
    features: Tensor,
    seed: int,
    pictures: Pictures | None = None,
    categories: Categories | None = None,
) -> Seq2Seq:
    """Make a model for stored features (N, *shape) of ids 0 .. N - 1, with seeded weights, and initialise it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Seq2Seq(config, trie, tuple(features.shape[1:]))
    initialise(model, trie, features, seed, pictures, categories)
    return model


@torch.no_grad()
def initialise(
    model: Seq2Seq,
    trie: Trie,
    features: Tensor,
    seed: int,
    pictures: Pictures | None = None,
    categories: Categories | None = None,
) -> None:
    """Set the weights of the stem that start from features, and imprint the head with the vectors of ids 0 .. N - 1.

    Does nothing if the stem makes no embeddings: those of untrained layers carry no information.

    Args:
        features: (N, *input_shape) features of the images.
        pictures: what was learned about pictures; None learns it from the features alone.
        categories: what was learned about categories; None learns it from the features alone, if the stem embeds them.
    """
    if not model.stem.embeds:
        return
    features, parts = features.float(), model.stem.categories
    if pictures is None:
        pictures = pictures_from_features(features, model.config.pictures)
    if categories is None and parts:
        categories = categories_from_neighbours(features, parts)
    vectors = model.stem.fit(pictures, categories)
    model.head.imprint(trie, torch.arange(len(features)), vectors, seed)
