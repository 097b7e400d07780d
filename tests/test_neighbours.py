from __future__ import annotations

import numpy as np
import pytest
import torch

from vitdsi.neighbours import Neighbours, affinity, affinity_with, nearest, neighbour_weights


def cosines(queries: torch.Tensor, features: torch.Tensor) -> np.ndarray:
    a, b = queries.numpy().astype(np.float64), features.numpy().astype(np.float64)
    return a @ b.T / (np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1))


@pytest.mark.parametrize("chunk", [1, 7, 1024])
def test_nearest_agrees_with_brute_force(chunk: int) -> None:
    features = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))
    exact = cosines(features, features)
    ids, found = nearest(features, features, 5, chunk=chunk)
    order = np.argsort(-exact, axis=1)[:, :5]
    np.testing.assert_array_equal(ids.numpy(), order)
    np.testing.assert_allclose(found.numpy(), np.take_along_axis(exact, order, axis=1), atol=1e-6)


def test_neighbours_do_not_depend_on_the_norm_of_features() -> None:
    features = torch.randn(12, 4, generator=torch.Generator().manual_seed(1))
    scales = torch.linspace(0.1, 50, 12)[:, None]
    plain, _ = nearest(features, features, 4)
    scaled, _ = nearest(features, features * scales, 4)
    assert plain.tolist() == scaled.tolist()


def test_k_is_limited_to_the_number_of_rows() -> None:
    ids, found = nearest(torch.eye(4), torch.eye(4), 99)
    assert ids.shape == found.shape == (4, 4)
    assert all(len(set(row)) == 4 for row in ids.tolist())
    assert bool(found.isfinite().all())


def test_affinity_is_symmetric_and_its_largest_eigenvalue_is_one() -> None:
    vectors = torch.rand(20, 5, generator=torch.Generator().manual_seed(2))
    dense = affinity(vectors, 4, 3.0).toarray()
    np.testing.assert_allclose(dense, dense.T, atol=1e-12)
    assert np.linalg.eigvalsh(dense).max() == pytest.approx(1.0)
    assert (np.diag(dense) == 0).all()


def test_affinity_connects_each_vector_with_its_nearest_others() -> None:
    vectors = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
    dense = affinity(vectors, 1, 1.0).toarray()
    assert (dense > 0).tolist() == [
        [False, True, False, False],
        [True, False, False, False],
        [False, False, False, True],
        [False, False, True, False],
    ]


def test_vectors_without_a_positive_cosine_have_no_affinity() -> None:
    assert affinity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), 1, 3.0).toarray().max() == 0


def test_a_new_vector_is_connected_as_one_more_node_of_the_graph() -> None:
    generator = torch.Generator().manual_seed(3)
    vectors, new = torch.rand(12, 5, generator=generator), torch.rand(2, 5, generator=generator)
    weight = neighbour_weights(vectors, 3, 2.0)
    ids, found = affinity_with(new, vectors, weight, 3, 2.0)
    for row, (others, affinities) in enumerate(zip(ids.tolist(), found.tolist(), strict=True)):
        weights = cosines(new[row, None], vectors)[0, others] ** 2 / 2
        degrees = weight.toarray().sum(1)[others]
        np.testing.assert_allclose(affinities, weights / np.sqrt(weights.sum() * degrees), rtol=1e-4)


@pytest.fixture
def in_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours are searched in 26 lists."""
    monkeypatch.setattr("vitdsi.neighbours._MOST_COMPARISONS", 0)
    monkeypatch.setattr("vitdsi.neighbours._LISTS_PER_ROOT", 0.6)


VECTORS = (
    torch.randn(2000, 8, generator=torch.Generator().manual_seed(4)) * torch.linspace(1, 9, 2000)[:, None]
)


def test_few_comparisons_are_all_made() -> None:
    among = Neighbours(VECTORS, queries=2000)
    assert among.exact and among.recall(9) == 1
    assert torch.equal(among.search(VECTORS, 9)[0], nearest(VECTORS, VECTORS, 9)[0])


@pytest.mark.usefixtures("in_lists")
def test_search_in_lists_finds_nearly_all_and_measures_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitdsi.neighbours._PROBED", 8)
    among = Neighbours(VECTORS, queries=1)
    assert not among.exact
    ids, found = among.search(VECTORS, 10)
    exact, _ = nearest(VECTORS, VECTORS, 10)
    assert ids[:, 0].tolist() == list(range(2000))
    np.testing.assert_allclose(
        found.numpy(), np.take_along_axis(cosines(VECTORS, VECTORS), ids.numpy(), 1), atol=1e-5
    )
    share = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(ids.tolist(), exact.tolist(), strict=True)])
    assert 0.8 < share < 1
    assert among.recall(10) == pytest.approx(share, abs=0.05)
    assert torch.equal(ids, Neighbours(VECTORS, queries=1).search(VECTORS, 10)[0])


@pytest.mark.usefixtures("in_lists")
def test_lists_with_fewer_vectors_than_asked_for_repeat_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitdsi.neighbours._PROBED", 1)
    ids, found = Neighbours(VECTORS, queries=1).search(VECTORS[:5], 1500)
    assert ids.shape == (5, 1500) and bool((ids >= 0).all()) and bool(found.isfinite().all())
    assert ids[:, -1].tolist() == ids[:, 0].tolist() == list(range(5))
