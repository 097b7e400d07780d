from __future__ import annotations

import pytest
import torch

from vitdsi.config import ModelConfig
from vitdsi.model.encoder import Encoder


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_depth_is_the_number_of_blocks_and_keeps_the_shape(depth: int) -> None:
    encoder = Encoder(ModelConfig(embed_dim=8, num_heads=2, mlp_dim=12, depth=depth)).eval()
    assert len(encoder.blocks) == depth
    assert encoder(torch.randn(2, 5, 8)).shape == (2, 5, 8)


def test_every_token_reads_every_other() -> None:
    torch.manual_seed(0)
    encoder = Encoder(ModelConfig(embed_dim=8, num_heads=2, mlp_dim=12, depth=1)).eval()
    x = torch.randn(1, 5, 8, requires_grad=True)
    for token in range(5):
        # the sum of a layer norm's output is constant, so weigh the channels
        (gradient,) = torch.autograd.grad((encoder(x)[0, token] * torch.arange(8.0)).sum(), x)
        assert (gradient[0].abs().amax(1) > 1e-6).all()


def test_images_of_a_batch_do_not_mix() -> None:
    torch.manual_seed(0)
    encoder = Encoder(ModelConfig(embed_dim=8, num_heads=2, mlp_dim=12, depth=2)).eval()
    x = torch.randn(3, 5, 8)
    torch.testing.assert_close(encoder(x), torch.cat([encoder(one[None]) for one in x]))
