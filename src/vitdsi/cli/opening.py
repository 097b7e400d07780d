"""Opening an index to search it: its export, which needs no torch, where that is enough."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vitdsi.cli.common import say

if TYPE_CHECKING:
    from vitdsi.exported.searcher import ExportedIndex

__all__ = ["current_export"]


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
    return ExportedIndex(folder)
