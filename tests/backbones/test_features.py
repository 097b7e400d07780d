from __future__ import annotations

import torch

from vitdsi.backbones.features import pooled, to_inputs


def test_pixels_become_values_from_0_to_1() -> None:
    inputs = to_inputs(torch.tensor([[0, 51, 255]], dtype=torch.uint8))
    assert inputs.dtype == torch.float32
    torch.testing.assert_close(inputs, torch.tensor([[0.0, 0.2, 1.0]]))


def test_stored_features_become_float32_unchanged() -> None:
    features = torch.tensor([[0.1, -7.0]], dtype=torch.float16)
    inputs = to_inputs(features)
    assert inputs.dtype == torch.float32
    assert torch.equal(inputs.half(), features)


def test_pooled_is_the_vector_itself_or_the_mean_of_the_cells() -> None:
    vectors = torch.randn(4, 5).half()
    assert torch.equal(pooled(vectors), vectors.float())
    cells = torch.randn(4, 9, 5).half()
    torch.testing.assert_close(pooled(cells), cells.float().mean(1))
    assert pooled(cells).shape == (4, 5)
