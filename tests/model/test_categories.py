from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from sklearn.covariance import ledoit_wolf_shrinkage
from torch import Tensor

from vitdsi.model.axes import principal_axes, sampled
from vitdsi.model.categories import (
    Categories,
    _ledoit_wolf,
    categories_from_classes,
    categories_from_neighbours,
)

GROUPS, EACH, WIDTH = 4, 30, 24


def groups(seed: int = 0, spread: float = 1.6) -> tuple[Tensor, Tensor]:
    """Features (120, 24) around four centres that overlap, and the group of each."""
    centres = torch.randn(GROUPS, WIDTH, generator=torch.Generator().manual_seed(99))
    of = torch.arange(GROUPS).repeat_interleave(EACH)
    generator = torch.Generator().manual_seed(seed)
    return centres[of] + spread * torch.randn(len(of), WIDTH, generator=generator), of


def embed(categories: Categories, features: Tensor) -> Tensor:
    return F.normalize((features - categories.mean) @ categories.weight.T, dim=1)


def mean_average_precision(scores: Tensor, of: Tensor, queries: Tensor) -> float:
    hits = (of[scores.argsort(dim=1, descending=True)] == queries[:, None]).float()
    precision = hits.cumsum(1) / torch.arange(1, hits.shape[1] + 1)
    return float(((precision * hits).sum(1) / hits.sum(1)).mean())


def test_categories_from_neighbours_rank_photos_of_a_group_above_what_cosine_does() -> None:
    features, of = groups()
    queries, query_of = groups(seed=1)
    found = categories_from_neighbours(features, 8)
    assert found.rows.shape == (len(features), 8)
    torch.testing.assert_close(found.rows.norm(dim=1), torch.ones(len(features)))
    learned = mean_average_precision(embed(found, queries) @ found.rows.T, of, query_of)
    centred = F.normalize(features - features.mean(0), dim=1)
    cosine = F.normalize(queries - features.mean(0), dim=1) @ centred.T
    assert learned > mean_average_precision(cosine, of, query_of) + 0.05


def test_images_outside_of_the_sample_join_the_groups_of_the_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    features, of = groups()
    queries, query_of = groups(seed=1)
    monkeypatch.setattr("vitdsi.model.axes.SAMPLE", 60)
    monkeypatch.setattr("vitdsi.model.categories.BLOCK", 25)
    found = categories_from_neighbours(features.half(), 8)
    torch.testing.assert_close(found.rows.norm(dim=1), torch.ones(len(features)))
    sample, others = sampled(features), torch.ones(len(features), dtype=torch.bool)
    alone = categories_from_neighbours(features[sample].half(), 8)
    assert torch.equal(found.rows[sample], alone.rows) and torch.equal(found.weight, alone.weight)
    others[sample] = False
    scores = embed(found, queries)
    extended = mean_average_precision(scores @ found.rows[others].T, of[others], query_of)
    by_map = mean_average_precision(scores @ embed(found, features[others]).T, of[others], query_of)
    assert extended > by_map + 0.02


def test_classes_are_learned_in_blocks_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    features, of = groups()
    classes = [f"class {i}" for i in of.tolist()]
    whole = categories_from_classes(features, classes, 100, 8)
    monkeypatch.setattr("vitdsi.model.categories.BLOCK", 32)
    torch.testing.assert_close(categories_from_classes(features, classes, 100, 8).weight, whole.weight)


def test_categories_from_classes_put_photos_near_the_code_of_their_class() -> None:
    features, of = groups()
    queries, query_of = groups(seed=1)
    classes = [f"class {i}" for i in of.tolist()]
    found = categories_from_classes(features, classes, 100, 8)
    assert found.rows.shape == (100, 8)
    assert len(torch.unique(found.rows.round(decimals=4), dim=0)) == GROUPS
    nearest = (embed(found, queries) @ found.rows.T).argmax(1)
    assert (of[nearest] == query_of).float().mean() > 0.8


def test_what_varies_within_classes_counts_little() -> None:
    generator = torch.Generator().manual_seed(0)
    of = torch.arange(3).repeat_interleave(10)
    features = torch.randn(30, 6, generator=generator)
    features[:, :3] += 6 * torch.eye(3)[of]
    features[:, 3] *= 20
    found = categories_from_classes(features, [str(i) for i in of.tolist()], 30, 4)
    axes = found.weight.norm(dim=0)
    assert axes[3] < 0.2 * axes[:3].min()
    assert not found.weight[3:].any()  # three classes have three vectors


def test_covariance_is_shrunk_as_in_scikit_learn() -> None:
    vectors = torch.randn(20, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    vectors *= torch.arange(1, 8)
    fourth_power = float(vectors.square().sum(1).square().mean())
    share = _ledoit_wolf(vectors.T @ vectors / 20, fourth_power, 20)
    assert share == pytest.approx(ledoit_wolf_shrinkage(vectors.numpy(), assume_centered=True))


def test_classes_of_a_single_photo_are_told_apart() -> None:
    features = torch.randn(8, 12, generator=torch.Generator().manual_seed(0))
    found = categories_from_classes(features, [str(i) for i in range(8)], 8, 10)
    assert (embed(found, features) @ found.rows.T).argmax(1).tolist() == list(range(8))


def test_a_single_class_has_finite_vectors() -> None:
    found = categories_from_classes(
        torch.randn(4, 6, generator=torch.Generator().manual_seed(0)), ["a"] * 4, 4, 3
    )
    assert bool(found.weight.isfinite().all()) and bool(found.rows.isfinite().all())


def test_more_classes_than_numbers_are_told_apart() -> None:
    features = torch.eye(6).repeat(5, 1)
    classes = [str(i) for i in range(6)] * 5
    found = categories_from_classes(features, classes, 6, 3)
    nearest = (embed(found, torch.eye(6)) @ found.rows.T).argmax(1)
    assert nearest.tolist() == list(range(6))


def test_images_that_are_hardly_like_others_take_over_little(monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.randn(40, 200, generator=torch.Generator().manual_seed(0))
    axes = principal_axes(features - features.mean(0), 39)[1]
    vectors = F.normalize((features - features.mean(0)) @ axes.T, dim=1)
    kept = (categories_from_neighbours(features, 39).rows * vectors).sum(1).mean()
    monkeypatch.setattr("vitdsi.model.categories._OWN_WEIGHT", 0.0)
    assert kept > (categories_from_neighbours(features, 39).rows * vectors).sum(1).mean() + 0.1


@pytest.mark.parametrize("count", [1, 2, 7])
def test_few_images_keep_their_own_vectors(count: int) -> None:
    features = torch.rand(count, 5, generator=torch.Generator().manual_seed(0))
    found = categories_from_neighbours(features, 4)
    torch.testing.assert_close(embed(found, features), found.rows)
    assert bool(found.rows.isfinite().all())


def test_images_with_a_duplicate_and_fewer_axes_than_numbers_have_finite_vectors() -> None:
    features = torch.rand(20, 3, generator=torch.Generator().manual_seed(0))[[*range(19), 0]]
    found = categories_from_neighbours(features, 8)
    assert bool(found.weight.isfinite().all())
    assert bool(found.rows.isfinite().all())
    torch.testing.assert_close(found.rows[0], found.rows[19], atol=1e-3, rtol=0)
