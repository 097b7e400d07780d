from __future__ import annotations

import torch

from vitdsi.model.axes import principal_axes


def test_axes_are_orthonormal_and_have_their_variances() -> None:
    features = torch.randn(200, 6, generator=torch.Generator().manual_seed(0)) * torch.linspace(3, 0.5, 6)
    centred = features - features.mean(0)
    variances, axes = principal_axes(centred, 4)
    torch.testing.assert_close(axes @ axes.T, torch.eye(4), atol=1e-5, rtol=0)
    torch.testing.assert_close((centred @ axes.T).square().mean(0), variances, atol=1e-4, rtol=1e-4)
    assert variances.tolist() == sorted(variances.tolist(), reverse=True)


def test_axes_without_variance_are_zero() -> None:
    line = torch.linspace(-1, 1, 9)[:, None] * torch.tensor([[3.0, 4.0, 0.0]])
    variances, axes = principal_axes(line, 5)
    assert variances.shape == (5,)
    assert axes.shape == (5, 3)
    torch.testing.assert_close(axes[0].abs(), torch.tensor([0.6, 0.8, 0.0]))
    assert not axes[1:].any()
    assert not variances[1:].any()
