"""Relaying progress: from the process that trains, through a file, to the one that shows it."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from vitdsi.files import write_atomically
from vitdsi.progress import OnProgress, Progress

__all__ = ["relayed", "reporting_to"]

_SECONDS = 1.0  # between two looks at the file


def reporting_to(path: Path) -> OnProgress:
    """Return a function that writes each progress to a file, in place of the one before."""

    def report(progress: Progress) -> None:
        with write_atomically(path) as stream:
            stream.write(json.dumps(asdict(progress)).encode())

    return report


@contextlib.contextmanager
def relayed(path: Path, on_progress: OnProgress, seconds: float = _SECONDS) -> Iterator[None]:
    """Report what another process writes to a file, as long as the block runs and once at its end."""
    over = threading.Event()
    last: list[Progress] = []

    def look() -> None:
        with contextlib.suppress(OSError, ValueError):
            progress = Progress(**json.loads(path.read_text("utf-8")))
            if on_progress is not None and last != [progress]:
                last[:] = [progress]
                on_progress(progress)

    def watch() -> None:
        while not over.wait(seconds):
            look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        look()
