"""A Ray cluster of three nodes on this machine, and work that lasts long enough to end one of them in the middle."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_backbones import ToyBackbone

from vitdsi.training.views import FeatureViews

_STORE = 100 << 20  # bytes of the object store of a node


@contextlib.contextmanager
def three_nodes(at_work: Path | None = None) -> Iterator[Any]:
    """A cluster whose first node has two cores and cannot be ended; two others have one core each.

    In the folder `at_work` the slow backbone notes which processes use it.
    """
    pytest.importorskip("ray", reason="needs the extra ray")
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 2, "include_dashboard": False, "object_store_memory": _STORE},
    )
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1, object_store_memory=_STORE)
        variables = {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", "AT_WORK": str(at_work)}
        ray.init(address=cluster.address, log_to_driver=False, runtime_env={"env_vars": variables})
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def end_node(cluster: Any, node_id: str) -> None:
    """End the processes of a node at once, as if its machine had lost its power."""
    (node,) = [node for node in cluster.worker_nodes if node.node_id == node_id]
    cluster.remove_node(node, allow_graceful=False)


def node_of_this_process() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())


def mark(folder: Path) -> None:
    """Note in a folder that this process, of its node, is at work."""
    (folder / f"{node_of_this_process()} {os.getpid()}").touch()


def wait_for_another_node(folder: Path, head: str, seconds: float = 240) -> str:
    """Wait until a process of another node than the first one is at work, and return its node."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for path in folder.iterdir():
            if not path.name.startswith(head):
                return path.name.split()[0]
        time.sleep(0.1)
    raise TimeoutError(f"no other node is at work: {list(folder.iterdir())}")


class SlowViews(FeatureViews):
    """Views that take a while, and note which process makes them."""

    folder: Path

    def clean(self, rows: torch.Tensor) -> torch.Tensor:
        mark(self.folder)
        time.sleep(0.05)
        return super().clean(rows)


class SlowBackbone(ToyBackbone):
    """The toy backbone, which takes a while."""

    def features(self, pixels: torch.Tensor, kind: str) -> torch.Tensor:
        mark(Path(os.environ["AT_WORK"]))
        time.sleep(0.1)
        return super().features(pixels, kind)


def fail(part: int) -> None:
    raise ValueError(f"part {part} is wrong")
