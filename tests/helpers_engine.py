"""Engines without other processes, and tasks that other processes import."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any


def write_process(part: Path) -> None:
    """Write the number of the process and of its torch threads to the file `part`."""
    import torch

    part.write_text(f"{os.getpid()} {torch.get_num_threads()}", "utf-8")
    time.sleep(0.1)  # so that another process takes the next part


def end_process(part: Path) -> None:
    """End the process, as the kernel does for lack of memory, if the part is called `end`."""
    if part.name == "end":
        os._exit(1)
    write_process(part)


def fail(part: Path) -> None:
    raise ValueError(f"{part.name} is wrong")


class EngineHere:
    """An engine that runs parts in this process: the first with the task that it is given, as the first process of
    torchrun does, and the others with one that travelled as to another process."""

    workers, least, ranks = 2, 1, 1

    def run(self, task: Callable[[Any], None], parts: Sequence[Any]) -> Iterator[None]:
        sent = pickle.loads(pickle.dumps(task))
        for number, part in enumerate(parts):
            (sent if number else task)(part)
            yield


class NoEngine:
    """An engine that must not run."""

    workers, ranks = 2, 1

    def __init__(self, least: int = 1) -> None:
        self.least = least

    def run(self, task: object, parts: object) -> Iterator[None]:
        raise AssertionError("the engine ran")
