from __future__ import annotations

import numpy as np
import pytest
from helpers_codes import feature_clusters

from vitdsi.ids import Growth, IdContext, scheme_named
from vitdsi.ids.tree_scheme import directions


def shared_prefix(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Length (n,) of the prefix that two rows of codes share."""
    return (first == second).cumprod(1).sum(1)


@pytest.mark.parametrize("base", [16, 64])
def test_a_copy_goes_into_the_node_of_its_original(base: int) -> None:
    features = feature_clusters(10, 6)
    scheme = scheme_named("semantic")
    codes = scheme.assign(IdContext(60, base, features=features))
    live = np.ones(60, dtype=bool)
    depth = (codes < base).sum(1)
    for i in range(60):
        new = scheme.grow(Growth(codes, live, 1, base, features=features, new_features=features[i : i + 1]))
        assert shared_prefix(new, codes[i : i + 1])[0] == depth[i] - 1


def test_features_of_removed_images_are_not_read() -> None:
    features = feature_clusters(10, 6)
    scheme = scheme_named("semantic")
    codes = scheme.assign(IdContext(60, 16, features=features))
    live = np.arange(60) % 3 > 0
    unknown = np.where(live[:, None], features, np.nan).astype(np.float32)
    new = [scheme.grow(Growth(codes, live, 5, 16, 0, old, features[:5])) for old in (features, unknown)]
    np.testing.assert_array_equal(*new)


def test_directions_are_unit_vectors_from_the_centre() -> None:
    features = np.array([[3, 0], [1, 2], [1, 0], [-1, -2]], dtype=np.float32)  # the mean is (1, 0)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(directions(features), [[1, 0], [0, 1], [0, 0], [-half, -half]], atol=1e-6)
    np.testing.assert_allclose(directions(features[:1], np.array([3.0, 4.0], dtype=np.float32)), [[0, -1]])
