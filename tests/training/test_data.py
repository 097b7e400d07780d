from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers_codes import random_codes

from vitdsi.config import load_config
from vitdsi.ids.trie import Trie
from vitdsi.training.alterations import Alterations
from vitdsi.training.data import TrainingData, held_out_queries, training_data
from vitdsi.training.targets import OwnId

COUNT = 20


def built(more: int = 0, *overrides: str) -> TrainingData:
    """The data of 20 images and `more` further photos, where altered copies of three images are held out."""
    features = torch.rand(COUNT + more, 6, generator=torch.Generator().manual_seed(0))
    rows = torch.tensor([2, 5, 7])
    alterations = Alterations(torch.zeros(1, 6), rows, features[rows] + 1)
    trie = Trie(random_codes("mixed", COUNT), 3)
    return training_data(load_config(overrides=overrides), trie, features, OwnId(), alterations)


def test_without_further_photos_all_images_train_and_altered_copies_are_held_out() -> None:
    data = built()
    assert data.indexing_rows.tolist() == data.retrieval_rows.tolist() == list(range(COUNT))
    assert data.held_out_rows.tolist() == [2, 5, 7]
    assert torch.equal(data.held_out_inputs, data.views.clean(torch.tensor([2, 5, 7])) + 1)


def test_a_tenth_of_the_further_photos_is_held_out_instead_of_altered_copies() -> None:
    data = built(35)
    held_out = set(data.held_out_rows.tolist())
    assert len(held_out) == 3 and held_out <= set(range(COUNT, COUNT + 35))
    assert torch.equal(data.held_out_inputs, data.views.clean(data.held_out_rows))
    assert set(data.retrieval_rows.tolist()) == set(range(COUNT + 35)) - held_out
    assert data.indexing_rows.tolist() == list(range(COUNT))


def test_at_most_256_further_photos_are_held_out() -> None:
    assert len(built(3000).held_out_rows) == 256


def test_too_few_further_photos_leave_the_altered_copies_held_out() -> None:
    data = built(9)
    assert data.held_out_rows.tolist() == [2, 5, 7]
    assert data.retrieval_rows.tolist() == list(range(COUNT + 9))


def test_same_seed_holds_out_the_same_photos() -> None:
    rows = [built(200, f"seed={seed}").held_out_rows.tolist() for seed in (0, 0, 1)]
    assert rows[0] == rows[1] != rows[2]


@pytest.mark.parametrize(
    ("labels", "schedule", "first"),
    [("folder", "sequential", COUNT), ("folder", "joint", 0), ("none", "sequential", 0)],
)
def test_retrieval_trains_on_further_photos_alone_only_in_the_paper_s_schedule_with_classes(
    labels: str, schedule: str, first: int
) -> None:
    data = built(30, f"labels={labels}", f"training.paper.schedule={schedule}")
    assert data.retrieval_rows.min() == first


def test_a_tenth_of_further_photos_is_held_out_the_same_at_each_call() -> None:
    rows = held_out_queries(3, 100, 57)
    assert len(rows) == len(set(rows.tolist())) == 5
    assert rows.min() >= 100 and rows.max() < 157
    assert np.array_equal(rows, held_out_queries(3, 100, 57))
    assert len(held_out_queries(3, 100, 10_000)) == 256
    assert not len(held_out_queries(3, 100, 0))
