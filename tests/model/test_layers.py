from __future__ import annotations

import math

import pytest
import torch

from vitdsi.model.layers import (
    Attention,
    Dropout,
    EncoderBlock,
    sinusoidal_positions,
    sinusoidal_positions_2d,
)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("dim", [8, 16, 30])
def test_every_position_of_a_line_is_its_own(dim: int) -> None:
    table = sinusoidal_positions(50, dim)
    assert table.shape == (50, dim)
    assert torch.cdist(table, table).fill_diagonal_(torch.inf).min() > 0.05


@pytest.mark.parametrize(("height", "width", "dim"), [(7, 7, 16), (3, 11, 16), (10, 2, 12)])
def test_every_cell_of_a_grid_is_its_own(height: int, width: int, dim: int) -> None:
    table = sinusoidal_positions_2d(height, width, dim)
    assert table.shape == (height * width, dim)
    assert torch.cdist(table, table).fill_diagonal_(torch.inf).min() > 0.05


def test_positions_follow_the_formula() -> None:
    table = sinusoidal_positions(9, 6)
    for position in range(9):
        for pair in range(3):
            angle = position / 10_000 ** (2 * pair / 6)
            assert table[position, 2 * pair].item() == pytest.approx(math.sin(angle), abs=1e-5)
            assert table[position, 2 * pair + 1].item() == pytest.approx(math.cos(angle), abs=1e-5)


def test_a_grid_position_is_its_row_beside_its_column() -> None:
    grid = sinusoidal_positions_2d(3, 5, 8).view(3, 5, 8)
    torch.testing.assert_close(grid[:, 2, :4], sinusoidal_positions(3, 4))
    torch.testing.assert_close(grid[1, :, 4:], sinusoidal_positions(5, 4))


def test_attention_against_the_definition() -> None:
    torch.manual_seed(0)
    attention = Attention(12, 3).double()
    x, memory = torch.randn(2, 4, 12).double(), torch.randn(2, 5, 12).double()
    found = attention(x, attention.keys_values(memory))
    query, (key, value) = attention.query(x), attention.key_value(memory).chunk(2, dim=-1)
    heads = []
    for h in range(3):
        part = slice(4 * h, 4 * h + 4)
        weights = (query[..., part] @ key[..., part].transpose(1, 2) / 2).softmax(-1)
        heads.append(weights @ value[..., part])
    torch.testing.assert_close(found, attention.out(torch.cat(heads, dim=-1)))


def test_causal_attention_sees_no_later_token() -> None:
    torch.manual_seed(0)
    attention = Attention(8, 2)
    x = torch.randn(1, 6, 8)
    changed = x.clone()
    changed[:, 4:] += 1
    before, after = (attention(t, attention.keys_values(t), causal=True) for t in (x, changed))
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])


def test_without_positions_a_block_only_permutes() -> None:
    torch.manual_seed(0)
    block = EncoderBlock(8, 2, 16).eval()
    x, order = torch.randn(1, 6, 8), torch.tensor([3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(block(x)[:, order], block(x[:, order]))


def test_dropout_is_only_for_training() -> None:
    torch.manual_seed(0)
    block = EncoderBlock(8, 2, 16, dropout=0.5)
    x = torch.randn(1, 6, 8)
    assert not torch.equal(block(x), block(x))
    block.eval()
    assert torch.equal(block(x), block(x))


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout_keeps_the_mean_and_drops_the_share(p: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(101, 99, requires_grad=True)
    dropped = Dropout(p)(x)
    assert float((dropped == 0).float().mean()) == pytest.approx(p, abs=0.01)
    assert dropped[dropped != 0].unique().tolist() == pytest.approx([1 / (1 - p)])
    # each place of a draw of four drops alike, and no two places together
    places = (dropped.flatten()[: 4 * (x.numel() // 4)] == 0).float().view(-1, 4)
    assert places.mean(0).tolist() == pytest.approx([p] * 4, abs=0.03)
    assert abs(torch.corrcoef(places.T) - torch.eye(4)).max() < 0.06
    (dropped.sum()).backward()
    assert x.grad is not None and torch.equal(x.grad, dropped.detach())
