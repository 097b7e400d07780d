from __future__ import annotations

import numpy as np
import pytest
import torch

from vitdsi.relevance import nearest, neighbour_weights


def cosines(queries: torch.Tensor, features: torch.Tensor) -> np.ndarray:
    a, b = queries.numpy().astype(np.float64), features.numpy().astype(np.float64)
    return a @ b.T / (np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1))


@pytest.mark.parametrize("chunk", [1, 7, 1024])
@pytest.mark.parametrize("exclude_own", [False, True])
def test_nearest_are_those_of_brute_force(chunk: int, exclude_own: bool) -> None:
    features = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))
    exact = cosines(features, features)
    if exclude_own:
        np.fill_diagonal(exact, -np.inf)
    ids, found = nearest(features, features, 5, exclude_own=exclude_own, chunk=chunk)
    order = np.argsort(-exact, axis=1)[:, :5]
    np.testing.assert_array_equal(ids.numpy(), order)
    np.testing.assert_allclose(found.numpy(), np.take_along_axis(exact, order, axis=1), atol=1e-6)


def test_own_row_is_left_out_even_when_another_image_is_identical() -> None:
    features = torch.eye(3)[[0, 0, 1, 2]]
    ids, _ = nearest(features, features, 3, exclude_own=True)
    assert ids[:2, 0].tolist() == [1, 0]
    assert all(i not in row for i, row in enumerate(ids.tolist()))


def test_length_of_a_feature_does_not_matter() -> None:
    features = torch.randn(12, 4, generator=torch.Generator().manual_seed(1))
    scales = torch.linspace(0.1, 50, 12)[:, None]
    plain, _ = nearest(features, features, 4, exclude_own=True)
    scaled, _ = nearest(features, features * scales, 4, exclude_own=True)
    assert plain.tolist() == scaled.tolist()


@pytest.mark.parametrize(("exclude_own", "expected"), [(False, 4), (True, 3)])
def test_k_is_cut_to_the_rows_there_are(exclude_own: bool, expected: int) -> None:
    ids, found = nearest(torch.eye(4), torch.eye(4), 99, exclude_own=exclude_own)
    assert ids.shape == found.shape == (4, expected)
    assert all(len(set(row)) == expected for row in ids.tolist())
    assert bool(found.isfinite().all())


def test_weights_sum_to_one_and_follow_the_temperature() -> None:
    found = torch.tensor([[0.9, 0.5, 0.1], [0.2, 0.2, 0.2]])
    sharp, flat = neighbour_weights(found, 0.05), neighbour_weights(found, 10.0)
    for weights in (sharp, flat):
        torch.testing.assert_close(weights.sum(1), torch.ones(2))
        torch.testing.assert_close(weights[1], torch.full((3,), 1 / 3))
    assert (sharp[0].diff() < 0).all()
    assert sharp[0, 0] > 0.99 > 0.4 > flat[0, 0]
    torch.testing.assert_close((sharp[0, 0] / sharp[0, 1]).log(), torch.tensor(0.4 / 0.05))
