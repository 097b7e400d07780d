from __future__ import annotations

import numpy as np
import pytest

from vitdsi.evaluation.peers.base import Retriever, pad
from vitdsi.evaluation.peers.dense import DenseIndex


@pytest.mark.parametrize("k", [2, 3, 5])
def test_pad_appends_ids_of_minus_one_and_scores_of_minus_infinity(k: int) -> None:
    ids, scores = pad(np.array([[4, 1], [0, 2]], dtype=np.int32), np.array([[0.5, 0.25], [1.0, 0.0]]), k)
    assert ids.tolist() == [[4, 1, *[-1] * (k - 2)], [0, 2, *[-1] * (k - 2)]]
    assert scores.tolist() == [[0.5, 0.25, *[-np.inf] * (k - 2)], [1.0, 0.0, *[-np.inf] * (k - 2)]]
    assert (ids.dtype, scores.dtype) == (np.int64, np.float32)


def test_pad_of_no_queries_has_k_columns() -> None:
    ids, scores = pad(np.empty((0, 0), dtype=np.int64), np.empty((0, 0)), 3)
    assert ids.shape == scores.shape == (0, 3)


def test_dense_index_follows_the_protocol() -> None:
    pytest.importorskip("faiss")
    retriever: Retriever[np.ndarray] = DenseIndex()
    fitted = retriever.fit(np.eye(3, dtype=np.float32))
    assert fitted is retriever
    ids, scores = fitted.search(np.eye(3, dtype=np.float32)[:2], 1)
    assert ids.tolist() == [[0], [1]] and scores.tolist() == [[1.0], [1.0]]
