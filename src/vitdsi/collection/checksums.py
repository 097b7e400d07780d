"""Checksums of the files of an index, by which damage is recognised.

They protect against broken disks and interrupted copies, not against somebody who changes a file and its checksum;
`vitdsi.collection.validation` is for that. Each file has two: one of its size and some blocks, which is compared
whenever the index is opened, so that opening a million images takes no longer, and one of all its bytes, which is
compared on request. Of a small file both are of all bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["file_checksums", "manifest_checksum", "verify"]

_WHOLE = 1 << 20  # bytes of a file of which all are compared
_BLOCKS, _BLOCK = 8, 1 << 16  # of a larger file: how many blocks are compared, and their bytes


def file_checksums(file: Path) -> list[str]:
    """Return the checksum that is compared at each opening, and that of the whole file.

    Raises:
        OSError: the file cannot be read.
    """
    blocks = _checksum(file, blocks=True)
    return [blocks, _checksum(file, blocks=False) if file.stat().st_size > _WHOLE else blocks]


def manifest_checksum(manifest: Mapping[str, Any]) -> str:
    """Return the checksum of all entries of `index.json` but `checksum`."""
    entries = {name: value for name, value in manifest.items() if name != "checksum"}
    text = json.dumps(json.loads(json.dumps(entries)), sort_keys=True)  # keys that are numbers become text
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def verify(file: Path, checksums: Sequence[str] | None, *, whole: bool = False) -> None:
    """Compare a file with its two checksums, or check only that it is a file if they are None.

    Args:
        file: the file.
        checksums: as `file_checksums` returned them.
        whole: whether to compare all bytes of a large file.

    Raises:
        OSError: the file cannot be read, or is something else, such as a pipe, which could keep its reader waiting.
        ValueError: the file has changed.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file.name} is missing, or not a file")
    if checksums is not None and _checksum(file, blocks=not whole) != checksums[whole]:
        raise ValueError(f"{file.name} is not as it was written")


def _checksum(file: Path, *, blocks: bool) -> str:
    size = file.stat().st_size
    digest = hashlib.blake2b(str(size).encode(), digest_size=8)
    starts: Sequence[int] = range(0, size, _BLOCK)
    if blocks and size > _WHOLE:
        starts = [(size - _BLOCK) * number // (_BLOCKS - 1) for number in range(_BLOCKS)]
    with open(file, "rb") as stream:
        for start in starts:
            stream.seek(start)
            digest.update(stream.read(_BLOCK))
    return digest.hexdigest()
