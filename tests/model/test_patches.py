from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from vitdsi.config import ModelConfig
from vitdsi.errors import ConfigError
from vitdsi.model.encoder import Encoder
from vitdsi.model.patches import MapTokens, PixelPatches, PooledTokens, Positions, rooted

KINDS = ("learned", "sincos2d", "sincos1d")
SMALL = ModelConfig(
    stem="pixels", image_size=32, patch_size=8, embed_dim=16, num_heads=2, mlp_dim=24, depth=1, memory_tokens=3
)  # fmt: skip


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("patch_size", [8, 16, 32])
@pytest.mark.parametrize("positions", KINDS)
def test_one_token_a_patch(patch_size: int, positions: str) -> None:
    config = replace(SMALL, image_size=96, patch_size=patch_size, positions=positions)
    assert PixelPatches(config)(torch.rand(2, 3, 96, 96)).shape == (2, (96 // patch_size) ** 2, 16)


def test_a_token_depends_on_its_own_patch_only_and_row_by_row() -> None:
    stem = PixelPatches(SMALL)
    pixels = torch.rand(1, 3, 32, 32)
    before = stem(pixels)
    for row, column in ((0, 0), (1, 2), (3, 3)):
        changed = pixels.clone()
        changed[:, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 0.5
        differs = (stem(changed) - before).abs().amax((0, 2)) > 1e-6
        assert differs.nonzero().flatten().tolist() == [4 * row + column]


def test_a_patch_size_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"patch_size 7 .*image_size 32"):
        PixelPatches(replace(SMALL, patch_size=7))


def test_map_and_pooled_tokens() -> None:
    for positions in KINDS:
        assert MapTokens(replace(SMALL, positions=positions), 20, 7)(torch.randn(2, 49, 20)).shape == (
            2,
            49,
            16,
        )
    pooled = PooledTokens(SMALL, 40)
    assert pooled(pooled.summary(torch.randn(2, 40))).shape == (2, 3, 16)


def test_pooled_summaries_are_unit_vectors_about_the_mean_of_the_collection() -> None:
    stem = PooledTokens(SMALL, 10)
    x, mean = torch.randn(4, 10), torch.randn(10)
    plain = stem.summary(x)
    torch.testing.assert_close(plain.norm(dim=1), torch.ones(4))
    stem.mean.copy_(mean)
    moved = rooted(x) / 4 + mean
    torch.testing.assert_close(stem.summary(moved.sign() * moved.square()), plain, atol=1e-5, rtol=1e-4)
    assert "mean" in stem.state_dict()


def test_roots_keep_the_sign() -> None:
    torch.testing.assert_close(rooted(torch.tensor([4.0, 0.0, -9.0])), torch.tensor([2.0, 0.0, -3.0]))


def test_only_learned_positions_are_parameters() -> None:
    assert [name for name, _ in Positions("learned", 4, 4, 16).named_parameters()] == ["table"]
    for kind in ("sincos2d", "sincos1d"):
        fixed = Positions(kind, 4, 4, 16)
        assert list(fixed.parameters()) == []
        assert list(fixed.state_dict()) == []


def test_unknown_positions_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'none'; choose learned, sincos2d or sincos1d"):
        Positions("none", 2, 2, 8)


@pytest.mark.parametrize("kind", KINDS)
def test_positions_are_applied_and_tell_equal_tokens_apart(kind: str) -> None:
    torch.manual_seed(0)
    added = Positions(kind, 4, 4, 16)(torch.zeros(2, 16, 16))
    assert torch.equal(added[0], added[1])
    assert torch.cdist(added[0], added[0]).fill_diagonal_(torch.inf).min() > 1e-3


def swapped(tokens: torch.Tensor, a: int, b: int) -> torch.Tensor:
    order = torch.arange(tokens.shape[1])
    order[a], order[b] = b, a
    return tokens[:, order]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("a", "b"), [(0, 1), (0, 4), (5, 10)])
def test_swapping_two_patches_changes_what_the_encoder_says(kind: str, a: int, b: int) -> None:
    torch.manual_seed(0)
    stem, encoder = PixelPatches(replace(SMALL, positions=kind)).eval(), Encoder(SMALL).eval()
    pixels = torch.rand(1, 3, 32, 32)
    patches = pixels.unfold(2, 8, 8).unfold(3, 8, 8).flatten(2, 3)  # (1, 3, 16, 8, 8)
    moved = patches.clone()
    moved[:, :, [a, b]] = patches[:, :, [b, a]]
    other = moved.view(1, 3, 4, 4, 8, 8).transpose(3, 4).reshape(1, 3, 32, 32)
    with torch.no_grad():
        difference = (encoder(stem(other)).mean(1) - encoder(stem(pixels)).mean(1)).abs().max()
        # the same swap after the positions were added is no change to the mean: it is they that notice
        tokens = stem(pixels)
        unmoved = (encoder(swapped(tokens, a, b)).mean(1) - encoder(tokens).mean(1)).abs().max()
    assert unmoved < 1e-5
    assert difference > 20 * unmoved and difference > 1e-5


@pytest.mark.parametrize("kind", ["sincos2d", "sincos1d"])
def test_fixed_positions_do_not_move_in_training(kind: str) -> None:
    torch.manual_seed(0)
    stem = PixelPatches(replace(SMALL, positions=kind))
    at_rest = stem.positions(torch.zeros(1, 16, 16)).clone()
    optimizer = torch.optim.SGD(stem.parameters(), lr=1.0)
    before = stem.project.weight.detach().clone()
    stem(torch.rand(2, 3, 32, 32)).square().sum().backward()
    optimizer.step()
    assert not torch.equal(stem.project.weight, before)
    assert torch.equal(stem.positions(torch.zeros(1, 16, 16)), at_rest)
