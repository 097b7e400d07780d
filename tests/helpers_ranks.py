"""Several ranks in processes of their own; shared by the tests of what ranks do together."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from vitdsi.engine.ranks import ProcessGroup, Ranks


def in_ranks(size: int, folder: Path, compute: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Call `compute` with a process group and these arguments in so many processes: what each returns."""
    mp.spawn(_run, (size, folder, compute, arguments), nprocs=size)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(size)]


def _run(rank: int, size: int, folder: Path, compute: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=size)
    torch.save(compute(ProcessGroup(), *arguments), folder / f"{rank}.pt")
    dist.destroy_process_group()


def gradients(ranks: ProcessGroup) -> list[torch.Tensor | None]:
    """Sum gradients that differ by rank: of a parameter of all ranks, of one, of none, and of two sparse tables."""
    given = [torch.nn.Parameter(torch.zeros(3)) for _ in range(3)]
    tables = [torch.nn.Parameter(torch.zeros(5, 2)) for _ in range(2)]
    given[0].grad = torch.full((3,), 1.0 + ranks.rank)
    if ranks.rank == 1:
        given[1].grad = torch.arange(3.0)
    rows = ([1, 1, 4], [4])[ranks.rank]
    more = ([], [0, 2])[ranks.rank]
    tables[0].grad = _sparse(rows)
    tables[1].grad = _sparse(more)
    ranks.sum_gradients([*given, *tables])
    assert ranks.from_first(lambda: ranks.rank + 7) == 7
    return [
        parameter.grad.to_dense() if parameter.grad is not None else None for parameter in (*given, *tables)
    ]


def _sparse(rows: list[int]) -> torch.Tensor:
    return torch.sparse_coo_tensor(torch.tensor([rows], dtype=torch.long), torch.ones(len(rows), 2), (5, 2))


def trained(
    ranks: Ranks, sparse: bool, steps: int = 12
) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    """Train the model of `helpers_training`, with tables whose gradients are sparse or not: weights and history."""
    from helpers_training import data, model, settings, weights

    from vitdsi.model.heads import rows
    from vitdsi.training.loop import train

    rows.SPARSE_FROM = 1 if sparse else 2**15
    made = model()
    schedule = train(made, data(), settings(steps=steps), seed=0, ranks=ranks)
    return weights(made), schedule.history


def torchrun_job(ranks: ProcessGroup, task: Callable[[Path], None], parts: list[Path]) -> int | None:
    """Run parts and a task together with the engine of torchrun: the number of parts that it said are done."""
    from vitdsi.engine import torchrun

    torchrun._joined = lambda: ranks  # type: ignore[assignment]
    ranks.leave = lambda: None  # type: ignore[method-assign]
    if ranks.rank > 0:
        torchrun.follow()
        return None
    engine = torchrun.TorchrunEngine()
    count = len(list(engine.run(task, parts)))
    folder = parts[0].parent
    engine.together(partial(_write_size, folder), folder)
    engine.close()
    return count


def _write_size(folder: Path, ranks: Ranks, _: object) -> None:
    (folder / f"together{ranks.rank}").write_text(str(ranks.size), "utf-8")
