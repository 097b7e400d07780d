from __future__ import annotations

import pytest
import torch
from helpers_codes import changed, model_config

from vitdsi.errors import ConfigError
from vitdsi.model.stems import PixelStem

KINDS = ("learned", "sincos2d", "sincos1d")
SMALL = model_config(stem="pixels", image_size=32, patch_size=8, embed_dim=16)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("patch_size", [8, 16, 32])
@pytest.mark.parametrize("positions", KINDS)
def test_each_patch_becomes_one_token(patch_size: int, positions: str) -> None:
    config = changed(SMALL, image_size=96, patch_size=patch_size, positions=positions)
    tokens, embedding = PixelStem(config, (3, 96, 96))(torch.rand(2, 3, 96, 96))
    assert tokens.shape == (2, (96 // patch_size) ** 2, 16)
    assert embedding is None


@pytest.mark.parametrize("patch_size", [8, 16, 32])
@pytest.mark.parametrize("positions", KINDS)
def test_equal_patches_at_different_places_become_different_tokens(patch_size: int, positions: str) -> None:
    config = changed(SMALL, image_size=64, patch_size=patch_size, positions=positions)
    stem = PixelStem(config, (3, 64, 64))
    tokens = stem(torch.zeros(1, 3, 64, 64))[0][0]
    assert len(torch.unique(tokens, dim=0)) == len(tokens)
    is_parameter = "positions.table" in dict(stem.named_parameters())
    assert is_parameter == (positions == "learned")


def test_token_depends_on_its_own_patch_alone_and_patches_go_row_by_row() -> None:
    stem = PixelStem(SMALL, (3, 32, 32))
    pixels = torch.rand(1, 3, 32, 32)
    before = stem(pixels)[0]
    for row, column in ((0, 0), (1, 2), (3, 3)):
        changed = pixels.clone()
        changed[:, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 0.5
        differs = (stem(changed)[0] - before).abs().amax((0, 2)) > 1e-6
        assert differs.nonzero().flatten().tolist() == [4 * row + column]


@pytest.mark.parametrize(("patch_size", "image_size"), [(7, 32), (16, 50)])
def test_patch_size_that_does_not_divide_the_image_is_refused(patch_size: int, image_size: int) -> None:
    config = changed(SMALL, image_size=image_size, patch_size=patch_size)
    with pytest.raises(
        ConfigError, match=rf"patch_size {patch_size} does not divide model.paper.image_size {image_size}"
    ):
        PixelStem(config, (3, image_size, image_size))


def test_unknown_positions_are_refused() -> None:
    with pytest.raises(ConfigError, match="choose one of learned, sincos1d, sincos2d"):
        PixelStem(changed(SMALL, positions="rotary"), (3, 32, 32))
