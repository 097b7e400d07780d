"""The curves of a cell as they grow: JSON lines, and event files for TensorBoard where it is installed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class CurveLog:
    """Writes `folder/metrics.jsonl`, one line an evaluation, and TensorBoard's event files beside it.

    What a run of the same cell that was broken off has left there goes first. `say` is told where TensorBoard is
    missing.
    """

    def __init__(self, folder: Path, say: Callable[[str], None] = lambda line: None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._lines = open(folder / "metrics.jsonl", "w", encoding="utf-8")  # noqa: SIM115  (closed by close)
        self._events = _event_writer(folder)
        if self._events is None:
            say("no TensorBoard here, so curves go to metrics.jsonl alone: pip install 'vitdsi[experiments]'")

    def add(self, phase: str, point: Mapping[str, float]) -> None:
        """A point of the curves of one phase; `step` is among its values."""
        print(json.dumps({"phase": phase, **point}), file=self._lines, flush=True)
        if self._events is not None:
            for name, value in point.items():
                if name != "step":
                    self._events.add_scalar(f"{phase}/{name}", value, int(point["step"]))

    def close(self) -> None:
        """Write what is left."""
        self._lines.close()
        if self._events is not None:
            self._events.close()


def _event_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))
