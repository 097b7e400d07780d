from __future__ import annotations

import pytest
import torch

from vitdsi.model.layers import Attention, Dropout, EncoderBlock, FeedForward


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_attention_equals_its_definition() -> None:
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


def test_encoder_block_without_positions_permutes_with_its_input() -> None:
    torch.manual_seed(0)
    block = EncoderBlock(8, 2, 16).eval()
    x, order = torch.randn(1, 6, 8), torch.tensor([3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(block(x)[:, order], block(x[:, order]))


def test_encoder_block_applies_dropout_in_training_only() -> None:
    torch.manual_seed(0)
    block = EncoderBlock(8, 2, 16, dropout=0.5)
    x = torch.randn(1, 6, 8)
    assert not torch.equal(block(x), block(x))
    block.eval()
    assert torch.equal(block(x), block(x))


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout_drops_its_share_independently_and_keeps_the_mean(p: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(101, 99, requires_grad=True)
    dropped = Dropout(p)(x)
    assert float((dropped == 0).float().mean()) == pytest.approx(p, abs=0.01)
    assert dropped[dropped != 0].unique().tolist() == pytest.approx([1 / (1 - p)])
    # All four places of a draw are dropped equally often, and independently of one another.
    places = (dropped.flatten()[: 4 * (x.numel() // 4)] == 0).float().view(-1, 4)
    assert places.mean(0).tolist() == pytest.approx([p] * 4, abs=0.03)
    assert abs(torch.corrcoef(places.T) - torch.eye(4)).max() < 0.06
    (dropped.sum()).backward()
    assert x.grad is not None and torch.equal(x.grad, dropped.detach())


def test_feed_forward_is_the_same_for_every_token() -> None:
    feed_forward = FeedForward(8, 12)
    x = torch.randn(2, 5, 8)
    alone = torch.stack([feed_forward(x[:, t]) for t in range(5)], dim=1)
    torch.testing.assert_close(feed_forward(x), alone)
