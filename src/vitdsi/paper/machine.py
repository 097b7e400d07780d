"""The kind of machine that an experiment ran on: cores, processor and GPU, but no host name."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Machine = dict[str, Any]


def machine_class() -> Machine:
    """Return the cores that this process may use, the threads of torch, the models of processor and GPU (None without
    one), the version of torch, and the precision of its float32 products (`highest`, or `high` for TF32)."""
    import torch

    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not available on every system
        cores = os.cpu_count() or 1
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "cores": cores,
        "threads": torch.get_num_threads(),
        "cpu": _processor(),
        "gpu": gpu,
        "torch": str(torch.__version__),
        "float32_products": torch.get_float32_matmul_precision(),
    }


def describe_machine(machine: Machine) -> str:
    """Describe what `machine_class` returned in one line."""
    gpu = machine["gpu"] or "no GPU"
    counts = f"cores: {machine['cores']}, torch threads: {machine['threads']}"
    products = "" if machine.get("float32_products", "highest") == "highest" else ", float32 products in TF32"
    return f"{counts}, {machine['cpu']}, {gpu}, torch {machine['torch']}{products}"


def distinct_machines(machines: Iterable[Machine]) -> list[Machine]:
    """Return the machines without repeats, in the order in which they first occur."""
    distinct: list[Machine] = []
    for machine in machines:
        if machine not in distinct:
            distinct.append(machine)
    return distinct


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
