"""The optimizers of a training run: Adam for most parameters, lazy Adam for tables whose gradients are sparse.

Lazy Adam updates the moments and the values of the rows that a step read, and leaves all others as they are, so that a
step costs the same whatever the size of the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from vitdsi.config import TrainingConfig
from vitdsi.model.heads.rows import FloatRows
from vitdsi.model.seq2seq import Seq2Seq

__all__ = ["MAX_GRADIENT_NORM", "Optimizers", "parameter_groups"]

MAX_GRADIENT_NORM = 1.0
_BETAS = (0.9, 0.98)
_EPSILON = 1e-8


class Optimizers:
    """AdamW and lazy Adam over the trainable parameters of a model.

    Attributes:
        each: the optimizers, AdamW first.
    """

    def __init__(self, model: Seq2Seq, config: TrainingConfig) -> None:
        tables = {id(part.weight) for part in model.modules() if isinstance(part, FloatRows) and part.sparse}
        sparse: list[dict[str, Any]] = []
        dense = parameter_groups(model, config)
        for group in dense:
            large = [p for p in group["params"] if id(p) in tables]
            if large:
                group["params"] = [p for p in group["params"] if id(p) not in tables]
                sparse.append({"params": large, "rate": group["rate"]})
        self.each: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(dense, lr=config.learning_rate, betas=_BETAS, fused=True)
        ]
        if sparse:
            self.each.append(LazyAdam(sparse, lr=config.learning_rate))

    def set_learning_rate(self, rate: float) -> None:
        """Set the learning rate of each group of parameters to `rate` times the rate of the group."""
        for group in self._groups():
            group["lr"] = rate * group["rate"]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for optimizer in self.each:
            optimizer.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Scale gradients to a norm of at most 1 together, and take a step."""
        parameters = [p for group in self._groups() for p in group["params"] if p.grad is not None]
        for parameter in parameters:
            if parameter.grad.is_sparse:
                parameter.grad = parameter.grad.coalesce()
        values = [p.grad.values() if p.grad.is_sparse else p.grad for p in parameters]
        _clip(values)
        for optimizer in self.each:
            optimizer.step()

    def _groups(self) -> Iterator[dict[str, Any]]:
        return chain.from_iterable(optimizer.param_groups for optimizer in self.each)


class LazyAdam(torch.optim.Optimizer):
    """Adam (Kingma and Ba 2015) of the rows that a sparse gradient has; the moments of other rows wait.

    The second moment of a row is the mean over its numbers, which halves the state, as in the row-wise optimizers of
    recommender systems (Naumov et al., "Deep learning recommendation model for personalization and recommendation
    systems", 2019). The state consists of tensors, so that a resumed run equals an uninterrupted one.
    """

    def __init__(self, params: list[dict[str, Any]], lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take a step with gradients that are coalesced."""
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is None:
                    continue
                state = self.state[table]
                if not state:
                    state["step"] = torch.zeros(())
                    state["mean"], state["square"] = torch.zeros_like(table), table.new_zeros(len(table), 1)
                state["step"] += 1
                steps = float(state["step"])
                rows, gradient = table.grad.indices()[0], table.grad.values()
                mean = state["mean"][rows].lerp_(gradient, 1 - _BETAS[0])
                square = state["square"][rows].lerp_(gradient.square().mean(1, keepdim=True), 1 - _BETAS[1])
                state["mean"][rows], state["square"][rows] = mean, square
                size = (square / (1 - _BETAS[1] ** steps)).sqrt_().add_(_EPSILON)
                mean *= group["lr"] / (1 - _BETAS[0] ** steps) / size
                table.index_add_(0, rows, mean, alpha=-1)


def _clip(gradients: list[Tensor]) -> None:
    """Scale gradients in place so that their norm is at most MAX_GRADIENT_NORM."""
    scale = (MAX_GRADIENT_NORM / (torch.nn.utils.get_total_norm(gradients) + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale)


def parameter_groups(model: Seq2Seq, config: TrainingConfig) -> list[dict[str, Any]]:
    """Group the parameters: weight decay on matrices only, `row_rate` for those that start from the features."""
    from_features = {id(parameter) for parameter in model.parameters_from_features()}
    rows: list[Tensor] = []
    decayed: list[Tensor] = []
    plain: list[Tensor] = []
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) in from_features:
            rows.append(parameter)
        else:
            (decayed if parameter.dim() > 1 else plain).append(parameter)
    return [
        {"params": rows, "rate": config.row_rate, "weight_decay": 0.0},
        {"params": decayed, "rate": 1.0, "weight_decay": config.paper.weight_decay},
        {"params": plain, "rate": 1.0, "weight_decay": 0.0},
    ]
