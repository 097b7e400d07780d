from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers_stored import AlteredReader, collection, own_first, stored

from vitdsi.collection import learn_added
from vitdsi.collection.add import add_new
from vitdsi.state import IndexState


class RecallingReader(AlteredReader):
    """Has the features of the old images in its cache, or of the even ones alone."""

    def __init__(self, given: Any, every: int) -> None:
        super().__init__(given)
        self.old, self.every = collection(60), every

    def recall(self, hashes: Any) -> tuple[np.ndarray, torch.Tensor]:
        rows = [next(i for i, full in enumerate(self.old.hashes) if full.startswith(h)) for h in hashes]
        return np.array([row % self.every == 0 for row in rows]), self.old.features[rows]


def grown(index: IndexState, reader: Any) -> IndexState:
    return add_new(index, collection(3, 1, name="new"), reader)


@pytest.fixture
def trains(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The data of each training run; no new image counts as learned before it."""
    seen: list[Any] = []
    real = learn_added.train

    def train(model: Any, data: Any, *arguments: Any, **options: Any) -> Any:
        seen.append((data, options["penalty"]))
        return real(model, data, *arguments, **options)

    monkeypatch.setattr(learn_added, "SUFFICIENT_ACCURACY", 1.1)
    monkeypatch.setattr(learn_added, "train", train)
    return seen


@pytest.mark.parametrize("every", [1, 2])
def test_old_images_are_replayed_from_the_cache(trains: list[Any], every: int) -> None:
    index = stored()
    fresh = collection(3, 1, name="new")
    after = grown(replace(index, features=None), RecallingReader(fresh, every))
    ((data, penalty),) = trains
    old = [i for i in range(60) if i % every == 0]
    assert sorted({row for row in data.indexing_rows.tolist() if row < 60}) == old and penalty is None
    assert index.features is not None
    assert torch.equal(data.views.clean(torch.tensor([4, 58])), index.features[[4, 58]].float())
    assert torch.equal(data.views.clean(torch.tensor([62])), fresh.features[[2]].float())
    assert own_first(replace(index, trie=after.trie, model=after.model), range(60)) >= 0.95
    assert after.features is None


def test_replay_from_the_cache_learns_what_replay_from_the_index_learns(trains: list[Any]) -> None:
    index, fresh = stored(), collection(3, 1, name="new")
    reader = RecallingReader(fresh, 1)
    kept, recalled = grown(index, reader), grown(replace(index, features=None), reader)
    assert len(trains) == 2
    for name, value in kept.model.state_dict().items():
        assert torch.equal(value, recalled.model.state_dict()[name]), name


def test_weights_are_anchored_where_nothing_can_be_replayed(trains: list[Any]) -> None:
    grown(replace(stored(), features=None), AlteredReader(collection(3, 1, name="new")))
    ((data, penalty),) = trains
    assert penalty is not None and data.indexing_rows.min() == 60
