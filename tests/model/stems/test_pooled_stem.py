from __future__ import annotations

import pytest
import torch
from helpers_codes import model_config

from vitdsi.model.stems import PooledStem
from vitdsi.model.stems.pooled_stem import signed_root

SMALL = model_config(embed_dim=16)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_stem_gives_a_few_tokens_and_the_embedding() -> None:
    stem = PooledStem(SMALL, (40,))
    features = torch.randn(2, 40)
    tokens, embedding = stem(features)
    assert tokens.shape == (2, 4, 16)
    assert torch.equal(embedding, stem.embedding(features))


def test_embeddings_are_unit_vectors_about_the_mean_of_the_collection() -> None:
    stem = PooledStem(SMALL, (10,))
    x, mean = torch.randn(4, 10), torch.randn(10)
    plain = stem.embedding(x)
    torch.testing.assert_close(plain.norm(dim=1), torch.ones(4))
    stem.mean.copy_(mean)
    moved = signed_root(x) / 4 + mean
    torch.testing.assert_close(stem.embedding(moved.sign() * moved.square()), plain, atol=1e-5, rtol=1e-4)
    assert "mean" in stem.state_dict()


def test_signed_root_keeps_the_sign() -> None:
    torch.testing.assert_close(signed_root(torch.tensor([4.0, 0.0, -9.0])), torch.tensor([2.0, 0.0, -3.0]))


@pytest.mark.parametrize(("count", "width"), [(6, 1280), (40, 64), (300, 64)])
def test_fitted_projection_is_half_whitened_principal_axes(count: int, width: int) -> None:
    """There are as many images as axes or fewer, and a copy among them, which once gave NaN."""
    generator = torch.Generator().manual_seed(count)
    features = torch.randn(count, width, generator=generator).relu() * torch.linspace(2, 0.01, width)
    features[-1] = features[0]
    stem = PooledStem(model_config(embedding_dim=32), (width,))
    stem.fit(features)
    torch.testing.assert_close(stem.mean, features.sqrt().mean(0))
    projection = stem.principal.weight.double()
    centred = (features.sqrt() - features.sqrt().mean(0)).double()
    spread = torch.linalg.svdvals(centred).square()[:32] / count
    spread = torch.where(spread > spread[0] * 1e-6, spread, 0.0)
    projected = centred @ projection.T
    found = projected.T @ projected / count
    expected = torch.zeros(32, dtype=torch.float64)
    expected[: len(spread)] = (spread * spread[0]).sqrt()
    torch.testing.assert_close(found, expected.diag(), atol=1e-3, rtol=1e-3)


def test_only_the_projection_starts_from_features() -> None:
    stem = PooledStem(SMALL, (10,))
    before = {name: value.clone() for name, value in stem.named_parameters()}
    stem.fit(torch.rand(30, 10))
    moved = [value for name, value in stem.named_parameters() if not torch.equal(value, before[name])]
    found = stem.parameters_from_features()
    assert [id(value) for value in moved] == [id(value) for value in found] == [id(stem.principal.weight)]
