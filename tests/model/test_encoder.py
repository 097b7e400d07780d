from __future__ import annotations

import pytest
import torch
from helpers_codes import model_config

from vitdsi.model.encoder import Encoder


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_encoder_of_any_depth_keeps_the_shape(depth: int) -> None:
    encoder = Encoder(model_config(embed_dim=8, num_heads=2, mlp_dim=12, depth=depth)).eval()
    assert len(encoder.blocks) == depth
    assert encoder(torch.randn(2, 5, 8)).shape == (2, 5, 8)


def test_every_token_attends_to_every_other() -> None:
    torch.manual_seed(0)
    encoder = Encoder(model_config(embed_dim=8, num_heads=2, mlp_dim=12, depth=1)).eval()
    x = torch.randn(1, 5, 8, requires_grad=True)
    for token in range(5):
        # The sum of a layer norm's output is constant, so the channels are weighted.
        (gradient,) = torch.autograd.grad((encoder(x)[0, token] * torch.arange(8.0)).sum(), x)
        assert (gradient[0].abs().amax(1) > 1e-6).all()


def test_images_of_a_batch_do_not_mix() -> None:
    torch.manual_seed(0)
    encoder = Encoder(model_config(embed_dim=8, num_heads=2, mlp_dim=12, depth=2)).eval()
    x = torch.randn(3, 5, 8)
    torch.testing.assert_close(encoder(x), torch.cat([encoder(one[None]) for one in x]))
