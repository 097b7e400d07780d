from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import pytest
import torch

from vitdsi.paper.machine import describe_machine, distinct_machines, machine_class

MACHINE: dict[str, Any] = {
    "cores": 2,
    "threads": 1,
    "cpu": "Some CPU",
    "gpu": None,
    "torch": "2.13",
    "float32_products": "highest",
}


def test_machine_class_contains_the_threads_and_version_of_torch_but_no_host_name() -> None:
    machine = machine_class()
    assert set(machine) == set(MACHINE)
    assert (machine["threads"], machine["torch"]) == (torch.get_num_threads(), torch.__version__)
    assert platform.node() not in machine.values()


def test_cores_are_those_of_the_machine_where_the_system_has_no_affinity(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert machine_class()["cores"] == 7


def test_gpu_is_named_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Some GPU")
    assert machine_class()["gpu"] == "Some GPU"


def test_processor_is_the_model_name_of_cpuinfo_or_else_that_of_the_platform(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(Path, "read_text", lambda *_: "processor : 0\nmodel name\t: Fast CPU @ 2: GHz\n")
    assert machine_class()["cpu"] == "Fast CPU @ 2: GHz"
    monkeypatch.setattr(Path, "read_text", lambda *_: "Features : fp\n")
    assert machine_class()["cpu"] == "arm64"

    def fail(*_: object) -> str:
        raise OSError

    monkeypatch.setattr(Path, "read_text", fail)
    assert machine_class()["cpu"] == "arm64"


def test_describe_machine_is_one_line() -> None:
    assert describe_machine(MACHINE) == "cores: 2, torch threads: 1, Some CPU, no GPU, torch 2.13"
    assert "Some GPU" in describe_machine({**MACHINE, "gpu": "Some GPU"})


def test_distinct_machines_keeps_the_first_of_equal_machines() -> None:
    other = {**MACHINE, "cores": 3}
    assert distinct_machines([MACHINE, other, dict(MACHINE), other]) == [MACHINE, other]
    assert distinct_machines([]) == []


def test_products_in_tf32_are_mentioned_and_older_records_have_none() -> None:
    assert describe_machine({**MACHINE, "float32_products": "high"}).endswith(", float32 products in TF32")
    older = {name: value for name, value in MACHINE.items() if name != "float32_products"}
    assert describe_machine(older) == describe_machine(MACHINE)
