"""Watching a folder: each photo that appears or changes in it, once it is completely written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

from vitdsi.errors import UsageError
from vitdsi.photos.find import list_images

__all__ = ["arriving"]

INTERVAL = 0.5  # seconds between two looks at the folder

_State: TypeAlias = "tuple[int, int]"  # size in bytes and time of the last change in ns


def arriving(folder: Path, *, sleep: Callable[[float], None] = time.sleep) -> Iterator[Path]:
    """Yield the photos that appear or change below a folder from now on. It never ends by itself.

    The folder is looked at twice a second. A file counts as completely written if it is not empty, and its size and the
    time of its last change were the same at two looks. If a writer paused for longer, the file is yielded again when it
    has changed.

    Args:
        folder: the folder; which files count is what `vitdsi.photos.find.find_images` says.
        sleep: waits for this number of seconds.

    Raises:
        UsageError: there is no such folder, or it cannot be read.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; give a folder to watch")
    yielded = _states(folder)
    before = yielded
    while True:
        sleep(INTERVAL)
        try:
            now = _states(folder)
        except UsageError:
            if not folder.is_dir():
                raise
            continue  # a folder in it was deleted while it was read
        for path, state in now.items():
            if state[0] and state == before.get(path) and state != yielded.get(path):
                yielded[path] = state
                yield path
        yielded = {path: state for path, state in yielded.items() if path in now}
        before = now


def _states(folder: Path) -> dict[Path, _State]:
    states = {}
    for path in list_images(folder):
        try:
            status = path.stat()
        except OSError:  # it was deleted since it was listed
            continue
        states[path] = (status.st_size, status.st_mtime_ns)
    return states
