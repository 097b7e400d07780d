from __future__ import annotations

import pytest
import torch
from helpers_codes import changed, model_config

from vitdsi.model.stems import MapStem

SMALL = model_config(stem="map", embed_dim=16)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("positions", ["learned", "sincos2d", "sincos1d"])
def test_each_cell_becomes_one_token(positions: str) -> None:
    stem = MapStem(changed(SMALL, positions=positions), (49, 20))
    tokens, embedding = stem(torch.randn(2, 49, 20))
    assert tokens.shape == (2, 49, 16)
    assert embedding is None


def test_token_depends_on_its_own_cell_alone() -> None:
    stem = MapStem(SMALL, (9, 20))
    features = torch.randn(1, 9, 20)
    changed = features.clone()
    changed[0, 4] = torch.randn(20)
    differs = (stem(changed)[0] - stem(features)[0]).abs().amax((0, 2)) > 1e-6
    assert differs.nonzero().flatten().tolist() == [4]


def test_equal_cells_at_different_places_become_different_tokens() -> None:
    tokens = MapStem(SMALL, (9, 20))(torch.ones(1, 9, 20))[0][0]
    assert len(torch.unique(tokens, dim=0)) == 9
