from __future__ import annotations

import numpy as np
import pytest

from vitdsi.errors import UsageError
from vitdsi.evaluation.peers import peer_named
from vitdsi.evaluation.peers.base import Retriever, best, pad


@pytest.mark.parametrize("k", [2, 3, 5])
def test_pad_appends_ids_of_minus_one_and_scores_of_minus_infinity(k: int) -> None:
    ids, scores = pad(np.array([[4, 1], [0, 2]], dtype=np.int32), np.array([[0.5, 0.25], [1.0, 0.0]]), k)
    assert ids.tolist() == [[4, 1, *[-1] * (k - 2)], [0, 2, *[-1] * (k - 2)]]
    assert scores.tolist() == [[0.5, 0.25, *[-np.inf] * (k - 2)], [1.0, 0.0, *[-np.inf] * (k - 2)]]
    assert (ids.dtype, scores.dtype) == (np.int64, np.float32)


def test_pad_of_no_queries_has_k_columns() -> None:
    ids, scores = pad(np.empty((0, 0), dtype=np.int64), np.empty((0, 0)), 3)
    assert ids.shape == scores.shape == (0, 3)


@pytest.mark.parametrize("k", [1, 3, 10, 40])
def test_best_agrees_with_a_full_sort(k: int) -> None:
    scores = np.random.default_rng(0).normal(size=(7, 40)).astype(np.float32)
    ids, found = best(scores, k)
    order = np.argsort(-scores, axis=1)[:, :k]
    assert np.array_equal(ids, order)
    assert np.array_equal(found, np.take_along_axis(scores, order, axis=1))


def test_best_takes_the_lower_id_of_equal_scores_that_are_all_wanted() -> None:
    scores = np.array([[1, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]], dtype=np.float32)
    assert best(scores, 3)[0].tolist() == [[1, 2, 12]]
    assert best(scores, 13)[0].tolist() == [[1, 2, 12, 0, *range(3, 12)]]


def test_peers_follow_the_protocol_of_retrievers() -> None:
    retriever: Retriever[np.ndarray] = peer_named("raw cosine")
    ids, scores = retriever.fit(np.eye(3, dtype=np.float32)).search(np.eye(3, dtype=np.float32)[:2], 1)
    assert ids.tolist() == [[0], [1]] and scores.tolist() == [[1.0], [1.0]]


def test_bad_arguments_are_refused() -> None:
    peer = peer_named("raw cosine")
    with pytest.raises(UsageError, match="before fit"):
        peer.search(np.ones((1, 4)), 1)
    for wrong in (np.empty((0, 4)), np.empty((4, 0)), np.zeros(4)):
        with pytest.raises(UsageError, match="shape"):
            peer.fit(wrong)
    with pytest.raises(UsageError, match="infinite"):
        peer.fit(np.array([[np.nan, 1.0]]))
    peer.fit(np.ones((5, 4)))
    with pytest.raises(UsageError, match="k=0"):
        peer.search(np.ones((1, 4)), 0)
    with pytest.raises(UsageError, match=r"\(1, 8\): must be \(Q, 4\)"):
        peer.search(np.ones((1, 8)), 1)


def test_further_photos_need_their_labels_and_the_same_width() -> None:
    peer, vectors = peer_named("LDA cosine"), np.ones((4, 3))
    with pytest.raises(UsageError, match="go together"):
        peer.fit(vectors, list("aabb"), more=vectors)
    with pytest.raises(UsageError, match="1 more_labels for 4 photos"):
        peer.fit(vectors, list("aabb"), vectors, ["a"])
    with pytest.raises(UsageError, match=r"more of shape \(4, 2\): must be \(M, 3\)"):
        peer.fit(vectors, list("aabb"), np.ones((4, 2)), list("aabb"))
