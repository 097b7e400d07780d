from __future__ import annotations

import numpy as np
import torch
from numpy.testing import assert_allclose

from vitdsi import IndexConfig
from vitdsi.collection.resolve import resolve_config
from vitdsi.evaluation.peers.base import Given
from vitdsi.evaluation.peers.half_whitened import HalfWhitened
from vitdsi.ids.assign import assign_ids
from vitdsi.model.initialise import make_model


def test_the_space_is_where_the_model_of_an_index_starts() -> None:
    vectors = np.random.default_rng(0).uniform(size=(60, 24)).astype(np.float32)
    config, features = resolve_config(IndexConfig(), 60), torch.from_numpy(vectors)
    model = make_model(config.model, assign_ids(config, features, None), features, seed=0)
    with torch.inference_mode():
        expected = model.stem.embedding(features).numpy()
    embedded = HalfWhitened().fit(Given(vectors, 60)).embed(vectors)
    assert embedded.shape == (60, config.model.embedding_dim)
    assert_allclose(embedded, expected, atol=1e-6)
