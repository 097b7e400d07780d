from __future__ import annotations

import numpy as np
import pytest

from vitdsi.errors import UsageError
from vitdsi.evaluation.peers.dense import DenseIndex

pytest.importorskip("faiss")


def vectors(count: int, seed: int = 0, dim: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def cosines(queries: np.ndarray, items: np.ndarray) -> np.ndarray:
    return (queries / np.linalg.norm(queries, axis=1, keepdims=True)) @ (
        items / np.linalg.norm(items, axis=1, keepdims=True)
    ).T


def test_flat_search_is_exact_cosine() -> None:
    lengths = np.random.default_rng(2).uniform(0.1, 50, size=(200, 1)).astype(np.float32)
    items, queries = vectors(200) * lengths, vectors(30, seed=1) * 7
    ids, scores = DenseIndex("flat").fit(items).search(queries, 10)
    expected = cosines(queries, items)
    assert ids.shape == scores.shape == (30, 10)
    assert (ids.dtype, scores.dtype) == (np.int64, np.float32)
    assert np.array_equal(ids, np.argsort(-expected, axis=1)[:, :10])
    assert np.allclose(scores, -np.sort(-expected, axis=1)[:, :10], atol=1e-5)


def test_hnsw_finds_nearly_all_neighbours_and_is_deterministic() -> None:
    items, queries = vectors(500), vectors(40, seed=1)
    exact, _ = DenseIndex("flat").fit(items).search(queries, 10)
    graph = DenseIndex("hnsw", neighbours=16, ef_construction=100, ef_search=64)
    ids, scores = graph.fit(items).search(queries, 10)
    overlap = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(ids, exact, strict=True)])
    assert overlap >= 0.95
    assert np.all(np.diff(scores, axis=1) <= 0)
    assert np.allclose(scores, np.take_along_axis(cosines(queries, items), ids, axis=1), atol=1e-5)
    again, _ = (
        DenseIndex("hnsw", neighbours=16, ef_construction=100, ef_search=64).fit(items).search(queries, 10)
    )
    assert np.array_equal(ids, again)


def test_hnsw_with_small_ef_search_still_finds_k() -> None:
    ids, _ = DenseIndex("hnsw", ef_search=1).fit(vectors(100)).search(vectors(5, seed=1), 60)
    assert all(len(set(row) - {-1}) == 60 for row in ids.tolist())


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_results_are_padded_if_k_exceeds_the_index(kind: str) -> None:
    ids, scores = DenseIndex(kind).fit(vectors(3)).search(vectors(2, seed=1), 5)  # type: ignore[arg-type]
    assert [sorted(row) for row in ids[:, :3].tolist()] == [[0, 1, 2]] * 2
    assert np.array_equal(ids[:, 3:], np.full((2, 2), -1))
    assert np.all(np.isneginf(scores[:, 3:])) and np.isfinite(scores[:, :3]).all()


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_zero_and_extreme_vectors_are_normalised_and_no_queries_give_no_rows(kind: str) -> None:
    items = np.array([[0, 0], [3e38, 0], [0, 1e-42]], dtype=np.float32)
    index = DenseIndex(kind).fit(items)  # type: ignore[arg-type]
    ids, scores = index.search(np.array([[2.0, 1.0]]), 3)
    assert ids.tolist() == [[1, 2, 0]]
    assert np.allclose(scores, [[2 / 5**0.5, 1 / 5**0.5, 0]], atol=1e-6)
    assert index.search(np.empty((0, 2)), 3)[0].shape == (0, 3)


def test_fit_and_search_leave_the_given_vectors_alone() -> None:
    items = vectors(20)
    before = items.copy()
    DenseIndex().fit(items).search(items, 1)
    assert np.array_equal(items, before)


def test_invalid_arguments_are_refused() -> None:
    with pytest.raises(UsageError, match="flat or hnsw"):
        DenseIndex("ivf")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="neighbours=1"):
        DenseIndex("hnsw", neighbours=1)
    with pytest.raises(UsageError, match="before fit"):
        DenseIndex().search(vectors(1), 1)
    for wrong in (np.empty((0, 4)), np.empty((4, 0)), np.zeros(4)):
        with pytest.raises(UsageError, match="shape"):
            DenseIndex().fit(wrong)
    with pytest.raises(UsageError, match="infinite"):
        DenseIndex().fit(np.array([[np.nan, 1.0]]))
    index = DenseIndex().fit(vectors(5))
    with pytest.raises(UsageError, match="k=0"):
        index.search(vectors(1), 0)
    with pytest.raises(UsageError, match=r"\(1, 8\): must be \(Q, 16\)"):
        index.search(vectors(1, dim=8), 1)
