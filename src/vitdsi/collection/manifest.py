"""The description of an index, `index.json`: which files belong together, their checksums, and the settings."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from vitdsi.collection.checksums import manifest_checksum
from vitdsi.collection.former_formats import upgraded
from vitdsi.collection.parts import Files
from vitdsi.errors import IndexFormatError, VitdsiError

__all__ = ["DAMAGE", "FORMAT_VERSION", "explained", "files_of", "last_generation", "read_manifest"]

FORMAT_VERSION = 7
_READABLE_VERSIONS = (2, 3, 4, 5, 6, 7)

DAMAGE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    SafetensorError,
    TypeError,
    ValueError,
    VitdsiError,
)
"""What a missing, damaged or hostile file raises in the libraries that read it."""


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the description of the index `path` as the present format has it.

    Raises:
        IndexFormatError: it has a format that this version does not read.
        Exception: one of `DAMAGE`, if it cannot be read.
    """
    manifest: dict[str, Any] = json.loads((path / "index.json").read_text("utf-8"))
    if not isinstance(manifest, dict):
        raise ValueError("index.json is not a description")
    version = manifest["format_version"]
    if version > FORMAT_VERSION:
        raise IndexFormatError(
            f"it has format {version}, this version reads up to {FORMAT_VERSION}; upgrade vitdsi"
        )
    if version not in _READABLE_VERSIONS:
        raise IndexFormatError(
            f"it has format {version}, this version reads {_READABLE_VERSIONS[0]} to {FORMAT_VERSION};"
            " make it again from the images"
        )
    if manifest.get("checksum", checksum := manifest_checksum(manifest)) != checksum:
        raise ValueError("index.json is not as it was written")
    return upgraded(manifest)


def files_of(path: Path, manifest: dict[str, Any]) -> Files:
    """Return the files of each part of the index `path`.

    Raises:
        IndexFormatError: one is outside of the folder.
    """
    names = [name for files in manifest["files"].values() for name, _ in files]
    if outside := [name for name in names if Path(name).name != name]:
        raise IndexFormatError(f"it names a file outside of its folder, {outside[0]!r}; do not trust it")
    return {part: [path / name for name, _ in files] for part, files in manifest["files"].items()}


def last_generation(path: Path) -> int:
    """Return the generation of the index `path`, or one that no file has exceeded if its description is damaged."""
    try:
        return int(read_manifest(path)["generation"])
    except DAMAGE:
        numbers = [re.fullmatch(r"[a-z_]+-(\d{6,})\.[a-z]+", file.name) for file in path.iterdir()]
        return max((int(number[1]) for number in numbers if number), default=0)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Raise IndexFormatError, which names the index and what to do, in place of what damage raises."""
    try:
        yield
    except IndexFormatError as error:
        raise IndexFormatError(f"{path}: {error}") from error
    except DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise IndexFormatError(f"{path} is broken ({reason}); make it again from the images") from error
