from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose

from vitdsi.evaluation.peers.base import Given
from vitdsi.evaluation.peers.principal import Principal
from vitdsi.evaluation.peers.spaces import normalised


def test_vectors_are_centred_and_cosines_stay_those_of_the_centred_vectors_where_axes_suffice() -> None:
    vectors = np.random.default_rng(0).uniform(size=(50, 20)).astype(np.float32)
    centred = normalised(vectors) - normalised(vectors).mean(0)
    embedded = Principal().fit(Given(vectors, 50)).embed(vectors)
    assert embedded.shape == (50, 20)
    assert_allclose(embedded @ embedded.T, normalised(centred) @ normalised(centred).T, atol=1e-4)


def test_at_most_128_axes_are_kept() -> None:
    vectors = np.random.default_rng(0).uniform(size=(200, 150)).astype(np.float32)
    assert Principal().fit(Given(vectors, 200)).embed(vectors[:3]).shape == (3, 128)


def test_axes_along_which_no_images_differ_are_left_out() -> None:
    vectors = np.random.default_rng(0).uniform(size=(3, 150)).astype(np.float32)
    assert Principal().fit(Given(vectors, 3)).embed(vectors).shape == (3, 2)
    assert Principal().fit(Given(vectors[:1], 1)).embed(vectors).shape == (3, 0)
