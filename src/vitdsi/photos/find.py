"""Finding image files: a folder of photos as records, with or without class folders."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vitdsi.errors import UsageError

__all__ = ["SUFFIXES", "ImageRecord", "find_images", "list_images", "scan_folder"]

_SUFFIXES = (
    "apng avif bmp dib gif heic heif hif j2k jfif jp2 jpe jpeg jpg mpo pbm pgm png pnm ppm tif tiff webp"
)
SUFFIXES = frozenset(f".{suffix}" for suffix in _SUFFIXES.split())


@dataclass(frozen=True)
class ImageRecord:
    """One image file of a scanned folder.

    Attributes:
        image_id: the path relative to the scanned folder, with forward slashes.
        path: where the file is.
        label: the class of the image, or None where it is not known.
    """

    image_id: str
    path: Path
    label: str | None = None


def scan_folder(root: Path, labels: Literal["none", "folder"] = "none") -> list[ImageRecord]:
    """List the images below `root`, sorted by image_id.

    Args:
        root: a folder, or a single file. A file gives one record, whose image_id is the name of the file.
        labels: "folder" takes the first sub-folder as the class of an image; "none" leaves the class unknown.

    Raises:
        UsageError: `find_images` raises one, `labels` is unknown, or an image is in no class folder.
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


def find_images(root: Path) -> list[Path]:
    """List the files below `root` whose suffix is in SUFFIXES, sorted by relative path.

    Hidden files and folders are ignored. Each physical folder is visited once, so loops of symbolic links end. If
    `root` is a file, it is returned whatever its suffix.

    Raises:
        UsageError: `root` does not exist, a folder cannot be read, or there are no images.
    """
    root = Path(root)
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise UsageError(f"{root}: no such file or folder; give a folder of images or one image")
    found = list_images(root)
    if not found:
        known = " ".join(sorted(SUFFIXES))
        raise UsageError(f"{root}: no images in this folder; looked for files ending in {known}")
    return found


def list_images(root: Path) -> list[Path]:
    """List the images below a folder, as `find_images` does, but without an error if there are none.

    Raises:
        UsageError: a folder cannot be read.
    """
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    folders, links = deque([root]), deque[Path]()
    while folders or links:
        # Symbolic links come last, so that a folder that is reachable both ways keeps its own path.
        folder = folders.popleft() if folders else links.popleft()
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            entries = sorted(folder.iterdir())
        except OSError as error:
            raise UsageError(
                f"{folder}: cannot be read ({error.strerror}); make it readable or move it"
            ) from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                (links if entry.is_symlink() else folders).append(entry)
            elif entry.suffix.lower() in SUFFIXES and entry.is_file():
                found.append(entry)
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())
