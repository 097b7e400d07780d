from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from helpers_stored import DIM, collection, stored

from vitdsi.backbones.cache import FeatureCache
from vitdsi.collection.recall import recall, with_features
from vitdsi.collection.remove import remove


class CachedReader:
    """Reads nothing but a cache, as `FeatureReader.recall` does."""

    def __init__(self, folder: Path, known: list[int]) -> None:
        given = collection(60)
        self.cache = FeatureCache(folder, "toy")
        hashes = [given.hashes[i] for i in known]
        thumbnails = given.thumbnails[known].numpy()
        self.cache.add(hashes, given.features[known].numpy(), thumbnails)

    def recall(self, hashes: list[str]) -> tuple[np.ndarray, torch.Tensor]:
        features = torch.empty(len(hashes), DIM, dtype=torch.float16)
        return self.cache.read(self.cache.completed(hashes), features.numpy()), features


def test_features_of_some_ids_come_from_the_cache(tmp_path: Path) -> None:
    state = stored()
    assert state.features is not None
    reader = CachedReader(tmp_path, [0, 3, 5, 8])
    found, features = recall(state, torch.tensor([8, 2, 3]), reader)  # type: ignore[arg-type]
    assert found.tolist() == [8, 3]
    assert torch.equal(features, state.features[[8, 3]])


def test_state_gets_features_only_if_the_cache_has_those_of_all_live_images(tmp_path: Path) -> None:
    whole = stored()
    assert whole.features is not None
    state = replace(whole, features=None)
    reader = CachedReader(tmp_path, [i for i in range(60) if i != 7])
    assert with_features(state, reader) is state  # type: ignore[arg-type]
    assert with_features(whole, reader) is whole  # type: ignore[arg-type]
    found = with_features(remove(state, [7]), reader).features  # type: ignore[arg-type]
    assert found is not None
    kept = [i for i in range(60) if i != 7]
    assert torch.equal(found[kept], whole.features[kept]) and not found[7].any()
