from __future__ import annotations

import math

import pytest
import torch
from helpers_codes import changed, model_config

from vitdsi.errors import ConfigError
from vitdsi.model.encoder import Encoder
from vitdsi.model.positions import Positions, sinusoidal_positions, sinusoidal_positions_2d
from vitdsi.model.stems import PixelStem

KINDS = ("learned", "sincos2d", "sincos1d")
SHAPE = (3, 32, 32)
SMALL = model_config(
    stem="pixels", image_size=32, patch_size=8, embed_dim=16, num_heads=2, mlp_dim=24, depth=1
)  # fmt: skip


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("dim", [8, 16, 30])
def test_sinusoidal_positions_all_differ(dim: int) -> None:
    table = sinusoidal_positions(50, dim)
    assert table.shape == (50, dim)
    assert torch.cdist(table, table).fill_diagonal_(torch.inf).min() > 0.05


@pytest.mark.parametrize(("height", "width", "dim"), [(7, 7, 16), (3, 11, 16), (10, 2, 12)])
def test_sinusoidal_positions_2d_all_differ(height: int, width: int, dim: int) -> None:
    table = sinusoidal_positions_2d(height, width, dim)
    assert table.shape == (height * width, dim)
    assert torch.cdist(table, table).fill_diagonal_(torch.inf).min() > 0.05


def test_sinusoidal_positions_of_a_hundred_tokens_are_far_apart() -> None:
    for table in (sinusoidal_positions(100, 32), sinusoidal_positions_2d(10, 10, 32)):
        assert table.shape == (100, 32)
        distances = torch.cdist(table, table) + torch.eye(100)
        assert float(distances.min()) > 0.1


def test_sinusoidal_positions_follow_the_formula() -> None:
    table = sinusoidal_positions(9, 6)
    for position in range(9):
        for pair in range(3):
            angle = position / 10_000 ** (2 * pair / 6)
            assert table[position, 2 * pair].item() == pytest.approx(math.sin(angle), abs=1e-5)
            assert table[position, 2 * pair + 1].item() == pytest.approx(math.cos(angle), abs=1e-5)
    torch.testing.assert_close(sinusoidal_positions(3, 4)[0], torch.tensor([0.0, 1.0, 0.0, 1.0]))


def test_sinusoidal_positions_2d_put_the_row_beside_the_column() -> None:
    grid = sinusoidal_positions_2d(3, 5, 8).view(3, 5, 8)
    torch.testing.assert_close(grid[:, 2, :4], sinusoidal_positions(3, 4))
    torch.testing.assert_close(grid[1, :, 4:], sinusoidal_positions(5, 4))


def test_only_learned_positions_are_parameters() -> None:
    assert [name for name, _ in Positions("learned", 4, 4, 16).named_parameters()] == ["table"]
    for kind in ("sincos2d", "sincos1d"):
        fixed = Positions(kind, 4, 4, 16)
        assert list(fixed.parameters()) == []
        assert list(fixed.state_dict()) == []


@pytest.mark.parametrize("kind", ["none", "rotary"])
def test_unknown_kind_is_refused(kind: str) -> None:
    with pytest.raises(ConfigError, match=rf"'{kind}'; choose learned, sincos2d or sincos1d"):
        Positions(kind, 2, 2, 8)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_tokens_differ_once_positions_are_added(kind: str) -> None:
    added = Positions(kind, 4, 4, 16)(torch.zeros(2, 16, 16))
    assert torch.equal(added[0], added[1])
    assert torch.cdist(added[0], added[0]).fill_diagonal_(torch.inf).min() > 1e-3


def swapped(tokens: torch.Tensor, a: int, b: int) -> torch.Tensor:
    order = torch.arange(tokens.shape[1])
    order[a], order[b] = b, a
    return tokens[:, order]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("a", "b"), [(0, 1), (0, 4), (5, 10)])
def test_swapping_two_patches_changes_the_encoder_output(kind: str, a: int, b: int) -> None:
    stem, encoder = PixelStem(changed(SMALL, positions=kind), SHAPE).eval(), Encoder(SMALL).eval()
    pixels = torch.rand(1, 3, 32, 32)
    patches = pixels.unfold(2, 8, 8).unfold(3, 8, 8).flatten(2, 3)  # (1, 3, 16, 8, 8)
    moved = patches.clone()
    moved[:, :, [a, b]] = patches[:, :, [b, a]]
    other = moved.view(1, 3, 4, 4, 8, 8).transpose(3, 4).reshape(1, 3, 32, 32)
    with torch.no_grad():
        tokens = stem(pixels)[0]
        difference = (encoder(stem(other)[0]).mean(1) - encoder(tokens).mean(1)).abs().max()
        # The same swap after positions were added leaves the mean as it is, so it is the positions that tell.
        unmoved = (encoder(swapped(tokens, a, b)).mean(1) - encoder(tokens).mean(1)).abs().max()
    assert unmoved < 1e-5
    assert difference > 20 * unmoved and difference > 1e-5


@pytest.mark.parametrize("kind", ["sincos2d", "sincos1d"])
def test_training_does_not_change_fixed_positions(kind: str) -> None:
    stem = PixelStem(changed(SMALL, positions=kind), SHAPE)
    at_rest = stem.positions(torch.zeros(1, 16, 16)).clone()
    optimizer = torch.optim.SGD(stem.parameters(), lr=1.0)
    before = stem.project.weight.detach().clone()
    stem(torch.rand(2, 3, 32, 32))[0].square().sum().backward()
    optimizer.step()
    assert not torch.equal(stem.project.weight, before)
    assert torch.equal(stem.positions(torch.zeros(1, 16, 16)), at_rest)
