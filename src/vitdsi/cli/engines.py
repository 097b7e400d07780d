"""The engine that a verb runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vitdsi.engine.base import Engine

__all__ = ["engine_for"]


def engine_for(workers: int | None) -> Engine:
    """Return the engine of `torchrun` where it started this process, otherwise one with processes on this machine."""
    from vitdsi.engine.local import LocalEngine
    from vitdsi.engine.torchrun import TorchrunEngine, is_started_by_torchrun

    return TorchrunEngine() if is_started_by_torchrun() else LocalEngine(workers)
