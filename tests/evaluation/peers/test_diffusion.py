from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from vitdsi.evaluation.peers.base import Peer
from vitdsi.evaluation.peers.diffusion import Diffusion, DiffusionStep
from vitdsi.evaluation.peers.graph import affinity, neighbours_for
from vitdsi.evaluation.peers.spaces import Raw, normalised

_VECTORS = np.random.default_rng(0).uniform(size=(16, 6)).astype(np.float32)
_QUERY = np.random.default_rng(1).uniform(size=(1, 6)).astype(np.float32)


def _in_order(peer: Peer) -> np.ndarray:
    """The score of each image for the query."""
    ids, scores = peer.fit(_VECTORS).search(_QUERY, 16)
    return scores[0, np.argsort(ids[0])]


def _graph(share: float) -> np.ndarray:
    return np.asarray(affinity(normalised(_VECTORS), neighbours_for(16, share), 3.0).toarray())


def test_one_step_is_the_mean_similarity_of_the_neighbours() -> None:
    similarities = (normalised(_VECTORS) @ normalised(_QUERY)[0]) ** 3
    graph = _graph(1.0)
    expected = graph @ similarities / graph.sum(1)
    assert_allclose(_in_order(DiffusionStep(Raw(), share=1.0)), expected, rtol=1e-4)


def test_diffusion_solves_its_linear_system() -> None:
    similarities = (normalised(_VECTORS) @ normalised(_QUERY)[0]) ** 3
    start = np.where(similarities >= np.sort(similarities)[-10], similarities, 0)
    graph = _graph(1.0)
    roots = np.sqrt(graph.sum(1))
    scores = _in_order(Diffusion(Raw(), share=1.0, alpha=0.9))
    assert_allclose(scores - 0.9 * (graph / roots / roots[:, None]) @ scores, start, atol=1e-4)


@pytest.mark.parametrize("peer", [DiffusionStep(Raw()), Diffusion(Raw())])
def test_images_that_are_like_no_other_are_ranked_by_their_own_similarity(peer: Peer) -> None:
    ids, scores = peer.fit(np.eye(4)).search(np.array([[3.0, 2.0, 1.0, 0.0]]), 4)
    assert ids.tolist() == [[0, 1, 2, 3]] and np.isfinite(scores).all()
