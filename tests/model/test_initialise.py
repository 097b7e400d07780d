from __future__ import annotations

import numpy as np
import pytest
import torch

from vitdsi.beam import beam_search
from vitdsi.config import ModelConfig
from vitdsi.ids import IdContext, assign
from vitdsi.model.initialise import initialise
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.trie import Trie


def features_of(count: int, width: int) -> torch.Tensor:
    """Like a backbone's: not negative, some axes far wider than others."""
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, width, generator=generator).relu() * torch.linspace(2, 0.01, width)


def made(features: torch.Tensor, base: int = 16) -> tuple[Seq2Seq, Trie]:
    torch.manual_seed(0)
    trie = Trie(assign("semantic", IdContext(len(features), base, features=features.numpy())), base)
    model = Seq2Seq(ModelConfig(head_dim=32, prototypes=4), trie, (features.shape[1],)).eval()
    initialise(model, trie, features, seed=0)
    return model, trie


@pytest.mark.parametrize(("count", "width"), [(6, 1280), (40, 64), (300, 64)])
def test_projected_features_are_half_whitened_principal_axes(count: int, width: int) -> None:
    """As many images as axes or fewer, and copies among them, which once gave NaN."""
    features = features_of(count, width)
    features[-1] = features[0]
    model, _ = made(features)
    projection = model.stem.principal.weight.double()
    centred = (features - features.mean(0)).double()
    spread = torch.linalg.svdvals(centred).square()[:32] / count
    spread = torch.where(spread > spread[0] * 1e-6, spread, 0.0)
    projected = centred @ projection.T
    found = projected.T @ projected / count
    expected = torch.zeros(32, dtype=torch.float64)
    expected[: len(spread)] = (spread * spread[0]).sqrt()
    torch.testing.assert_close(found, expected.diag(), atol=1e-3, rtol=1e-3)


@torch.inference_mode()
def test_a_model_knows_its_images_before_it_is_trained() -> None:
    features = features_of(60, 64)
    model, trie = made(features)
    ids, _ = beam_search(model, features, trie, 60)
    assert np.mean(ids[:, 0].numpy() == np.arange(60)) > 0.9
