"""Moving photos out of a collection: planned first, never over another file, and written to a list that undoes it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vitdsi.cli.common import say
from vitdsi.errors import ImageReadError, UsageError
from vitdsi.files import move_file
from vitdsi.photos.decode import content_hash

__all__ = ["Move", "apply", "check_target", "obstacle", "undo"]


@dataclass(frozen=True)
class Move:
    """A photo to be moved: its image_id, where it is, where it goes, which image_id stays for it, and why that one."""

    image_id: str
    source: Path
    target: Path
    kept: str
    reason: str

    def as_line(self) -> str:
        """Return the JSON line that is printed, and written to the list."""
        line = {"image_id": self.image_id, "from": str(self.source), "to": str(self.target)}
        return json.dumps({**line, "kept": self.kept, "reason": self.reason})


def check_target(target: Path, folder: Path) -> None:
    """Raise UsageError if photos of `folder` cannot be moved to `target`."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; give the folder with the photos")
    if target.exists() and not target.is_dir():
        raise UsageError(f"--move-to {target}: not a folder; choose another name")
    if target.resolve().is_relative_to(folder.resolve()):
        raise UsageError(
            f"--move-to {target} is inside {folder}, where its photos would be found again; choose a folder outside"
        )


def obstacle(
    source: Path, folder: Path, content: str | None = None, *, kept: Path | None = None
) -> str | None:
    """Say why a photo of `folder` must stay where it is, or return None if it can be moved.

    Args:
        source: the photo.
        folder: the folder that it must be in.
        content: the beginning of the content hash, as the index knows it, if it has to be the same.
        kept: the file of the copy that stays, if it is known.
    """
    if source.is_symlink() or not source.is_file():
        return "it is not a file"
    if not source.resolve().is_relative_to(folder.resolve()):
        return f"it is outside {folder}"
    if kept is not None and os.path.samefile(source, kept):
        return "it is the same file as the one that is kept"
    try:
        if content is not None and not (content and content_hash(source).startswith(content)):
            return "it has changed since it was indexed"
    except ImageReadError as error:
        return error.reason
    return None


def apply(moves: Sequence[Move], target: Path) -> tuple[Path, int]:
    """Move photos. Those whose target exists stay, with a line on stderr.

    Each move is written to a list in `target` before it is done, so that the list undoes whatever was done.

    Returns:
        The list, and the number of photos that were moved.
    """
    target.mkdir(parents=True, exist_ok=True)
    stamp = time.strftime("%Y-%m-%d-%H%M%S")
    names = (f"moved-{stamp}{f'-{n}' if n else ''}.jsonl" for n in range(1000))
    path = next(target / name for name in names if not (target / name).exists())
    moved = 0
    with open(path, "x", encoding="utf-8") as stream:
        for move in moves:
            if os.path.lexists(move.target):
                say(f"not moved: {move.source}: {move.target} exists")
                continue
            stream.write(move.as_line() + "\n")
            stream.flush()
            os.fsync(stream.fileno())
            try:
                move_file(move.source, move.target)
                moved += 1
            except OSError as error:
                say(f"not moved: {move.source}: {error.strerror or error}")
    return path, moved


def undo(path: Path) -> tuple[int, int]:
    """Move everything in a list back, the last first. Nothing is overwritten; what cannot go back is said on stderr.

    Returns:
        How many photos were moved back, and how many could not be.

    Raises:
        UsageError: the file is not such a list.
    """
    back = failed = 0
    for source, target in reversed(list(_listed(path))):
        if not os.path.lexists(target):
            # It was not moved, or it is back already.
            if not os.path.lexists(source):
                say(f"not moved back: {target}: there is no such file")
                failed += 1
            continue
        try:
            move_file(target, source)
            back += 1
        except FileExistsError:
            say(f"not moved back: {target}: {source} exists")
            failed += 1
        except OSError as error:
            say(f"not moved back: {target}: {error.strerror or error}")
            failed += 1
    return back, failed


def _listed(path: Path) -> Iterator[tuple[Path, Path]]:
    """Yield where each photo of a list was and where it was moved."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise UsageError(f"{path}: cannot be read ({reason}); give a list that --apply wrote") from error
    for number, line in enumerate(lines, start=1):
        try:
            move = json.loads(line)
            yield Path(move["from"]), Path(move["to"])
        except (ValueError, TypeError, KeyError) as error:
            raise UsageError(f"{path}, line {number}: not a move; give a list that --apply wrote") from error
