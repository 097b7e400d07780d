"""A folder of photos as records, with or without class folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vitdsi.errors import UsageError
from vitdsi.images import find_images

__all__ = ["ImageRecord", "scan_folder"]


@dataclass(frozen=True)
class ImageRecord:
    """One image file: its path below the scanned folder (posix), where it lies, and its class if known."""

    image_id: str
    path: Path
    label: str | None = None


def scan_folder(root: Path, labels: Literal["none", "folder"] = "none") -> list[ImageRecord]:
    """The images below `root`, sorted by image_id; with labels="folder" the first sub-folder is the class.

    A `root` that is one file gives one record, called by the file's name.

    Raises:
        UsageError: nothing to read (see `find_images`), unknown `labels`, or an image in no class folder.
    """
    if labels not in ("none", "folder"):
        raise UsageError(f"labels={labels!r}: use 'none' or 'folder'")
    root = Path(root)
    records = []
    for path in find_images(root):
        relative = path.relative_to(root if path != root else root.parent)
        label = None
        if labels == "folder":
            if len(relative.parts) < 2:
                hint = "put it into one, give the folder above the class folders, or use labels 'none'"
                raise UsageError(f"{path}: lies in no class folder; {hint}")
            label = relative.parts[0]
        records.append(ImageRecord(relative.as_posix(), path, label))
    return records
