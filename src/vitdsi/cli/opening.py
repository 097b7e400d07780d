"""Opening an index to search it: its export, which needs no torch, where that is enough."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING

from vitdsi.cli.common import say

if TYPE_CHECKING:
    from vitdsi.exported.searcher import ExportedIndex

__all__ = ["current_export"]

_MMAP_THRESHOLD, _BYTES = -3, 1_000_000  # a parameter of mallopt(3), and its value


def current_export(index: Path) -> ExportedIndex | None:
    """Return the export inside of an index, or None if there is none, it is out of date, or ONNX Runtime is missing.

    Says on stderr if it is out of date.

    Raises:
        IndexFormatError: the export is broken.
    """
    from vitdsi.exported.manifest import FOLDER, is_current

    folder = index / FOLDER
    if not folder.is_dir():
        return None
    from vitdsi.exported.graphs import is_installed
    from vitdsi.exported.searcher import ExportedIndex

    if not is_installed():
        return None
    if not is_current(folder, index):
        say(
            f"note: the index was changed after its export, so this takes longer; again: vitdsi export {index}"
        )
        return None
    _free_large_buffers_at_once()
    return ExportedIndex(folder)


def _free_large_buffers_at_once() -> None:
    """Have this process return large buffers to the system when they are freed, if its C library is glibc.

    glibc otherwise keeps them for later. A process that answers one query does not need them again: it takes a tenth
    less memory (`benchmarks/cold_start.py`).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _BYTES)
