from __future__ import annotations

import numpy as np

from vitdsi.evaluation.peers.base import Given
from vitdsi.evaluation.peers.spaces import Raw, Standardised, normalised


def test_rows_have_unit_length_and_rows_of_zeros_stay_zeros() -> None:
    rows = np.array([[0, 0], [3, 4], [3e38, 0], [0, 1e-42]], dtype=np.float32)
    assert np.allclose(normalised(rows), [[0, 0], [0.6, 0.8], [1, 0], [0, 1]], atol=1e-6)
    assert normalised(rows[:0]).shape == (0, 2)


def test_the_raw_space_only_scales() -> None:
    rows = np.array([[3, 4]], dtype=np.float32)
    assert np.allclose(Raw().fit(Given(rows, 1)).embed(rows), [[0.6, 0.8]])


def test_standardised_features_vary_alike_and_constant_ones_do_not_vary() -> None:
    rows = np.random.default_rng(0).normal(3, 1, size=(2000, 4)).astype(np.float32) * [2, 3, 4, 0]
    embedded = Standardised().fit(Given(rows, 2000)).embed(rows)
    assert np.allclose(np.linalg.norm(embedded, axis=1), 1, atol=1e-5)
    assert np.allclose((embedded**2).mean(0), [1 / 3, 1 / 3, 1 / 3, 0], atol=0.02)
