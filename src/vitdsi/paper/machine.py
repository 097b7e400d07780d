"""What kind of machine measured: cores, processor and GPU; nothing that names the machine itself."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any


def machine_class() -> dict[str, Any]:
    """Cores this process may use, torch's threads, the processor's model, and the GPU's where there is one."""
    import torch

    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        cores = os.cpu_count() or 1
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "cores": cores,
        "threads": torch.get_num_threads(),
        "cpu": _processor(),
        "gpu": gpu,
        "torch": str(torch.__version__),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
