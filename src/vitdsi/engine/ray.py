"""The engine of Ray: parts and training on all machines of a Ray cluster, which must share their files.

Ray Data runs the parts, and Ray Train the ranks. Both start again what was lost with a machine. Success is judged by
the files that were written: a part that was done twice has written the same, and a rank that starts again goes on from
the checkpoint of those before.
"""

from __future__ import annotations

import logging
import pickle
import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from vitdsi.engine.base import Together, cores
from vitdsi.errors import UsageError
from vitdsi.progress import OnProgress

__all__ = ["RayEngine"]

_Part = TypeVar("_Part")
_CONNECT_SECONDS = 10
_MAX_FAILURES = 10  # of machines, in one training or one after the other


class RayEngine:
    """Runs parts and training on a Ray cluster.

    Photos, the cache and the folder of the index must have the same paths on all machines.

    Args:
        address: that of the cluster, `auto` for the one that this machine belongs to; None starts one on this machine.
        workers: the number of processes that read photos; None is one for each GPU of the cluster, or without any one
            for each core.

    Attributes:
        cores: the cores of the cluster.
        ranks: the number of processes that train together: one for each GPU, or for each machine with a core.

    Raises:
        UsageError: Ray is not installed, or there is no such cluster.
    """

    least = 1

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        ray = _ray()
        if not ray.is_initialized():
            try:
                _check_reachable(address)
                ray.init(
                    address=address or "local",
                    log_to_driver=False,
                    include_dashboard=False,
                    logging_level="error",
                )
            except (OSError, ValueError) as error:
                raise UsageError(
                    f"{address or 'this machine'}: there is no Ray cluster ({error}); start one with: ray start --head"
                ) from error
        resources = ray.cluster_resources()
        self._gpus, self.cores = int(resources.get("GPU", 0)), int(resources.get("CPU", 0))
        nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
        self.workers = workers or self._gpus or max(1, self.cores)
        self.ranks = min(self.workers, self._gpus or max(1, len(nodes)))

    def run(self, task: Callable[[_Part], None], parts: Sequence[_Part]) -> Iterator[None]:
        """See `Engine.run`. Ray Data does a part again if its machine is lost."""
        ray = _ray()
        from ray import data

        context = data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        context.max_consecutive_actor_init_deaths = (
            _MAX_FAILURES  # a machine may be lost while a process starts
        )
        workers = min(self.workers, len(parts))
        rows = [{"part": pickle.dumps(part)} for part in parts]
        try:
            done = data.from_items(rows, override_num_blocks=len(rows)).map_batches(
                _Runner,
                fn_constructor_args=(task,),
                batch_size=1,
                compute=data.ActorPoolStrategy(min_size=1, initial_size=workers, max_size=workers),
                num_cpus=1,
                num_gpus=1 if self._gpus else 0,
            )
            for _ in done.iter_rows():
                yield
        except ray.exceptions.RayError as error:
            raise UsageError(f"the Ray cluster cannot go on: {_first_line(error)}") from error

    def together(self, task: Together, folder: Path, on_progress: OnProgress = None) -> None:
        """See `Engine.together`. Ray Train starts all ranks again if a machine is lost."""
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        def train() -> None:
            import torch

            from vitdsi.engine.ranks import ProcessGroup

            torch.set_num_threads(cores())
            task(ProcessGroup(), None)

        scaling = ScalingConfig(
            num_workers=self.ranks,
            use_gpu=self._gpus > 0,
            resources_per_worker={"CPU": 1, "GPU": 1} if self._gpus else {"CPU": 1},
            placement_strategy="PACK" if self._gpus else "SPREAD",
        )
        failures = FailureConfig(max_failures=_MAX_FAILURES)
        run = RunConfig(name="training", storage_path=str(folder.absolute()), failure_config=failures)
        try:
            TorchTrainer(train, scaling_config=scaling, run_config=run).fit()
        except Exception as error:  # Ray Train has errors of several kinds, with the worker's as their text
            raise UsageError(f"training on Ray cannot go on: {_first_line(error)}") from error

    def close(self) -> None:
        """Leave the cluster. One that was started for this process ends."""
        _ray().shutdown()


class _Runner:
    """Does one part after the other in a process of the cluster."""

    def __init__(self, task: Callable[[Any], None]) -> None:
        import torch

        torch.set_num_threads(1)
        self._task = task

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        for part in batch["part"]:
            self._task(pickle.loads(part))
        return {"done": [True] * len(batch["part"])}


def _ray() -> Any:
    """Import Ray, without its warnings about what will change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import ray

            for name in ("ray.data", "ray.train", "ray.serve"):
                logging.getLogger(name).setLevel(logging.ERROR)
        except ImportError as error:
            raise UsageError("Ray is not installed; install it with: pip install 'vitdsi[ray]'") from error
    return ray


def _check_reachable(address: str | None) -> None:
    """Raise OSError if nothing listens at an address HOST:PORT, for which Ray itself would wait for minutes."""
    host, _, port = (address or "").rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
