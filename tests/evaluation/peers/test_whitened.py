from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose

from vitdsi.evaluation.peers.base import Given
from vitdsi.evaluation.peers.spaces import normalised
from vitdsi.evaluation.peers.whitened import Whitened


def test_whitened_vectors_vary_alike_in_all_directions_where_images_are_many() -> None:
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(4000, 4)) * [4, 1, 1, 0.5]).astype(np.float32)
    embedded = Whitened().fit(Given(vectors, 4000)).embed(vectors)
    assert_allclose(np.linalg.norm(embedded, axis=1), 1, atol=1e-5)
    assert_allclose(np.diag(embedded.T @ embedded) / 4000, 0.25, atol=0.2)
    raw = normalised(vectors)
    assert (raw.T @ raw)[0, 0] / 4000 > 0.6


def test_fewer_images_than_features_give_finite_vectors() -> None:
    vectors = np.random.default_rng(0).uniform(size=(3, 50)).astype(np.float32)
    embedded = Whitened().fit(Given(vectors, 3)).embed(vectors)
    assert np.isfinite(embedded).all()
