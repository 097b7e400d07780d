"""The local engine: processes on this machine, one a core or one a GPU, each with its share of the cores."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from vitdsi.engine.base import AUTO_LEAST, Together, cores
from vitdsi.errors import UsageError
from vitdsi.progress import OnProgress

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

__all__ = ["LocalEngine"]

_Part = TypeVar("_Part")


class LocalEngine:
    """Runs parts in processes on this machine, and trains in this one.

    The processes are started for each run, so that they hold memory no longer. A new one imports torch and loads the
    backbone, in about two seconds, and takes 300 to 400 MB. Scripts that use several must start their work under
    `if __name__ == "__main__":`, as for every process that Python spawns.

    Args:
        workers: the number of processes; 1 starts none. None is one for each GPU, or without any one for each core,
            and only for enough photos that it pays.

    Raises:
        UsageError: `workers` is below 1.
    """

    ranks = 1

    def __init__(self, workers: int | None = 1) -> None:
        if workers is not None and workers < 1:
            raise UsageError(f"workers is {workers}; it must be at least 1")
        self.least = AUTO_LEAST if workers is None else 1
        self._gpus = _gpus() if workers != 1 else 0
        self.workers = workers or self._gpus or cores()

    def run(self, task: Callable[[_Part], None], parts: Sequence[_Part]) -> Iterator[None]:
        """See `Engine.run`. Ctrl-C ends the processes after the parts that they are at."""
        context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
        workers = min(self.workers, len(parts))
        threads = max(1, cores() // self.workers)
        settings = (context.Value("i", 0), threads, self._gpus)
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=settings)
        try:
            for done in as_completed([pool.submit(task, part) for part in parts]):
                done.result()
                yield
        except BrokenProcessPool as error:
            raise UsageError(
                f"one of {workers} worker processes was killed, perhaps for lack of memory; what was done is kept: run"
                " the same again, with fewer --workers"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def together(self, task: Together, folder: Path, on_progress: OnProgress = None) -> None:
        """Call `task` in this process, which is alone."""
        from vitdsi.engine.ranks import ALONE

        task(ALONE, on_progress)

    def close(self) -> None:
        """Nothing is left running."""


def _start(started: Synchronized[int], threads: int, gpus: int) -> None:
    """Prepare a worker process: its threads, its GPU, and that Ctrl-C is left to the process that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with started.get_lock():
        number = started.value
        started.value += 1
    if gpus > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = _visible()[number % gpus]
    import torch

    torch.set_num_threads(threads)


def _gpus() -> int:
    """Return the number of GPUs, without using any of them."""
    import torch

    return torch.cuda.device_count()


def _visible() -> list[str]:
    """Return the names by which CUDA_VISIBLE_DEVICES knows the GPUs of this process."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return given.split(",") if given else [str(i) for i in range(_gpus())]
