from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers_codes import KINDS, random_codes
from helpers_exported import exported_head, exported_trie, random_model

from vitdsi.exported.heads import CodedRows, FloatRows
from vitdsi.ids.trie import Trie
from vitdsi.model.heads.rows import Centres
from vitdsi.model.heads.rows import CodedRows as TorchCodedRows


@torch.no_grad()
def test_coded_rows_are_those_of_the_model() -> None:
    rng = np.random.default_rng(0)
    centres = Centres(12, 4)
    centres.values.copy_(torch.from_numpy(rng.normal(size=(4, 256, 3))))
    table = TorchCodedRows(9, centres)
    table.codes.copy_(torch.from_numpy(rng.integers(0, 256, (9, 4), dtype=np.uint8)))
    ours = CodedRows(table.codes.numpy(), centres.values.numpy())
    numbers = np.array([3, 0, 8, 3])
    vectors = table.take(torch.from_numpy(numbers)).numpy()
    np.testing.assert_array_equal(ours.take(numbers), vectors)
    queries, at = rng.normal(size=(2, 12)).astype(np.float32), np.array([0, 1, 1, 0])
    expected = (queries[at] * vectors).sum(1)
    np.testing.assert_allclose(ours.products(queries, at, numbers), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(FloatRows(vectors).products(queries, at, np.arange(4)), expected, rtol=1e-5)
    units = (queries[:, :7] / np.linalg.norm(queries[:, :7], axis=1, keepdims=True)).astype(np.float32)
    cosines = table.cosines(torch.from_numpy(units), torch.from_numpy(numbers)).numpy().T
    np.testing.assert_allclose(ours.cosines(units, numbers), cosines, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(FloatRows(vectors).cosines(units, np.arange(4)), cosines, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_the_models_head(kind: str) -> None:
    trie = Trie(random_codes(kind, count=60, base=4), 4)
    model = random_model(trie)
    rng = np.random.default_rng(1)
    nodes = rng.permutation(trie.num_nodes)
    query = torch.from_numpy(rng.normal(size=(1, 8)).astype(np.float32))
    hidden = torch.zeros(1, len(nodes), 16)
    with torch.no_grad():
        expected = model.head(hidden, query, torch.from_numpy(nodes)[None])[0].numpy()
        given = ((query + model.head.steer(hidden[0])) * model.head.log_scale.exp()).numpy()
    scores = exported_head(model, exported_trie(trie)).scores(given, nodes)
    missing = (trie.child[nodes] == -1).numpy()
    np.testing.assert_allclose(scores[~missing], expected[~missing], rtol=1e-4, atol=1e-4)
    assert (scores[missing] == -np.inf).all()
