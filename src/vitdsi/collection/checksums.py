"""Checksums of the files of an index, by which damage is recognised when it is opened.

They protect against broken disks and interrupted copies, not against somebody who changes a file and its checksum;
`vitdsi.collection.validation` is for that. A small file is read as a whole. Of a large one, whose rows are mapped into
memory, only the size and some blocks are compared, so that opening a million images takes no longer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["file_checksum", "manifest_checksum", "verify"]

_WHOLE = 1 << 20  # bytes of a file that is read as a whole
_BLOCKS, _BLOCK = 8, 1 << 14  # of a larger file: how many are read, and their bytes


def file_checksum(file: Path) -> str:
    """Return the checksum of the size of a file and of its content, or of some blocks of it.

    Raises:
        OSError: the file cannot be read.
    """
    size = file.stat().st_size
    digest = hashlib.blake2b(str(size).encode(), digest_size=8)
    with open(file, "rb") as stream:
        if size <= _WHOLE:
            digest.update(stream.read())
        else:
            for number in range(_BLOCKS):
                stream.seek((size - _BLOCK) * number // (_BLOCKS - 1))
                digest.update(stream.read(_BLOCK))
    return digest.hexdigest()


def manifest_checksum(manifest: Mapping[str, Any]) -> str:
    """Return the checksum of all entries of `index.json` but `checksum`."""
    entries = {name: value for name, value in manifest.items() if name != "checksum"}
    text = json.dumps(json.loads(json.dumps(entries)), sort_keys=True)  # keys that are numbers become text
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def verify(folder: Path, checksums: Mapping[str, str]) -> None:
    """Compare files of a folder with their checksums.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file has changed.
    """
    for name, expected in checksums.items():
        if file_checksum(folder / name) != expected:
            raise ValueError(f"{name} is not as it was written")
