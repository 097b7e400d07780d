"""Cells of a table: what identifies them, and the files of finished ones, so that none is computed twice."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitdsi.files import write_atomically

_FORMAT, _VERSION = "vitdsi-cell", 1
_NEEDED = ("metrics", "values", "paper", "seconds", "steps", "examples", "petaflops", "history", "indexed")


@dataclass(frozen=True)
class Cell:
    """One cell: a method on a split, with everything that its result depends on.

    Attributes:
        dataset: name of the data set.
        relevance: `class`, `shared` or `largest`, as in `samples.Dataset`.
        size: number of images in all roles (DB size).
        scheme: id scheme, or "-" for methods without ids.
        method: one of `methods.METHODS`.
        seed: seed of split, ids and model.
        settings: the configuration, the digest of the split, and whatever else the result depends on.
    """

    dataset: str
    relevance: str
    size: int
    scheme: str
    method: str
    seed: int
    settings: Mapping[str, Any]

    def key(self) -> dict[str, Any]:
        """All attributes as JSON types."""
        key: dict[str, Any] = json.loads(json.dumps(vars(self), sort_keys=True, default=dict))
        return key

    def name(self) -> str:
        """A readable file name that ends with a hash of all attributes."""
        digest = hashlib.blake2b(json.dumps(self.key(), sort_keys=True).encode(), digest_size=6).hexdigest()
        parts = (self.dataset, self.relevance, self.size, self.scheme, self.method, f"seed{self.seed}")
        return re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join(map(str, parts))) + f"-{digest}"


class CellStore:
    """The finished cells of a folder, and the weights from which other cells start."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, cell: Cell) -> Path:
        """Path of the result of a cell."""
        return self.folder / "cells" / f"{cell.name()}.json"

    def weights(self, cell: Cell) -> Path:
        """Path of the weights of a cell."""
        return self.folder / "models" / f"{cell.name()}.safetensors"

    def load(self, cell: Cell) -> dict[str, Any] | None:
        """Read the result of a cell; None if there is none, or if the file is broken or that of another cell."""
        try:
            content = json.loads(self.path(cell).read_text("utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(content, dict) or content.get("key") != cell.key():
            return None
        if (content.get("format"), content.get("version")) != (_FORMAT, _VERSION):
            return None
        result = content.get("result")
        return result if isinstance(result, dict) and all(name in result for name in _NEEDED) else None

    def save(self, cell: Cell, result: Mapping[str, Any]) -> None:
        """Write the result of a cell atomically."""
        path = self.path(cell)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"format": _FORMAT, "version": _VERSION, "key": cell.key(), "result": dict(result)}
        with write_atomically(path) as stream:
            stream.write((json.dumps(content, indent=1) + "\n").encode())
