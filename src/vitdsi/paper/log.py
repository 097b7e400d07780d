"""Training curves, written while a cell is trained: JSON lines, and events for TensorBoard if it is installed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class CurveLog:
    """Writes `metrics.jsonl`, a line for each evaluation, and events for TensorBoard to a folder.

    Args:
        folder: created if it does not exist. Files of an interrupted run of the same cell are replaced.
        say: called with a line of text if TensorBoard is not installed.
    """

    def __init__(self, folder: Path, say: Callable[[str], None] = lambda line: None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._lines = open(folder / "metrics.jsonl", "w", encoding="utf-8")  # noqa: SIM115  (closed by close)
        self._events = _event_writer(folder)
        if self._events is None:
            say(
                "TensorBoard is not installed, so curves go to metrics.jsonl only; pip install 'vitdsi[experiments]'"
            )

    def add(self, phase: str, point: Mapping[str, float]) -> None:
        """Write a point of the curves of a phase. It must have the key `step`."""
        print(json.dumps({"phase": phase, **point}), file=self._lines, flush=True)
        if self._events is not None:
            for name, value in point.items():
                if name != "step":
                    self._events.add_scalar(f"{phase}/{name}", value, int(point["step"]))

    def close(self) -> None:
        """Close the files."""
        self._lines.close()
        if self._events is not None:
            self._events.close()


def _event_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))
