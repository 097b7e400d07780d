"""Ranks: the processes that train one model together, and what they tell each other.

Each rank has the whole model and takes its share of every batch. The gradients are added up over all ranks before each
step, so that the models stay the same, and equal that of one process but for the order of float additions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor

__all__ = ["ALONE", "ProcessGroup", "Ranks"]

_Value = TypeVar("_Value")


class Ranks:
    """One process, which trains alone.

    Attributes:
        rank: the number of this process. The first one, 0, decides, reports and writes.
        size: the number of processes.
    """

    rank, size = 0, 1

    def share(self, rows: Tensor) -> Tensor:
        """Return the rows (n,) of a batch (B,) that this rank computes."""
        return rows[self.rank :: self.size]

    def from_first(self, compute: Callable[[], _Value]) -> _Value:
        """Compute a value in the first rank, and return it in all."""
        return compute()

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum of a tensor over all ranks."""
        return value

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace the gradients of parameters by their sums over all ranks."""


ALONE = Ranks()


class ProcessGroup(Ranks):
    """The ranks of the default process group of `torch.distributed`, which must exist."""

    def __init__(self) -> None:
        import torch.distributed as dist

        self._dist: Any = dist
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def wait(self) -> None:
        """Wait until all ranks are here."""
        self._dist.barrier()

    def leave(self) -> None:
        """Leave the process group."""
        self._dist.destroy_process_group()

    def from_first(self, compute: Callable[[], _Value]) -> _Value:
        values = [compute() if self.rank == 0 else None]
        self._dist.broadcast_object_list(values, src=0)
        return values[0]  # type: ignore[return-value]

    def sum(self, value: Tensor) -> Tensor:
        value = value.detach().clone()
        self._dist.all_reduce(value)
        return value

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Add dense gradients up in one message; of sparse ones, exchange the rows that they have.

        A parameter that no rank has a gradient of gets none.
        """
        dense: list[Tensor] = []
        sparse: list[Tensor] = []
        for parameter in parameters:
            if parameter.requires_grad:
                is_sparse = parameter.grad is not None and parameter.grad.is_sparse
                (sparse if is_sparse else dense).append(parameter)
        self._sum_dense(dense)
        for parameter in sparse:
            assert parameter.grad is not None
            parameter.grad = self._sum_rows(parameter.grad.coalesce())

    def _sum_dense(self, parameters: list[Tensor]) -> None:
        has = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
        given = [p.new_zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in parameters]
        flat = torch.cat([has, *given])
        self._dist.all_reduce(flat)
        some, *sums = torch.split(flat, [len(parameters), *(p.numel() for p in parameters)])
        for parameter, known, total in zip(parameters, some.tolist(), sums, strict=True):
            parameter.grad = total.view_as(parameter) if known else None

    def _sum_rows(self, gradient: Tensor) -> Tensor:
        """Gather the rows that each rank has a gradient of; rows of several ranks are added up by `coalesce`."""
        rows, values = gradient.indices()[0], gradient.values()
        counts = [torch.zeros(1, dtype=torch.long, device=rows.device) for _ in range(self.size)]
        self._dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
        numbers = [int(count) for count in counts]
        most = max(numbers)
        padded_rows = rows.new_zeros(most)
        padded_rows[: len(rows)] = rows
        padded = values.new_zeros(most, *values.shape[1:])
        padded[: len(values)] = values
        all_rows = [torch.empty_like(padded_rows) for _ in numbers]
        all_values = [torch.empty_like(padded) for _ in numbers]
        self._dist.all_gather(all_rows, padded_rows)
        self._dist.all_gather(all_values, padded)
        return torch.sparse_coo_tensor(
            torch.cat([part[:n] for part, n in zip(all_rows, numbers, strict=True)])[None],
            torch.cat([part[:n] for part, n in zip(all_values, numbers, strict=True)]),
            gradient.shape,
            check_invariants=False,
        )
