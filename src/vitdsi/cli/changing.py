"""Changing an index from the command line: the write lock is held from reading to writing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vitdsi.engine.base import Engine
    from vitdsi.index import ImageIndex


@contextlib.contextmanager
def changing(
    path: Path, cache: Path | None = None, backbone: str | None = None, engine: Engine | None = None
) -> Iterator[ImageIndex]:
    """Open the index `path` for a change, and save it as a whole if the block ends without an error.

    Raises IndexLockedError if another process is changing the index.
    """
    from vitdsi.collection.storage import write_lock
    from vitdsi.index import ImageIndex

    if not (path / "index.json").is_file():
        ImageIndex.load(path)  # raises the right error; taking the lock would leave a file there
    with write_lock(path):
        index = ImageIndex.load(path, cache=cache, backbone=backbone, engine=engine)
        yield index
        index.save(path)
