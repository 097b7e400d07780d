"""The manifest of an exported index: what its files hold, and which index they were made from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vitdsi.errors import IndexFormatError

__all__ = [
    "FOLDER",
    "FORMAT_VERSION",
    "MANIFEST",
    "Manifest",
    "array_of",
    "check_files",
    "file_hash",
    "identity",
    "is_current",
    "read_manifest",
]

FORMAT_VERSION = 2
MANIFEST = "manifest.json"
FOLDER = "onnx"
"""The folder inside of an index where `vitdsi search` looks for its export."""

Manifest = dict[str, Any]


def identity(index: Path) -> Manifest:
    """Return what an export remembers of the index it was made from: the generation, and the hash of its `index.json`.

    Each change of an index replaces this file, and no two builds write the same one.

    Raises:
        OSError: there is no such index.
    """
    content = (index / "index.json").read_bytes()
    return {
        "generation": json.loads(content)["generation"],
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an exported index, and check that its files are there and complete.

    Raises:
        IndexFormatError: the folder is no exported index, has a format of a newer version, or lacks a file.
    """
    try:
        manifest: Manifest = json.loads((folder / MANIFEST).read_bytes())
        version = manifest["format_version"]
        if version != FORMAT_VERSION:
            raise IndexFormatError(
                f"{folder} has export format {version}, this version reads {FORMAT_VERSION}; export the index again"
            )
        for name, about in manifest["files"].items():
            if (folder / name).stat().st_size != about["bytes"]:
                raise IndexFormatError(f"{folder / name} is not complete; export the index again")
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise IndexFormatError(
            f"{folder} is not an exported index ({error}); make one with: vitdsi export INDEX.dsi -o {folder}"
        ) from error
    return manifest


def is_current(folder: Path, index: Path) -> bool:
    """Return whether an export was made from an index as it is now. It is not if either cannot be read."""
    try:
        return bool(read_manifest(folder)["index"] == identity(index))
    except (OSError, KeyError, ValueError, IndexFormatError):
        return False


def check_files(folder: Path) -> None:
    """Check the hash of each file of an exported index.

    Raises:
        IndexFormatError: as `read_manifest`, or a file is not the one that was exported.
    """
    for name, about in read_manifest(folder)["files"].items():
        if file_hash(folder / name) != about["sha256"]:
            raise IndexFormatError(f"{folder / name} was changed or damaged; export the index again")


def file_hash(path: Path) -> str:
    """Return the SHA-256 hash of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def array_of(folder: Path, manifest: Manifest, name: str) -> npt.NDArray[Any]:
    """Return an array of an exported index by its name, memory-mapped: nothing of it is read before it is used."""
    about = manifest["files"][f"{name}.bin"]
    shape, dtype = tuple(about["shape"]), np.dtype(about["dtype"])
    if not np.prod(shape):
        return np.empty(shape, dtype)
    return np.memmap(folder / f"{name}.bin", dtype, "r", shape=shape)
