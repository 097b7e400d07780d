from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose

from vitdsi.evaluation.peers.base import Given
from vitdsi.evaluation.peers.half_whitened import HalfWhitened


def test_vectors_are_roots_on_axes_divided_by_the_fourth_root_of_their_variances() -> None:
    vectors = np.random.default_rng(0).uniform(size=(60, 24)).astype(np.float32)
    embedded = HalfWhitened().fit(Given(vectors, 60)).embed(vectors)
    assert embedded.shape == (60, 24)
    roots = np.sqrt(vectors.astype(np.float64))
    centred = roots - roots.mean(0)
    variances, axes = np.linalg.eigh(centred.T @ centred / 60)
    expected = centred @ axes / variances**0.25
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert_allclose(embedded @ embedded.T, expected @ expected.T, atol=1e-4)
