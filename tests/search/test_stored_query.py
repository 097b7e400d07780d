from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers_stored import stored

from vitdsi.errors import UsageError
from vitdsi.search.stored_query import stored_queries


def test_stored_feature_is_the_query_where_features_are_kept() -> None:
    state = stored()
    assert state.features is not None
    query, embedded = stored_queries(state, torch.tensor([7]))
    assert not embedded
    assert torch.equal(query, state.features[7:8])


def test_vector_of_the_head_is_the_query_where_features_were_dropped() -> None:
    state = stored()
    assert state.features is not None
    query, embedded = stored_queries(replace(state, features=None), torch.tensor([7]))
    assert embedded
    assert query.norm() == pytest.approx(1)
    cosines = state.model.embeddings(state.features) @ query[0]
    assert cosines.argmax() == 7


def test_model_without_embeddings_of_features_is_refused_where_they_were_dropped() -> None:
    state = replace(stored(), features=None)
    state.model.stem.embeds = False  # type: ignore[misc]
    try:
        with pytest.raises(UsageError, match="keeps no features"):
            stored_queries(state, torch.tensor([7]))
    finally:
        del state.model.stem.embeds
