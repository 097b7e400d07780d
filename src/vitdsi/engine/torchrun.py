"""The engine of `torchrun`: the processes that it has started, on one machine or on several that share their files.

The first process, rank 0, builds the index. The others follow it: they wait for its jobs, do their share of each, and
end when it has no more.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vitdsi.engine.base import Together
from vitdsi.progress import OnProgress

if TYPE_CHECKING:
    from vitdsi.engine.ranks import ProcessGroup, Ranks

__all__ = ["TorchrunEngine", "follow", "is_follower", "is_started_by_torchrun"]

_Part = TypeVar("_Part")
_PATIENCE = timedelta(days=7)  # of processes that wait while the first one does what is not shared


def is_started_by_torchrun() -> bool:
    """Return whether `torchrun` started this process and others."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_follower() -> bool:
    """Return whether another process than this one builds the index."""
    return is_started_by_torchrun() and os.environ["RANK"] != "0"


class TorchrunEngine:
    """Runs parts and training in the processes of `torchrun`, from the first of them.

    The processes find one another with the environment variables that `torchrun` sets. They exchange gradients with
    NCCL if each has a GPU, otherwise with Gloo.
    """

    least = 1

    def __init__(self) -> None:
        self._group = _joined()
        self.workers = self.ranks = self._group.size

    def run(self, task: Callable[[_Part], None], parts: Sequence[_Part]) -> Iterator[None]:
        """See `Engine.run`. Each process does every so-manieth part."""
        size = self._group.size
        self._send(partial(_run_own, task, parts))
        for start in range(0, len(parts), size):
            task(parts[start])
            yield from [None] * len(parts[start : start + size])
        self._group.wait()

    def together(self, task: Together, folder: Path, on_progress: OnProgress = None) -> None:
        """See `Engine.together`."""
        self._send(task)
        task(self._group, on_progress)

    def close(self) -> None:
        """Let the other processes end."""
        self._send(None)
        self._group.leave()

    def _send(self, job: object) -> None:
        self._group.from_first(lambda: job)


def follow() -> None:
    """Do the jobs of the first process, until it has no more."""
    group = _joined()
    while (job := group.from_first(lambda: None)) is not None:
        _do(job, group)
    group.leave()


def _do(job: Callable[..., None], ranks: Ranks) -> None:
    job(ranks, None)


def _run_own(task: Callable[[Any], None], parts: Sequence[Any], ranks: ProcessGroup, _: OnProgress) -> None:
    for part in parts[ranks.rank :: ranks.size]:
        task(part)
    ranks.wait()


def _joined() -> ProcessGroup:
    """Join the other processes of `torchrun`."""
    import torch
    import torch.distributed as dist

    from vitdsi.engine.ranks import ProcessGroup

    has_gpu = torch.cuda.is_available()
    if has_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("cpu:gloo,cuda:nccl" if has_gpu else "gloo", timeout=_PATIENCE)
    return ProcessGroup()
