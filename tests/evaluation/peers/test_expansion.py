from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose

from vitdsi.evaluation.peers.expansion import QueryExpansion
from vitdsi.evaluation.peers.spaces import Raw, normalised


def test_the_query_is_expanded_by_its_first_results_weighted_by_powers_of_their_cosines() -> None:
    vectors = np.random.default_rng(0).uniform(size=(9, 5)).astype(np.float32)
    query = np.random.default_rng(1).uniform(size=(1, 5)).astype(np.float32)
    unit, q = normalised(vectors), normalised(query)
    nearest = np.argsort(-(unit @ q[0]))[:3]
    expanded = q[0] + sum((unit[i] @ q[0]) ** 3 * unit[i] for i in nearest)
    _, scores = QueryExpansion(Raw(), share=1.0).fit(vectors).search(query, 9)
    assert_allclose(scores[0], np.sort(unit @ expanded / np.linalg.norm(expanded))[::-1], rtol=1e-5)


def test_augmented_images_are_expanded_by_their_neighbours() -> None:
    vectors = np.array([[1, 0, 0], [0.9, 0.1, 0], [0.9, 0, 0.1], [0, 1, 0], [0, 0.9, 0.1], [0, 1, 0.1]])
    plain = QueryExpansion(Raw(), alpha=3).fit(vectors)
    augmented = QueryExpansion(Raw(), alpha=3, augment=True).fit(vectors)
    query = np.array([[1.0, 0.0, 0.0]])
    # Images of one group are nearer to each other than before.
    assert np.ptp(augmented.search(query, 3)[1]) < np.ptp(plain.search(query, 3)[1])
