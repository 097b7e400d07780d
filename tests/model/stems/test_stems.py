from __future__ import annotations

import pytest
import torch
from helpers_codes import model_config

from vitdsi.model.stems import STEMS

SHAPES = {"pooled": (1280,), "map": (49, 320), "pixels": (3, 32, 32)}


def test_shapes_of_this_file_cover_every_registered_stem() -> None:
    assert sorted(STEMS) == sorted(SHAPES)


@pytest.mark.parametrize("name", sorted(STEMS))
def test_every_stem_makes_tokens_and_an_embedding_only_if_it_says_so(name: str) -> None:
    torch.manual_seed(0)
    config = model_config(stem=name, image_size=32, patch_size=8, embed_dim=16, embedding_dim=8)
    stem = STEMS[name](config, SHAPES[name])
    tokens, embedding = stem(torch.rand(4, *SHAPES[name]))
    assert tokens.shape[0] == 4 and tokens.shape[2] == 16
    assert (embedding is not None) == stem.embeds
    if embedding is not None:
        assert embedding.shape == (4, 8)
        torch.testing.assert_close(embedding.norm(dim=1), torch.ones(4))
