from __future__ import annotations

import warnings

import numpy as np
import pytest

from vitdsi.kmeans import count_distinct, kmeans, nearest_centres


def blobs(groups: int = 4, each: int = 25) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = np.repeat(10 * np.eye(groups, 6), each, axis=0)
    return (centres + rng.normal(size=centres.shape) * 0.1).astype(np.float32)


def test_kmeans_finds_separate_groups_and_their_means() -> None:
    vectors = blobs()
    centres, labels = kmeans(vectors, 4, seed=3, max_iterations=20)
    assert (centres.dtype, centres.shape) == (np.float32, (4, 6))
    assert (labels.dtype, labels.shape) == (np.int64, (100,))
    assert sorted(labels[::25]) == [0, 1, 2, 3]
    for c in range(4):
        np.testing.assert_allclose(centres[c], vectors[labels == c].mean(0), atol=1e-5)
        assert (labels == c).sum() == 25


def test_kmeans_equals_scikit_learn_with_the_same_random_state() -> None:
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    vectors = np.random.default_rng(1).normal(size=(200, 5)).astype(np.float32)
    with threadpool_limits(limits=1):
        expected = KMeans(7, n_init=1, max_iter=5, random_state=12).fit(vectors)
    centres, labels = kmeans(vectors, 7, seed=12, max_iterations=5)
    np.testing.assert_array_equal(centres, expected.cluster_centers_)
    np.testing.assert_array_equal(labels, expected.labels_)


def test_same_seed_gives_the_same_clusters_and_another_does_not() -> None:
    vectors = np.random.default_rng(1).normal(size=(200, 5)).astype(np.float32)
    first, again, other, large = (kmeans(vectors, 7, seed, 5)[1] for seed in (1, 1, 2, 1 + 2**32))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, large)
    assert (first != other).any()


@pytest.mark.parametrize("distinct", [1, 3])
def test_kmeans_with_fewer_distinct_points_returns_fewer_centres(distinct: int) -> None:
    vectors = np.repeat(np.eye(distinct, 4, dtype=np.float32), 5, axis=0)
    centres, labels = kmeans(vectors, 8, seed=0, max_iterations=10)
    assert len(centres) == distinct
    np.testing.assert_allclose(centres[labels], vectors, atol=1e-6)


def test_kmeans_is_silent_about_points_that_differ_only_by_rounding() -> None:
    vectors = np.full((6, 2), 1e6, dtype=np.float32)
    vectors[:3, 0] = np.nextafter(np.float32(1e6), np.float32(2e6))
    vectors[0, 1] = np.float32(1e-30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, labels = kmeans(vectors * np.float32(1e-20), 3, seed=0, max_iterations=10)
    assert len(labels) == 6


def test_count_distinct_stops_at_the_limit() -> None:
    rows = np.array([[1, 2], [1, 2], [3, 4], [5, 6]], dtype=np.float32)
    assert [count_distinct(rows, limit) for limit in (1, 2, 3, 4)] == [1, 2, 3, 3]
    assert count_distinct(rows[:0], 5) == 0


def test_each_vector_beyond_the_sample_belongs_to_its_nearest_centre(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitdsi.kmeans._SAMPLED_PER_CLUSTER", 6)
    vectors = blobs().astype(np.float16)
    centres, labels = kmeans(vectors, 4, seed=0, max_iterations=20)
    distances = np.linalg.norm(vectors[:, None].astype(np.float64) - centres, axis=2)
    np.testing.assert_array_equal(labels, distances.argmin(1))
    assert np.bincount(labels).tolist() == [25, 25, 25, 25]
    np.testing.assert_array_equal(labels, kmeans(vectors, 4, seed=0, max_iterations=20)[1])


def test_vectors_are_assigned_in_blocks_as_they_are_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    whole = nearest_centres(vectors, vectors[:7])
    monkeypatch.setattr("vitdsi.kmeans._BLOCK", 8)
    np.testing.assert_array_equal(nearest_centres(vectors, vectors[:7]), whole)
    assert whole[:7].tolist() == list(range(7))


def test_distinct_rows_after_many_equal_ones_are_counted() -> None:
    rows = np.zeros((500, 3), dtype=np.float32)
    rows[490:, 1] = np.arange(10) % 4
    assert count_distinct(rows, 9) == 4
    assert count_distinct(rows, 2) == 2
