from __future__ import annotations

import pytest
import torch
from helpers_codes import random_codes

from vitdsi.config import TrainingConfig
from vitdsi.errors import UsageError
from vitdsi.ids.trie import NONE, Trie
from vitdsi.neighbours import nearest
from vitdsi.training.targets import WeightedRelevance
from vitdsi.training.teacher import label_relevance, own_relevance, teacher_relevance


def lists(count: int = 30, rows: list[int] | None = None, **settings: float) -> WeightedRelevance:
    features = torch.randn(count, 6, generator=torch.Generator().manual_seed(0))
    ids = torch.arange(count)
    return teacher_relevance(features, ids, ids if rows is None else torch.tensor(rows), config(**settings))


def config(**settings: float) -> TrainingConfig:
    return TrainingConfig(**settings)  # type: ignore[arg-type]


def test_teacher_lists_an_image_first_and_then_its_nearest_others() -> None:
    features = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))
    relevance = lists(neighbours=3)
    found, _ = nearest(features, features, 4)
    assert relevance.ids.tolist() == torch.cat([torch.arange(30)[:, None], found[:, 1:]], dim=1).tolist()
    assert (relevance.ids.dtype, relevance.weights.dtype) == (torch.int32, torch.float16)
    torch.testing.assert_close(relevance.weights.float().sum(1), torch.ones(30), atol=1e-3, rtol=0)
    assert relevance.recall == 1


def test_teacher_lists_no_image_twice_if_another_one_is_identical() -> None:
    features = torch.eye(3)[[0, 0, 1, 2]]
    everything = torch.arange(4)
    relevance = teacher_relevance(features, everything, everything, config())
    assert relevance.ids[:2].tolist() == [[0, 1], [1, 0]]
    assert all(len(set(row)) == 2 for row in relevance.ids.tolist())


def test_teacher_takes_at_most_a_tenth_of_the_images_as_neighbours() -> None:
    assert lists(30, neighbours=200).ids.shape == (30, 1 + 3)
    assert lists(5, neighbours=200).ids.shape == (5, 1 + 1)


def test_teacher_weights_follow_the_temperature_and_leave_the_image_its_own_weight() -> None:
    sharp, flat = (lists(600, neighbours=50, temperature=t, self_weight=0.7).weights for t in (0.05, 10.0))
    for weights in (sharp, flat):
        torch.testing.assert_close(weights[:, 0].float(), torch.full((600,), 0.7), atol=1e-3, rtol=0)
    assert (sharp[:, 1:].diff(dim=1) <= 0).all()
    torch.testing.assert_close(flat[:, 1:].float(), torch.full((600, 50), 0.3 / 50), rtol=0.2, atol=0)


def test_few_neighbours_get_at_most_one_percent_each() -> None:
    own = lists(30, neighbours=3, self_weight=0.5).weights[:, 0].float()
    torch.testing.assert_close(own, torch.full((30,), 0.97), atol=1e-3, rtol=0)


def test_teacher_fills_the_lists_of_the_given_rows_only() -> None:
    relevance = lists(rows=[4, 9])
    assert (relevance.ids[[4, 9]] != NONE).all()
    assert (relevance.ids[[0, 5, 29]] == NONE).all()
    assert torch.equal(relevance.ids[[4, 9]], lists().ids[[4, 9]])


def test_teacher_ignores_ids_that_are_not_live() -> None:
    features = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))
    live = torch.tensor([i for i in range(30) if i % 3])
    relevance = teacher_relevance(features, live, live, config(neighbours=2))
    assert (relevance.ids[live] % 3 != 0).all()


def test_only_live_image_is_relevant_to_every_row() -> None:
    relevance = teacher_relevance(
        torch.ones(1, 4), torch.tensor([0]), torch.tensor([0]), config(), torch.ones(2, 4)
    )
    assert relevance.ids.tolist() == [[0], [0], [0]]


def test_further_photos_follow_the_images_and_have_neighbours_only() -> None:
    features = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))
    everything = torch.arange(30)
    relevance = teacher_relevance(features, everything, everything, config(neighbours=3), features[:2] * 2)
    assert relevance.ids.shape == (32, 4)
    assert relevance.ids[30:, 0].tolist() == [0, 1]  # the photos look exactly like these
    torch.testing.assert_close(relevance.weights[30:].float().sum(1), torch.ones(2), atol=1e-3, rtol=0)


def test_lists_of_a_large_collection_are_made_in_blocks_and_nearly_those_of_all_comparisons(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exact = lists(600, neighbours=5)
    monkeypatch.setattr("vitdsi.training.teacher._BLOCK", 128)
    assert torch.equal(lists(600, neighbours=5).ids, exact.ids)
    monkeypatch.setattr("vitdsi.neighbours._MOST_COMPARISONS", 0)
    monkeypatch.setattr("vitdsi.neighbours._LISTS_PER_ROOT", 0.5)
    monkeypatch.setattr("vitdsi.neighbours._PROBED", 4)
    found = lists(600, neighbours=5)
    assert torch.equal(found.ids[:, 0], exact.ids[:, 0])
    assert 0.5 < found.recall < 1
    assert all(len(set(row)) == 6 for row in found.ids.tolist())


def test_label_relevance_draws_images_of_the_class_of_the_query() -> None:
    trie = Trie(random_codes("fixed", 6), 3)
    relevance = label_relevance(trie, list("aabbca"), list("cb"))
    drawn = relevance.sample(torch.tensor([0] * 20 + [1] * 20), torch.Generator().manual_seed(0))
    assert set(drawn[:20].tolist()) == {4}
    assert set(drawn[20:].tolist()) == {2, 3}


def test_query_of_a_class_that_is_not_indexed_is_an_error_that_lists_the_classes() -> None:
    trie = Trie(random_codes("fixed", 2), 3)
    with pytest.raises(UsageError, match="the queries have classes dog; the indexed images have bird, cat"):
        label_relevance(trie, ["cat", "bird"], ["cat", "dog"])


def test_own_relevance_is_the_image_itself() -> None:
    relevance = own_relevance(3)
    assert relevance.sample(torch.tensor([2, 0]), torch.Generator()).tolist() == [2, 0]
