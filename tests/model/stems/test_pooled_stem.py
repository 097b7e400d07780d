from __future__ import annotations

import pytest
import torch
from helpers_codes import model_config

from vitdsi.model.categories import categories_from_neighbours
from vitdsi.model.pictures import pictures_from_features, signed_root
from vitdsi.model.stems.pooled_stem import CATEGORY_SHARE, PooledStem

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
    assert torch.equal(stem.tokens(embedding), tokens)


def test_embeddings_are_unit_vectors_about_the_mean_of_the_collection() -> None:
    stem = PooledStem(model_config(embed_dim=16, category_dim=0), (10,))
    x, mean = torch.randn(4, 10), torch.randn(10)
    plain = stem.embedding(x)
    torch.testing.assert_close(plain.norm(dim=1), torch.ones(4))
    stem.mean.copy_(mean)
    moved = signed_root(x) / 4 + mean
    torch.testing.assert_close(stem.embedding(moved.sign() * moved.square()), plain, atol=1e-5, rtol=1e-4)
    assert "mean" in stem.state_dict()


def test_embeddings_join_a_part_for_pictures_and_one_for_categories() -> None:
    features = torch.rand(60, 20)
    stem = PooledStem(model_config(embedding_dim=16), (20,))
    assert stem.categories == 4
    rows = stem.fit(pictures_from_features(features, 12), categories_from_neighbours(features, 4))
    embedding = stem.embedding(features)
    for vectors in (rows, embedding):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(60))
        torch.testing.assert_close(vectors[:, -4:].square().sum(1), torch.full((60,), CATEGORY_SHARE))
    torch.testing.assert_close(rows[:, :-4], embedding[:, :-4])
    assert not torch.allclose(rows[:, -4:], embedding[:, -4:])


def test_only_the_projections_start_from_features() -> None:
    stem = PooledStem(SMALL, (10,))
    before = {name: value.clone() for name, value in stem.named_parameters()}
    features = torch.rand(30, 10)
    stem.fit(
        pictures_from_features(features, SMALL.pictures),
        categories_from_neighbours(features, stem.categories),
    )
    moved = {id(value) for name, value in stem.named_parameters() if not torch.equal(value, before[name])}
    found = {id(value) for value in stem.parameters_from_features()}
    assert moved == found == {id(stem.principal.weight), id(stem.category.weight)}
