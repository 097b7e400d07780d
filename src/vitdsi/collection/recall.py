"""Features that an index does not keep: the feature cache has them, by the content of the image files."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from vitdsi.backbones.reader import FeatureReader
from vitdsi.state import IndexState

__all__ = ["recall", "with_features"]


def recall(state: IndexState, ids: Tensor, reader: FeatureReader) -> tuple[Tensor, Tensor]:
    """Return those of these ids (n,) whose features the cache has, and these features (m, *shape)."""
    found, features = reader.recall(state.hashes.at(ids.numpy()))
    kept = torch.from_numpy(found)
    return ids[kept], features[kept]


def with_features(state: IndexState, reader: FeatureReader) -> IndexState:
    """Return the state with the features of all live images, if it has them or the cache does; otherwise as it is.

    Those of removed images are zeros.
    """
    live = state.trie.live_ids()
    if state.features is not None or not len(live):
        return state
    found, some = recall(state, live, reader)
    if len(found) < len(live):
        return state
    if len(live) < len(state.image_ids):
        features = some.new_zeros(len(state.image_ids), *some.shape[1:])
        features[live] = some
        some = features
    return replace(state, features=some)
