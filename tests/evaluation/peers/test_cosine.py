from __future__ import annotations

import numpy as np

from vitdsi.evaluation.peers.cosine import Cosine
from vitdsi.evaluation.peers.spaces import Raw


def test_search_is_exact_cosine_whatever_the_lengths() -> None:
    rng = np.random.default_rng(2)
    items = rng.normal(size=(200, 16)) * rng.uniform(0.1, 50, size=(200, 1))
    queries = 7 * rng.normal(size=(300, 16))
    ids, scores = Cosine(Raw()).fit(items).search(queries, 10)
    expected = (queries / np.linalg.norm(queries, axis=1, keepdims=True)) @ (
        items / np.linalg.norm(items, axis=1, keepdims=True)
    ).T
    assert np.array_equal(ids, np.argsort(-expected, axis=1)[:, :10])
    assert np.allclose(scores, -np.sort(-expected, axis=1)[:, :10], atol=1e-5)


def test_vectors_take_four_bytes_a_number() -> None:
    assert Cosine(Raw()).fit(np.ones((3, 20))).bytes_per_image == 80
