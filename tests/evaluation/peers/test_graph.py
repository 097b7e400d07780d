from __future__ import annotations

import numpy as np
import pytest

from vitdsi.evaluation.peers import graph
from vitdsi.evaluation.peers.graph import affinity, neighbours_for
from vitdsi.evaluation.peers.spaces import normalised


def test_affinities_join_an_image_and_its_nearest_in_both_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = normalised(np.random.default_rng(0).uniform(size=(20, 6)).astype(np.float32))
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    near = np.zeros((20, 20), dtype=bool)
    np.put_along_axis(near, np.argsort(-cosines, axis=1)[:, :4], True, axis=1)
    expected = np.where(near | near.T, cosines**3, 0)
    assert np.allclose(affinity(vectors, 4, 3.0).toarray(), expected, atol=1e-6)
    monkeypatch.setattr(graph, "_CHUNK", 7)
    assert np.allclose(affinity(vectors, 4, 3.0).toarray(), expected, atol=1e-6)


def test_a_single_image_has_no_neighbours() -> None:
    assert neighbours_for(1, 1.0) == 0
    assert affinity(np.ones((1, 2), dtype=np.float32), 0, 3.0).toarray().tolist() == [[0.0]]


def test_neighbours_grow_with_the_root_of_the_collection() -> None:
    assert [neighbours_for(count, 1.0) for count in (3, 100, 2500)] == [2, 10, 50]
