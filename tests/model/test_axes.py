from __future__ import annotations

import pytest
import torch

from vitdsi.model.axes import mean_of, principal_axes, sampled


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


def test_small_collections_are_sampled_as_a_whole_and_large_ones_at_random(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features = torch.zeros(30, 2)
    assert sampled(features).tolist() == list(range(30))
    monkeypatch.setattr("vitdsi.model.axes.SAMPLE", 10)
    some = sampled(features).tolist()
    assert len(set(some)) == 10 and some == sorted(some) and max(some) < 30
    assert some == sampled(features).tolist() != list(range(10))


def test_mean_of_half_precision_in_blocks_is_that_of_single_precision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features = torch.rand(50, 3, generator=torch.Generator().manual_seed(0)).half()
    monkeypatch.setattr("vitdsi.model.axes.BLOCK", 16)
    torch.testing.assert_close(mean_of(features), features.float().mean(0))
