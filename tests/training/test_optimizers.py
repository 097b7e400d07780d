from __future__ import annotations

import pytest
import torch
from helpers_training import model, settings

from vitdsi.model.heads import rows
from vitdsi.training.optimizers import MAX_GRADIENT_NORM, Optimizers


def gradients_of(trained: torch.nn.Module, numbers: torch.Tensor, size: float) -> None:
    """Gradients of a loss that reads some rows of the table of ids."""
    trained.zero_grad()
    (size * trained.head.leaves.take(numbers).sum()).backward()


def test_rows_that_a_step_did_not_read_keep_their_values_and_their_moments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rows, "SPARSE_FROM", 1)
    trained = model()
    optimizers = Optimizers(trained, settings())
    table = trained.head.leaves.weight
    optimizers.set_learning_rate(0.1)
    for numbers in (torch.tensor([1, 2]), torch.tensor([2, 2])):
        before = table.detach().clone()
        gradients_of(trained, numbers, 1.0)
        optimizers.step()
        changed = torch.nonzero((table != before).any(1)).flatten().tolist()
        assert changed == sorted(set(numbers.tolist()))
    assert len(optimizers.each) == 2


def test_first_lazy_step_is_the_first_step_of_adam(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "SPARSE_FROM", 1)
    trained = model()
    optimizers = Optimizers(trained, settings(row_rate=0.5))
    optimizers.set_learning_rate(0.1)
    before = trained.head.leaves.weight.detach().clone()
    gradients_of(trained, torch.tensor([3]), 1e-3)
    optimizers.step()
    moved = before[3] - trained.head.leaves.weight.detach()[3]
    torch.testing.assert_close(moved, torch.full_like(moved, 0.05), atol=1e-4, rtol=0)


@pytest.mark.parametrize("limit", [1, 10**6])
def test_gradients_are_scaled_together(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "SPARSE_FROM", limit)
    trained = model()
    optimizers = Optimizers(trained, settings())
    gradients_of(trained, torch.tensor([3, 3, 5]), 100.0)
    trained.stem.widen.weight.grad = torch.ones_like(trained.stem.widen.weight)
    optimizers.step()
    table, dense = trained.head.leaves.weight.grad, trained.stem.widen.weight.grad
    values = table.to_dense() if table.is_sparse else table
    assert float((values.square().sum() + dense.square().sum()).sqrt()) == pytest.approx(MAX_GRADIENT_NORM)
    assert float(values[3, 0] / dense[0, 0]) == pytest.approx(200.0)
